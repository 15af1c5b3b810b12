"""Files of the kinds that other programs write, by HTTP: as by path, or refused in the same words."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from image_cases import MAKER, make_cases

from dimstream_client.errors import TiffError
from dimstream_client.files import open_images

pytestmark = pytest.mark.skipif(not MAKER.is_file(), reason=f"no {MAKER}: set DIMSTREAM_SHARED")
PATH = "/v1/models/blur/denoise"
READ = (
    "ome-without-root-uuid", "frame-by-frame", "three-frames-as-rgb", "positions-not-first",
    "fiji-micrometre", "pixels-not-square", "times-of-planes", "eight-bit-with-colours", "twelve-bit-packed",
)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cases")


@pytest.fixture(scope="module")
def expected(folder: Path) -> dict[str, dict[str, Any]]:
    return make_cases(folder)


def form(content: bytes) -> tuple[bytes, dict[str, str]]:
    head = b'--cut\r\nContent-Disposition: form-data; name="file"; filename="other name.png"\r\n\r\n'
    return head + content + b"\r\n--cut--\r\n", {"Content-Type": "multipart/form-data; boundary=cut"}


@pytest.mark.parametrize("name", READ)
def test_a_case_comes_back_with_what_its_writer_meant(
    request_of: Any, folder: Path, expected: dict[str, dict[str, Any]], name: str
) -> None:
    told = expected[name]
    _, _, axes = str(told.get("option", "")).partition("--axes ")
    query = f"?axes={axes}" if axes else ""
    for path in (folder / name / told[key] for key in ("open", "also") if key in told):
        bare = request_of("POST", PATH + query, path.read_bytes())
        body, headers = form(path.read_bytes())
        for answer in (bare, request_of("POST", PATH + query, body, headers)):
            assert answer.status == 200, answer.body
            assert answer.headers["Dimstream-Axes"] == told["axes"]
            assert answer.headers["Dimstream-Shape"] == ", ".join(map(str, told["shape"]))
        with open_images(bare.body) as stack, open_images(path, axes=axes or None) as source:
            assert (stack.axes, stack.shape) == (source.axes, source.shape)
            assert stack.scale == source.scale
            times = [source.delta_t_s(n) for n in range(len(source))]
            assert [stack.delta_t_s(n) for n in range(len(stack))] == times


REFUSED: dict[str, tuple[str, str, int]] = {
    "ome-in-several-files": ("incomplete=true", "bad_image", 1),
    "stopped-early": ("incomplete=true", "bad_image", 4),
    "overview-and-stack": ("series=STED", "bad_image", 4),
    "below-zero": ("offset=-10", "wrong_dtype", 4),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_case_is_refused_as_by_its_bytes_and_taken_with_an_option(
    request_of: Any, folder: Path, expected: dict[str, dict[str, Any]], name: str
) -> None:
    option, code, frames = REFUSED[name]
    content = (folder / name / expected[name]["open"]).read_bytes()
    refused = request_of("POST", PATH, content)
    problem = json.loads(refused.body)
    assert (refused.status, problem["code"]) == (422, code)
    with pytest.raises(TiffError) as by_bytes:
        open_images(content)
    assert problem["detail"] == by_bytes.value.detail
    answer = request_of("POST", f"{PATH}?{option}&report=json", content)
    assert answer.status == 200, answer.body
    report = json.loads(answer.body)
    assert int(np.prod(report["shape"][:-2])) == frames
    assert report["remarks"]


def test_a_bad_pixel_is_named_before_anything_is_denoised(
    request_of: Any, folder: Path, expected: dict[str, dict[str, Any]]
) -> None:
    assert expected
    answer = request_of("POST", PATH, (folder / "one-bad-pixel" / "x.tif").read_bytes())
    problem = json.loads(answer.body)
    assert (answer.status, problem["code"]) == (422, "not_finite")
    assert "frame 5" in problem["detail"]


def test_remarks_stand_in_a_header_and_scales_in_the_query(request_of: Any) -> None:
    file = io.BytesIO()
    np.save(file, np.ones((3, 16, 16), np.uint16))
    answer = request_of("POST", PATH, file.getvalue())
    said = "no pixel size was found in the file; no time step was found in the file"
    assert answer.headers["Dimstream-Remarks"] == said
    query = "?pixel_size_um=0.02&z_step_um=0.1&frame_interval_s=0.5&axes=ZYX"
    answer = request_of("POST", PATH + query, file.getvalue())
    assert answer.headers["Dimstream-Remarks"] is None
    with open_images(answer.body) as stack:
        assert (stack.scale.pixel_size_um, stack.scale.z_step_um) == ((0.02, 0.02), 0.1)


def test_an_imspector_file_is_denoised_by_the_name_of_its_stack(request_of: Any, shared: Path) -> None:
    content = (shared / "12_formats" / "data_analysis_example.msr").read_bytes()
    refused = json.loads(request_of("POST", PATH, content).body)
    assert "1: 'Data002 [Cut]' YX (200, 200) uint16" in refused["detail"]
    answer = request_of("POST", f"{PATH}?series=1", content)
    assert (answer.status, answer.headers["Dimstream-Axes"]) == (200, "YX")


@pytest.mark.parametrize("name", ["x.czi", "x.nd2"])
def test_other_makers_files_are_refused_by_name(request_of: Any, name: str) -> None:
    content = {"x.czi": b"ZISRAWFILE", "x.nd2": b"\xda\xce\xbe\x0a"}[name] + bytes(100)
    problem = json.loads(request_of("POST", PATH, content).body)
    assert problem["code"] == "bad_image"
    assert "in Fiji: File > Import > Bio-Formats" in problem["detail"]
