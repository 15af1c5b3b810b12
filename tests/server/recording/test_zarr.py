"""Recordings as OME-Zarr 0.5, opened by zarr-python."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from frames import FOLDER, SHAPE, denoised_pixels, make_frame, make_recorder, make_spec, raw_pixels

from dimstream_client.messages import PlaneIndex
from dimstream_server.errors import RecordingRefused
from dimstream_server.recording.recovering import recover

zarr = pytest.importorskip("zarr", reason="the extra zarr is not installed")
CHILD = Path(__file__).with_name("writing_child.py")


def test_hyperstack_opens_with_its_axes_scale_and_pixels(tmp_path: Path) -> None:
    recorder = make_recorder(tmp_path)
    recording = recorder.begin(make_spec(format="zarr"))
    indexes = [PlaneIndex(t=t, c=c, z=z) for t in range(3) for c in range(2) for z in range(4)]
    for seq, index in enumerate(indexes):
        recording.offer(make_frame(seq, index, failed=seq == 5))
    files = recording.finish().result(60)
    recorder.close()
    for kind, pixels in {"raw": raw_pixels, "denoised": denoised_pixels}.items():
        group = zarr.open_group(recording.folder / f"{kind}.ome.zarr", mode="r")
        (multiscale,) = group.attrs["ome"]["multiscales"]
        assert group.attrs["ome"]["version"] == "0.5"
        assert [axis["name"] for axis in multiscale["axes"]] == list("tczyx")
        (dataset,) = multiscale["datasets"]
        assert dataset["coordinateTransformations"] == [{"type": "scale", "scale": [0.6, 1, 1, 0.02, 0.02]}]
        array = group[dataset["path"]]
        assert (array.shape, array.chunks) == ((3, 2, 4, *SHAPE), (1, 1, 1, *SHAPE))
        for seq, index in enumerate(indexes):
            expected = np.zeros(SHAPE) if kind == "denoised" and seq == 5 else pixels(seq)
            assert np.array_equal(array[index.t, index.c, index.z], expected)
        assert group.attrs["dimstream"]["in_force"][0]["model"]["sha256"] == "ab" * 32
    command = "find . -type f | LC_ALL=C sort | xargs sha256sum | sha256sum"
    for file in files:
        if file.name.endswith(".zarr"):
            told = subprocess.run(
                command, shell=True, cwd=tmp_path / file.name, capture_output=True, text=True, check=True
            )
            assert told.stdout.split()[0] == file.sha256
        else:
            assert hashlib.sha256((tmp_path / file.name).read_bytes()).hexdigest() == file.sha256
    subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=recording.folder, check=True)


def test_positions_are_images_of_their_own(tmp_path: Path) -> None:
    recorder = make_recorder(tmp_path)
    recording = recorder.begin(make_spec(format="zarr"))
    for seq in range(4):
        recording.offer(make_frame(seq, PlaneIndex(t=seq // 2, p=seq % 2)))
    recording.finish().result(60)
    recorder.close()
    other = zarr.open_array(recording.folder / "raw.p1.ome.zarr" / "0", mode="r")
    assert np.array_equal(other[1, 0, 0], raw_pixels(3))


@pytest.mark.slow
def test_killed_it_has_every_frame_that_had_a_line_and_goes_on(tmp_path: Path) -> None:
    lines = tmp_path / FOLDER / "frames.jsonl"
    command = [sys.executable, str(CHILD), str(tmp_path), "zarr", "1000000"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    for nbytes in (9_000, 20_000):
        child = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment)
        while child.poll() is None and (not lines.exists() or lines.stat().st_size < nbytes):
            time.sleep(0.001)
        child.kill()
        assert child.wait() < 0
    frames = lines.read_bytes().count(b"\n")
    assert f"finished, {frames} frames" in recover(lines.parent)
    seqs = [json.loads(line)["seq"] for line in lines.read_text().splitlines()]
    assert seqs == list(range(frames))
    for kind, pixels in {"raw": raw_pixels, "denoised": denoised_pixels}.items():
        array = zarr.open_array(lines.parent / f"{kind}.ome.zarr" / "0", mode="r")
        assert array.shape[:3] == (frames, 1, 1)
        assert np.array_equal(array[:, 0, 0], np.stack([pixels(seq) for seq in range(frames)]))


def test_without_zarr_it_is_refused_with_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "dimstream_server.recording.zarr_images", None)
    recorder = make_recorder(tmp_path)
    with pytest.raises(RecordingRefused, match=r"install dimstream-server\[zarr\]"):
        recorder.begin(make_spec(format="zarr"))
    assert not list(tmp_path.iterdir())  # nothing of it is left
    recorder.close()
