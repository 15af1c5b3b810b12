"""What a recording leaves, as other people's readers see it."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from frames import FOLDER, SHAPE, THRESHOLDS, denoised_pixels, make_frame, make_model, make_spec, raw_pixels
from numpy.typing import NDArray
from ome_schema import ome_schema, ome_types

from dimstream_client.files import open_images
from dimstream_client.files.support_colours import support_colours
from dimstream_client.messages import PlaneIndex
from dimstream_server.recording import RecordedFile, Recorder, RecordingSpec
from dimstream_server.recording.frame_log import read_frame_log

KINDS = ("raw", "denoised")


def record(
    recorder: Recorder, indexes: list[PlaneIndex], spec: RecordingSpec | None = None, failed: int = -1
) -> tuple[Path, tuple[RecordedFile, ...]]:
    recording = recorder.begin(spec or make_spec())
    for seq, index in enumerate(indexes):
        recording.offer(make_frame(seq, index, failed=seq == failed))
    return recording.folder, recording.finish().result(60)


def metadata_text(path: Path) -> str:
    with tifffile.TiffFile(path) as file:
        return str(file.pages.first.description)


def metadata(path: Path) -> Any:
    xml = metadata_text(path)
    ome_schema().validate(xml)
    return ome_types().from_xml(xml)


@pytest.mark.slow
def test_times_of_a_file_without_a_date_are_kept_as_they_are(recorder: Recorder) -> None:
    times = [0.35, 0.85, 3.0, 10.0]
    recording = recorder.begin(make_spec())
    for seq, t_acq in enumerate(times):
        recording.offer(replace(make_frame(seq, PlaneIndex(t=seq)), t_acq=t_acq))
    recording.finish().result(60)
    for kind in KINDS:
        (image,) = metadata(recording.folder / f"{kind}.ome.tif").images
        assert [plane.delta_t for plane in image.pixels.planes] == times
        assert image.acquisition_date is None
    assert [each.t_acq for each in read_frame_log(recording.folder / "frames.jsonl").recorded] == times


def test_movie_opens_in_tifffile_with_its_pixels_axes_and_scale(recorder: Recorder) -> None:
    folder, _ = record(recorder, [PlaneIndex(t=t) for t in range(7)])
    assert folder.name == FOLDER
    for kind, pixels in zip(KINDS, (raw_pixels, denoised_pixels), strict=True):
        with tifffile.TiffFile(folder / f"{kind}.ome.tif") as file:
            assert file.is_bigtiff
            assert file.is_ome
            (series,) = file.series
            assert (series.axes, series.shape) == ("TYX", (7, *SHAPE))
            assert np.array_equal(series.asarray(), np.stack([pixels(t) for t in range(7)]))
            assert file.pages[3].resolution == (500_000.0, 500_000.0)
    with open_images(folder / "raw.ome.tif") as stack:
        assert (stack.square_pixel_um, stack.frame_interval_s) == (0.02, 0.6)


@pytest.mark.slow
def test_ome_xml_is_valid_and_tells_times_names_and_processing(recorder: Recorder) -> None:
    spec = make_spec()
    recording = recorder.begin(spec)
    recording.offer(make_frame(0))
    recording.offer(make_frame(1, failed=True))
    recording.update(2, make_model(id="other", gain=None), replace(THRESHOLDS, ssim=0.7))
    recording.offer(make_frame(2))
    recording.finish().result(60)
    ome = metadata(recording.folder / "denoised.ome.tif")
    (image,) = ome.images
    pixels = image.pixels
    assert (pixels.size_t, pixels.size_x, pixels.physical_size_x, pixels.time_increment) == (3, 20, 0.02, 0.6)
    assert [(plane.the_t, round(plane.delta_t, 6)) for plane in pixels.planes] == [(0, 0), (1, 0.6), (2, 1.2)]
    assert pixels.channels[0].name == "SiR-ER <1>"
    assert ome.experimenters[0].user_name == "amira"
    whole, first, second = (each.value for each in ome.structured_annotations.map_annotations)
    assert (whole["kind"], whole["pages_failed"], whole["frames"]) == ("denoised", "1", "3")
    assert whole["version dimstream-server"]
    assert (first["model_id"], first["model_name"], first["gain"]) == ("er", "ER <& light>", "3.0")
    assert (first["model_sha256"], first["threshold_ssim"]) == ("ab" * 32, "0.6")
    assert (second["from_frame"], second["model_id"], second["gain"]) == ("2", "other", "none")
    assert second["threshold_ssim"] == "0.7"


def test_failed_frame_keeps_its_place_with_zeros(recorder: Recorder) -> None:
    folder, _ = record(recorder, [PlaneIndex(t=t) for t in range(3)], failed=1)
    denoised, raw = (tifffile.imread(folder / f"{kind}.ome.tif") for kind in ("denoised", "raw"))
    assert not denoised[1].any()
    assert np.array_equal(denoised[2], denoised_pixels(2))
    assert np.array_equal(raw[1], raw_pixels(1))


def z_stacks(order: str) -> list[PlaneIndex]:
    lengths = {"t": 3, "z": 4, "c": 2}
    slow, middle, fast = order
    return [
        PlaneIndex(**{slow: i, middle: j, fast: k})
        for i in range(lengths[slow])
        for j in range(lengths[middle])
        for k in range(lengths[fast])
    ]


@pytest.mark.parametrize("order", ["tzc", "tcz", "ctz", "czt", "ztc", "zct"])
def test_hyperstack_has_the_order_of_its_pages(recorder: Recorder, order: str) -> None:
    indexes = z_stacks(order)
    folder, _ = record(recorder, indexes)
    path = folder / "denoised.ome.tif"
    with tifffile.TiffFile(path) as file:
        (series,) = file.series
        assert series.axes == order.upper() + "YX"
        expected = np.stack([denoised_pixels(seq) for seq in range(len(indexes))]).reshape(series.shape)
        assert np.array_equal(series.asarray(), expected)
    pixels = metadata(path).images[0].pixels
    assert [(block.ifd, block.plane_count) for block in pixels.tiff_data_blocks] == [(0, len(indexes))]
    assert (pixels.size_t, pixels.size_z, pixels.size_c) == (3, 4, 2)


CASES: dict[str, list[PlaneIndex]] = {
    "backwards": z_stacks("tcz")[::-1],
    "holes": [index for index in z_stacks("tcz") if (index.t, index.z) not in {(1, 2), (2, 3)}],
    "stopped within a stack": z_stacks("tcz")[:-3],
    "twice": [*z_stacks("tcz"), PlaneIndex(t=1, z=1)],
    "positions in turn": [PlaneIndex(t=t, p=p, z=z) for t in range(2) for p in (0, 3) for z in range(3)],
    "positions with holes": [PlaneIndex(t=t, p=p) for t in range(3) for p in range(2) if (t, p) != (1, 1)],
    "late start": [PlaneIndex(t=t) for t in range(5, 9)],
}


@pytest.mark.parametrize("case", CASES)
def test_every_plane_is_found_where_its_index_says(recorder: Recorder, case: str) -> None:
    indexes = CASES[case]
    folder, _ = record(recorder, indexes)
    path = folder / "raw.ome.tif"
    last = {index: seq for seq, index in enumerate(indexes)}
    positions = sorted({index.p for index in indexes})
    images = metadata(path).images
    with tifffile.TiffFile(path) as file:
        assert len(file.series) == len(images) == len(positions)
        for p, series, image in zip(positions, file.series, images, strict=True):
            pixels = image.pixels
            full = series.get_axes(squeeze=False) if hasattr(series, "get_axes") else series.axes
            data = series.asarray(squeeze=False)
            shape = dict(zip(full, data.shape, strict=True))
            assert (shape["T"], shape["C"], shape["Z"]) == (pixels.size_t, pixels.size_c, pixels.size_z)
            assert sum(block.plane_count for block in pixels.tiff_data_blocks) == (
                pixels.size_t * pixels.size_c * pixels.size_z
            )
            data = np.moveaxis(data, [full.index(axis) for axis in "TCZ"], [0, 1, 2])
            for t, c, z in np.ndindex(data.shape[:3]):
                seq = last.get(PlaneIndex(t=t, c=c, z=z, p=p))
                expected = np.zeros(SHAPE, np.uint16) if seq is None else raw_pixels(seq)
                assert np.array_equal(data[t, c, z].reshape(SHAPE), expected), (t, c, z)


def test_sender_that_never_tells_an_index_gets_a_movie(recorder: Recorder) -> None:
    folder, _ = record(recorder, [PlaneIndex()] * 5)
    with tifffile.TiffFile(folder / "raw.ome.tif") as file:
        assert (file.series[0].axes, file.series[0].shape) == ("TYX", (5, *SHAPE))


def test_absurd_index_gives_a_movie_that_says_so(recorder: Recorder) -> None:
    folder, _ = record(recorder, [PlaneIndex(t=0), PlaneIndex(t=2**50, z=2**40)])
    ome = metadata(folder / "raw.ome.tif")
    assert ome.images[0].pixels.size_t == 2
    assert "in the order of arrival" in ome.structured_annotations.map_annotations[0].value["order"]


def test_lines_tell_each_frame_and_event_in_the_words_of_the_client(recorder: Recorder) -> None:
    recording = recorder.begin(make_spec())
    recording.offer(make_frame(0))
    recording.skip(1, 3, "replaced by a newer frame")
    recording.offer(make_frame(4, failed=True))
    recording.finish().result(60)
    text = (recording.folder / "frames.jsonl").read_text(encoding="utf-8")
    first, skip, failed = (json.loads(line) for line in text.splitlines())
    assert skip == {"event": "skip", "seq_from": 1, "seq_to": 3, "reason": "replaced by a newer frame"}
    assert (first["seq"], first["page"], first["index"]) == (0, 0, {"t": 0, "c": 0, "z": 0, "p": 0})
    assert (first["flag"], first["ssim_prev"], first["model_sha256"]) == ("ok", 1.0, "ab" * 32)
    assert first["t_ms"] == {"queue": 0.123, "infer": 5.0, "total": 5.2}
    assert first["meta"] == {"laser_mw": 0.5}
    assert first["quality"]["structure_score"] is None  # infinity is no JSON
    assert (failed["page"], failed["status"], failed["error"]) == (1, "failed", "NaN")
    client_has = {"seq", "index", "t_acq", "status", "flag", "reason", "ssim_prev", "compared_seq"}
    assert client_has | {"fractions", "quality", "model_sha256", "t_ms"} <= set(first)


def test_checksums_are_those_of_the_files(recorder: Recorder) -> None:
    folder, files = record(recorder, [PlaneIndex(t=t) for t in range(3)])
    assert {Path(file.name).name for file in files} == {
        "raw.ome.tif",
        "denoised.ome.tif",
        "frames.jsonl",
        "recording.json",
    }
    for file in files:
        content = (folder.parent / file.name).read_bytes()
        assert (file.sha256, file.nbytes) == (hashlib.sha256(content).hexdigest(), len(content))
    subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=folder, check=True)


def test_support_maps_and_float_frames_are_recorded(recorder: Recorder) -> None:
    recording = recorder.begin(make_spec(in_dtype="float32", with_support=True, stream="s-9"))
    frame = make_frame(0)
    support = np.full(SHAPE, 9, np.uint8)
    raw = raw_pixels(0).astype(np.float32) / 7
    recording.offer(replace(frame, raw=raw, result=replace(frame.result, support=support)))
    recording.finish().result(60)
    with tifffile.TiffFile(recording.folder / "support.ome.tif") as file:
        assert np.array_equal(file.asarray(), support)
        assert np.array_equal(file.pages.first.colormap, support_colours())
    ome_schema().validate(metadata_text(recording.folder / "support.ome.tif"))
    assert np.array_equal(tifffile.imread(recording.folder / "raw.ome.tif"), raw)
    assert metadata(recording.folder / "raw.ome.tif").images[0].pixels.type.value == "float"


def test_stream_without_frames_leaves_no_images(recorder: Recorder) -> None:
    folder, files = record(recorder, [])
    assert sorted(Path(file.name).name for file in files) == ["frames.jsonl", "recording.json"]
    assert not list(folder.glob("*.tif"))


def test_file_can_be_read_while_it_is_written(
    recorder: Recorder, read: Callable[[Path], NDArray[Any]]
) -> None:
    recording = recorder.begin(make_spec())
    for seq in range(4):
        recording.offer(make_frame(seq))
    while recording.next_seq < 4:
        pass
    assert np.array_equal(
        read(recording.folder / "raw.ome.tif"), np.stack([raw_pixels(seq) for seq in range(4)])
    )
    assert len(read_frame_log(recording.folder / "frames.jsonl").recorded) == 4
    recording.finish().result(60)


def test_times_of_a_hundred_thousand_planes_are_left_to_the_lines(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dimstream_server.recording.ome.MOST_PLANES", 2)
    folder, _ = record(recorder, [PlaneIndex(t=t) for t in range(3)])
    assert metadata(folder / "raw.ome.tif").images[0].pixels.planes == []


def test_clocks_that_make_no_sense_do_not_keep_a_recording_open(recorder: Recorder) -> None:
    recording = recorder.begin(make_spec(pixel_size_um=5e-324))
    for seq, t_acq in enumerate((1e300, -1e308, 1.7e308, None)):
        recording.offer(replace(make_frame(seq), t_acq=t_acq))
    recording.finish().result(60)
    (image,) = metadata(recording.folder / "raw.ome.tif").images
    assert image.acquisition_date.year == 2026
    assert [plane.the_t for plane in image.pixels.planes] == [0, 1]
