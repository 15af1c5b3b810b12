"""Killed at any moment, resumed or recovered: every frame that had a line is there, once, and unchanged."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from frames import FOLDER, SHAPE, denoised_pixels, make_frame, make_recorder, make_spec, raw_pixels

from dimstream_client.messages import PlaneIndex
from dimstream_server.cli import main as cli
from dimstream_server.errors import RecordingRefused
from dimstream_server.recording.description import Description
from dimstream_server.recording.finalising import finalise
from dimstream_server.recording.formats import open_images
from dimstream_server.recording.recovering import recover
from dimstream_server.recording.repair import repair

pytestmark = pytest.mark.slow

CHILD = Path(__file__).with_name("writing_child.py")
ENDLESS = 10**6  # frames: whoever records so many is killed before


def read_frame_log(folder: Path) -> list[dict[str, Any]]:
    text = (folder / "frames.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines() if "event" not in json.loads(line)]


def check(folder: Path, frames: int) -> None:
    """The first `frames` frames are there exactly once, in order, in all three files."""
    assert [(line["seq"], line["page"]) for line in read_frame_log(folder)] == [(n, n) for n in range(frames)]
    for kind, pixels in {"raw": raw_pixels, "denoised": denoised_pixels}.items():
        with tifffile.TiffFile(folder / f"{kind}.ome.tif") as file:
            assert len(file.pages) == frames
            (series,) = file.series
            assert (series.axes, series.shape) == ("TYX", (frames, *SHAPE))
            assert np.array_equal(series.asarray(), np.stack([pixels(n) for n in range(frames)]))


def start(folder: Path, frames: int = ENDLESS) -> subprocess.Popen[str]:
    child = subprocess.Popen(
        [sys.executable, str(CHILD), str(folder), "tiff", str(frames)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "recording\n"
    return child


def kill_at(child: subprocess.Popen[str], file: Path, nbytes: int) -> None:
    while child.poll() is None and (not file.exists() or file.stat().st_size < nbytes):
        time.sleep(0.0005)
    child.kill()
    assert child.wait() == -signal.SIGKILL
    assert child.stdout is not None
    child.stdout.close()


def test_killed_five_times_and_resumed_it_has_every_frame_once(tmp_path: Path) -> None:
    chance = random.Random(5)
    raw = tmp_path / FOLDER / "raw.ome.tif"
    for kill in range(5):
        kill_at(start(tmp_path), raw, int((kill + chance.random()) * 64 * 1024))
    frames = len(read_frame_log(raw.parent)) + 50
    child = start(tmp_path, frames)
    out, _ = child.communicate(timeout=120)
    assert child.returncode == 0, out
    check(raw.parent, frames)


def test_killed_and_recovered_it_has_every_frame_that_had_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    child = start(tmp_path)
    folder = tmp_path / FOLDER
    kill_at(child, folder / "denoised.ome.tif", 90_000)
    text = (folder / "frames.jsonl").read_bytes()
    assert cli(["recover", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    frames = text.count(b"\n")
    assert f"finished, {frames} frames" in said
    check(folder, frames)
    assert cli(["recover", str(folder)]) == 0
    assert "nothing to do" in capsys.readouterr().out


def test_recover_refuses_what_a_server_is_writing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    child = start(tmp_path)
    try:
        assert cli(["recover", str(tmp_path)]) == 1
        assert "a running server is writing" in capsys.readouterr().out
    finally:
        kill_at(child, tmp_path, 0)


def test_recover_without_a_recording_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli(["recover", str(tmp_path)]) == 2
    assert "expected a recording in" in capsys.readouterr().err


HALF = {
    "nothing": lambda folder: None,
    "half a raw page": lambda folder: append(folder / "raw.ome.tif", bytes(300)),
    "a raw page without a denoised one": lambda folder: append(folder / "raw.ome.tif", page(folder)),
    "both pages without a line": lambda folder: [
        append(folder / f"{kind}.ome.tif", page(folder)) for kind in ("raw", "denoised")
    ],
    "half a line": lambda folder: append(folder / "frames.jsonl", b'{"seq": 6, "pa'),
    "half the metadata": lambda folder: append(folder / "raw.ome.tif", b"<OME>" * 5000),
}


def append(path: Path, content: bytes) -> None:
    with path.open("ab") as file:
        file.write(content)


def page(folder: Path) -> bytes:
    """The seventh page of a recording that holds it."""
    whole = folder.parent / "whole"
    if not whole.exists():
        record(whole, 7)
    content = (whole / FOLDER / "raw.ome.tif").read_bytes()
    step = 64 * -(-(512 + SHAPE[0] * SHAPE[1] * 2) // 64)
    end = 64 + 6 * step
    start = end - step + 512 + SHAPE[0] * SHAPE[1] * 2
    return content[start : end + 512 + SHAPE[0] * SHAPE[1] * 2]


def record(folder: Path, frames: int) -> Path:
    recorder = make_recorder(folder)
    recording = recorder.begin(make_spec())
    for seq in range(frames):
        recording.offer(make_frame(seq))
    recorder.close()
    return recording.folder


@pytest.mark.parametrize("half", HALF)
@pytest.mark.parametrize("way", ["recover", "resume"])
def test_what_was_half_written_is_cut(tmp_path: Path, half: str, way: str) -> None:
    folder = record(tmp_path, 6)
    unfinish(folder)
    HALF[half](folder)
    if way == "recover":
        recover(folder)
        check(folder, 6)
        return
    recorder = make_recorder(tmp_path)
    recording = recorder.resume(make_spec())
    assert recording.next_seq == 6
    for seq in range(4, 9):
        recording.offer(make_frame(seq))
    recording.finish().result(60)
    recorder.close()
    check(folder, 9)


def unfinish(folder: Path) -> None:
    """Take the metadata out again, as if the server had been killed before."""
    images = open_images(folder, Description.read(folder))
    repair(folder, images)
    images.close()


def test_finishing_again_after_a_crash_gives_the_same_files(tmp_path: Path) -> None:
    recorder = make_recorder(tmp_path)
    recording = recorder.begin(make_spec())
    for seq in range(5):
        recording.offer(make_frame(seq, PlaneIndex(t=2 * seq)))
    first = recording.finish().result(60)
    again = recorder.resume(make_spec()).finish().result(60)
    assert first == again
    recorder.close()


def test_lines_that_a_power_failure_lost_leave_no_frame_behind(tmp_path: Path) -> None:
    folder = record(tmp_path, 8)
    unfinish(folder)
    lines = (folder / "frames.jsonl").read_bytes().splitlines(keepends=True)
    (folder / "frames.jsonl").write_bytes(b"".join(lines[:5]))
    assert "3 frames had lost their lines" in recover(folder)
    with tifffile.TiffFile(folder / "raw.ome.tif") as file:
        assert np.array_equal(file.pages[7].asarray(), raw_pixels(7))
        assert len(file.pages) == 8
    assert [line["status"] for line in read_frame_log(folder)] == ["done"] * 5 + ["unlisted"] * 3


def test_pages_that_a_power_failure_lost_are_named(tmp_path: Path) -> None:
    folder = record(tmp_path, 8)
    unfinish(folder)
    denoised = folder / "denoised.ome.tif"
    os.truncate(denoised, denoised.stat().st_size - 2000)
    assert "2 lines had lost their pixels" in recover(folder)
    check(folder, 6)
    aside = (folder / "frames.lost.jsonl").read_text(encoding="utf-8")
    assert [json.loads(line)["seq"] for line in aside.splitlines()] == [6, 7]


def test_damaged_line_puts_aside_what_follows(tmp_path: Path) -> None:
    folder = record(tmp_path, 6)
    unfinish(folder)
    lines = (folder / "frames.jsonl").read_bytes().splitlines(keepends=True)
    (folder / "frames.jsonl").write_bytes(b"".join([*lines[:3], b"\0" * 40 + b"\n", *lines[4:]]))
    recover(folder)
    with tifffile.TiffFile(folder / "raw.ome.tif") as file:
        assert len(file.pages) == 6
    assert len((folder / "frames.lost.jsonl").read_bytes().splitlines()) == 3


def test_stopped_server_leaves_files_that_open_and_go_on(tmp_path: Path) -> None:
    folder = record(tmp_path, 5)
    check(folder, 5)
    recorder = make_recorder(tmp_path)
    recording = recorder.resume(make_spec())
    recording.offer(make_frame(5))
    recorder.close()
    check(folder, 6)


def test_resume_of_another_kind_is_refused(tmp_path: Path) -> None:
    record(tmp_path, 2)
    recorder = make_recorder(tmp_path)
    with pytest.raises(RecordingRefused, match=r"was recorded with shape \(12, 20\), got \(8, 8\)"):
        recorder.resume(make_spec(shape=(8, 8)))
    recorder.close()


def test_resume_of_what_is_gone_begins_anew_and_begin_never_overwrites(tmp_path: Path) -> None:
    recorder = make_recorder(tmp_path)
    recording = recorder.resume(make_spec())
    assert recording.next_seq == 0
    assert recorder.resume(make_spec()) is recording
    with pytest.raises(RecordingRefused, match="resume it"):
        recorder.begin(make_spec())
    recorder.close()


def test_skipped_frames_are_not_wanted_again(tmp_path: Path) -> None:
    recorder = make_recorder(tmp_path)
    recording = recorder.begin(make_spec())
    recording.offer(make_frame(0))
    recording.skip(1, 5, "replaced")
    recorder.close()
    recorder = make_recorder(tmp_path)
    assert recorder.resume(make_spec()).next_seq == 6
    recorder.close()


def test_completing_twice_changes_nothing(tmp_path: Path) -> None:
    folder = record(tmp_path, 4)
    before = (folder / "raw.ome.tif").read_bytes()
    finalise(folder, sync=False)
    assert (folder / "raw.ome.tif").read_bytes() == before
