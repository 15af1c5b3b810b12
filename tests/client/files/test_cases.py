"""Files of the kinds that other programs write, by path and by bytes: the same axes, scale and times."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from image_cases import MAKER, make_cases

from dimstream_client.errors import TiffError
from dimstream_client.files import ImageStack, list_images, open_images

pytestmark = pytest.mark.skipif(not MAKER.is_file(), reason=f"no {MAKER}: set DIMSTREAM_SHARED")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cases")


@pytest.fixture(scope="module")
def expected(folder: Path) -> dict[str, dict[str, Any]]:
    return make_cases(folder)


def options_of(told: dict[str, Any]) -> dict[str, Any]:
    _, _, axes = str(told.get("option", "")).partition("--axes ")
    return {"axes": axes} if axes else {}


def sources(folder: Path, name: str, told: dict[str, Any]) -> Iterator[Path]:
    return (folder / name / told[key] for key in ("open", "also") if key in told)


def check(stack: ImageStack, told: dict[str, Any]) -> None:
    assert (stack.axes, list(stack.shape)) == (told["axes"], told["shape"])
    if "pixel_size_um" in told:
        assert stack.scale.pixel_size_um == pytest.approx(told["pixel_size_um"])
    if "time_step_s" in told:
        assert stack.scale.frame_interval_s == pytest.approx(told["time_step_s"])
    if "delta_t_s" in told:
        assert [stack.t_acq(n) for n in range(len(stack))] == pytest.approx(told["delta_t_s"])
    if "channels" in told:
        assert list(stack.scale.channels) == told["channels"]


READ = (
    "ome-without-root-uuid", "frame-by-frame", "three-frames-as-rgb", "positions-not-first",
    "fiji-micrometre", "pixels-not-square", "times-of-planes", "eight-bit-with-colours", "twelve-bit-packed",
)  # fmt: skip


@pytest.mark.parametrize("name", READ)
@pytest.mark.parametrize("by", ["path", "bytes", "file"])
def test_a_case_is_read_as_its_writer_meant_it(
    folder: Path, expected: dict[str, dict[str, Any]], name: str, by: str
) -> None:
    for path in sources(folder, name, expected[name]):
        with path.open("rb") as file:
            source = {"path": path, "bytes": path.read_bytes(), "file": file}[by]
            with open_images(source, **options_of(expected[name])) as stack:
                check(stack, expected[name])
                stack.check()


def test_a_set_is_read_together_by_its_path_and_refused_by_its_bytes(
    folder: Path, expected: dict[str, dict[str, Any]]
) -> None:
    told = expected["ome-in-several-files"]
    path = folder / "ome-in-several-files" / told["open"]
    with open_images(path) as stack:
        check(stack, told)
        assert len({stack.read(n).tobytes() for n in range(len(stack))}) == 4
    with pytest.raises(TiffError) as refused:
        open_images(path.read_bytes())
    assert all(word in str(refused.value) for word in told["by_http"]["refuse"])


@pytest.mark.parametrize(
    ("name", "option"),
    [("stopped-early", {"take_incomplete": True}), ("overview-and-stack", {"series": "STED"})],
)
def test_a_case_is_refused_until_an_option_says_what_to_take(
    folder: Path, expected: dict[str, dict[str, Any]], name: str, option: dict[str, Any]
) -> None:
    told = expected[name]
    for source in (folder / name / told["open"], (folder / name / told["open"]).read_bytes()):
        with pytest.raises(TiffError) as refused:
            open_images(source)
        assert all(word in str(refused.value) for word in told["refuse"])
        with open_images(source, **option) as stack:
            check(stack, told["with_option"])
            stack.check()


def test_images_of_a_file_are_listed(folder: Path, expected: dict[str, dict[str, Any]]) -> None:
    assert expected
    found = list_images(folder / "overview-and-stack" / "x.ome.tif")
    assert [(each.name, each.axes, each.shape) for each in found] == [
        ("Overview", "YX", (128, 128)),
        ("STED", "TYX", (4, 64, 64)),
    ]


def test_a_bad_pixel_is_found_before_anything_is_sent(
    folder: Path, expected: dict[str, dict[str, Any]]
) -> None:
    with open_images(folder / "one-bad-pixel" / "x.tif") as stack:
        check(stack, expected["one-bad-pixel"])
        with pytest.raises(TiffError, match="frame 5 holds NaN") as refused:
            stack.check()
    assert refused.value.code == "not_finite"


def test_values_below_zero_have_one_rule(folder: Path, expected: dict[str, dict[str, Any]]) -> None:
    for path in sources(folder, "below-zero", expected["below-zero"]):
        with pytest.raises(TiffError, match="frame 0 holds -3, expected photon counts") as refused:
            open_images(path)
        assert refused.value.code == "wrong_dtype"
        with open_images(path, below_zero=True) as stack:
            assert (stack.dtype, stack.read(0).min()) == ("float32", -3)
