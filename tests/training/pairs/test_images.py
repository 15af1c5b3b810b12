"""Image files: planes, pixel sizes, and what is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from dimstream_models.training.errors import InvalidPairs
from dimstream_models.training.pairs.images import ImageFile, read_planes

STACK = np.arange(5 * 20 * 30, dtype=np.uint16).reshape(5, 20, 30)
OME = {
    "axes": "ZYX",
    "PhysicalSizeX": 0.02,
    "PhysicalSizeXUnit": "µm",
    "PhysicalSizeY": 20,
    "PhysicalSizeYUnit": "nm",
}

STATED = {
    "plain": ({"photometric": "minisblack"}, None),
    "frames as samples": (
        {"photometric": "rgb", "planarconfig": "separate", "metadata": {"axes": "TYX"}},
        None,
    ),
    "dots per inch are no pixel size": ({"photometric": "minisblack", "resolution": (300, 300)}, None),
    "OME": ({"ome": True, "metadata": OME}, 20.0),
    "ImageJ, um": ({"imagej": True, "resolution": (50, 50), "metadata": {"axes": "ZYX", "unit": "um"}}, 20.0),
    "ImageJ, as Fiji spells it": (
        {"imagej": True, "resolution": (50, 50), "metadata": {"axes": "ZYX", "unit": r"\u00B5m"}},
        20.0,
    ),
    "ImageJ, pixel": (
        {"imagej": True, "resolution": (1, 1), "metadata": {"axes": "ZYX", "unit": "pixel"}},
        None,
    ),
}


@pytest.mark.parametrize(("options", "nm"), STATED.values(), ids=STATED)
def test_stacks_of_every_dialect_give_their_planes_and_pixel_size(
    tmp_path: Path, options: dict[str, Any], nm: float | None
) -> None:
    tifffile.imwrite(tmp_path / "stack.tif", STACK, **options)
    planes = read_planes(ImageFile(tmp_path / "stack.tif"))
    np.testing.assert_array_equal(planes.values, STACK)
    assert planes.pixel_size_nm == (None if nm is None else pytest.approx(nm))


def test_what_it_is_the_bytes_tell_and_not_the_name(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "image.png", STACK)
    np.testing.assert_array_equal(read_planes(ImageFile(tmp_path / "image.png")).values, STACK)


def test_a_channel_is_taken_by_its_name_or_number(tmp_path: Path) -> None:
    told = {"axes": "TCYX", "Channel": {"Name": ["ER", "DNA"]}}
    tifffile.imwrite(tmp_path / "a.ome.tif", STACK[:4].reshape(2, 2, 20, 30), ome=True, metadata=told)
    for channel, planes in {"ER": STACK[0:4:2], "DNA": STACK[1:4:2], "1": STACK[1:4:2]}.items():
        found = read_planes(ImageFile(tmp_path / "a.ome.tif", f"channel={channel}"))
        np.testing.assert_array_equal(found.values, planes)
    for stack, reason in {None: "a.ome.tif#channel=ER", "channel=2": "expected one of the channels"}.items():
        with pytest.raises(InvalidPairs, match=reason):
            read_planes(ImageFile(tmp_path / "a.ome.tif", stack))


def test_planes_written_one_by_one_are_one_stack(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "stack.tif") as file:
        for plane in STACK:
            file.write(plane, contiguous=False)
    np.testing.assert_array_equal(read_planes(ImageFile(tmp_path / "stack.tif")).values, STACK)


def test_signed_images_of_imagej_come_without_what_it_adds(shared: Path) -> None:
    folder = shared / "05_sted_images_mit"
    name = "STEDActinDendriteFCN__images_to_predict__01_Block_1.tif"
    planes = read_planes(ImageFile(folder / name))
    assert tifffile.imread(folder / name).min() == 32768  # as stored
    assert (planes.values.min(), planes.values.max()) == (0, 158)  # as its README says
    assert planes.pixel_size_nm == pytest.approx(20, rel=1e-6)


REFUSED = {
    "colours": ("image.tif", np.zeros((8, 8, 3), np.uint8), {}, "RGB with 3 samples"),
    "channels": (
        "image.tif",
        STACK[None].repeat(2, 0),
        {"imagej": True, "metadata": {"axes": "TCYX"}},
        "expected planes of one channel",
    ),
    "complex": ("image.tif", np.zeros((8, 8), np.complex64), {}, "complex64, expected counts"),
    "not finite": (
        "image.tif",
        np.full((8, 8), np.nan, np.float32),
        {},
        "NaN or infinity, expected finite counts",
    ),
    "oblong pixels": (
        "image.tif",
        STACK,
        {"imagej": True, "resolution": (50, 25), "metadata": {"axes": "ZYX", "unit": "um"}},
        "expected square pixels, got 40 x 20 nm",
    ),
}


@pytest.mark.parametrize(("name", "values", "options", "reason"), REFUSED.values(), ids=REFUSED)
def test_what_holds_no_counts_is_refused_by_name(
    tmp_path: Path, name: str, values: np.ndarray[Any, Any], options: dict[str, Any], reason: str
) -> None:
    tifffile.imwrite(tmp_path / name, values, **options)
    with pytest.raises(InvalidPairs, match=reason) as caught:
        read_planes(ImageFile(tmp_path / name))
    assert name in str(caught.value)


@pytest.mark.parametrize("name", ["image", "image.jpg", "image.dat", "µ image.TIF"])
def test_the_bytes_decide_and_not_the_name(tmp_path: Path, name: str) -> None:
    tifffile.imwrite(tmp_path / name, STACK)
    np.testing.assert_array_equal(read_planes(ImageFile(tmp_path / name)).values, STACK)
    (tmp_path / name).write_bytes(b"no image" * 9)
    with pytest.raises(InvalidPairs, match=r"no file type|JPEG files"):
        read_planes(ImageFile(tmp_path / name))


@pytest.mark.parametrize("kept", [0, 1, 30, 60, 95])
def test_truncated_files_are_refused(tmp_path: Path, kept: int) -> None:
    tifffile.imwrite(tmp_path / "image.tif", STACK, compression="zlib")
    whole = (tmp_path / "image.tif").read_bytes()
    (tmp_path / "image.tif").write_bytes(whole[: len(whole) * kept // 100])
    with pytest.raises(InvalidPairs, match=r"truncated|empty|cannot be read"):
        read_planes(ImageFile(tmp_path / "image.tif"))


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidPairs, match="no such file"):
        read_planes(ImageFile(tmp_path / "image.tif"))


SUMS = {"Data000 [Cut]": 9.51e6, "1": 1.56e7, "Data004 [Cut]": 2.14e7}  # from the data's README


@pytest.mark.parametrize(("stack", "total"), SUMS.items(), ids=SUMS)
def test_stacks_of_an_imspector_file_go_by_name_or_index(shared: Path, stack: str, total: float) -> None:
    planes = read_planes(ImageFile(shared / "12_formats" / "data_analysis_example.msr", stack))
    assert planes.values.shape == (1, 200, 200)
    assert planes.values.sum() == pytest.approx(total, rel=4e-3)  # three digits there
    assert planes.pixel_size_nm is None  # the file gives 0.16 of no unit


@pytest.mark.parametrize("stack", [None, "3", "Data001 [Cut]"])
def test_ambiguous_and_unknown_stacks_are_refused_with_those_there_are(
    shared: Path, stack: str | None
) -> None:
    with pytest.raises(InvalidPairs, match=r"1: 'Data002 \[Cut\]'"):
        read_planes(ImageFile(shared / "12_formats" / "data_analysis_example.msr", stack))


def test_imspector_files_without_their_reader_say_what_to_install(
    shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("msr_reader", "msr_reader.obffile"):
        monkeypatch.setitem(__import__("sys").modules, name, None)
    with pytest.raises(InvalidPairs, match=r"pip install 'dimstream-client\[msr\]'"):
        read_planes(ImageFile(shared / "12_formats" / "data_analysis_example.msr", "0"))


def test_a_link_to_a_file_of_another_name_is_that_file(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "stack.ome.tif", STACK, **STATED["OME"][0])
    (tmp_path / "day").mkdir()
    (tmp_path / "day" / "low.tif").symlink_to(tmp_path / "stack.ome.tif")
    link, file = ImageFile(tmp_path / "day" / "low.tif"), ImageFile(tmp_path / "stack.ome.tif")
    assert link.sha256() == file.sha256()
    np.testing.assert_array_equal(read_planes(link).values, STACK)
