"""The recorder: a bounded queue, a watched disk, and what happens when it is full or cannot be written."""

from __future__ import annotations

import errno
import json
import logging
import os
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tifffile
from frames import (
    FOLDER,
    MIB,
    OPENED_AT,
    SHAPE,
    denoised_pixels,
    make_frame,
    make_recorder,
    make_spec,
    raw_pixels,
)

from dimstream_server.errors import RecordingFailed, RecordingRefused, ServerBusy
from dimstream_server.recording.recovering import recover

LARGE = (256, 256)
LARGE_BYTES = 2 * 2 * 256 * 256


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 4 MiB; yields its folder."""
    folder = tmp_path / "disk"
    folder.mkdir()
    yield from mounted(folder, "size=4m")


def mounted(folder: Path, options: str) -> Iterator[Path]:
    mount = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small disk needs root and a kernel that lets it")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def gate(recorder: object) -> threading.Event:
    """Keep the writer's thread waiting until this is set."""
    opened, waits = threading.Event(), threading.Event()

    def wait() -> None:
        waits.set()
        opened.wait(60)

    from dimstream_server.recording.writing_queue import Job

    recorder._context.queue.put(Job(wait))  # type: ignore[attr-defined]
    assert waits.wait(60)
    return opened


def test_what_waits_is_held_until_it_is_written_and_comes_in_order(tmp_path: Path) -> None:
    recorder = make_recorder(tmp_path)
    recording = recorder.begin(make_spec(shape=LARGE))
    opened = gate(recorder)
    for seq in range(4):
        recording.offer(make_frame(seq, shape=LARGE))
    recording.skip(4, 6, "replaced")
    recording.offer(make_frame(3, shape=LARGE))  # its client came back, and has it queued already
    recording.offer(make_frame(7, shape=LARGE))
    assert recorder.queued_bytes() == 5 * LARGE_BYTES
    opened.set()
    recording.finish().result(60)
    recorder.close()
    lines = [json.loads(line) for line in (recording.folder / "frames.jsonl").read_text().splitlines()]
    assert [line.get("seq", line.get("seq_from")) for line in lines] == [0, 1, 2, 3, 4, 7]
    assert recorder.queued_bytes() == 0


def test_no_recording_begins_while_the_disk_is_too_far_behind(tmp_path: Path) -> None:
    recorder = make_recorder(tmp_path, most_queued_bytes=2 * LARGE_BYTES)
    recording = recorder.begin(make_spec(shape=LARGE))
    opened = gate(recorder)
    for seq in range(2):
        recording.offer(make_frame(seq, shape=LARGE))
    for start in (recorder.begin, recorder.resume):
        with pytest.raises(ServerBusy, match="because its disk is too slow"):
            start(make_spec(stream="s-2"))
    opened.set()
    recording.finish().result(60)
    recorder.begin(make_spec(stream="s-2"))
    recorder.close()


def test_frames_are_told_when_they_are_on_the_disk(tmp_path: Path) -> None:
    recorder = make_recorder(tmp_path, fsync="frame")
    written: list[int] = []
    recording = recorder.begin(make_spec(), on_written=written.append)
    for seq in range(4):
        recording.offer(make_frame(seq))
    recording.finish().result(60)
    assert written == [0, 1, 2, 3]
    assert recording.next_seq == 4
    recorder.close()


def test_several_streams_share_the_thread_and_keep_their_own_files(tmp_path: Path) -> None:
    recorder = make_recorder(tmp_path)
    recordings = [recorder.begin(make_spec(stream=f"s-{n}")) for n in range(3)]
    for seq in range(6):
        for recording in recordings:
            recording.offer(make_frame(seq))
    for recording in recordings:
        recording.finish().result(60)
        assert np.array_equal(
            tifffile.imread(recording.folder / "raw.ome.tif"), np.stack([raw_pixels(n) for n in range(6)])
        )
    recorder.close()


def test_names_of_folders_hold_nothing_that_a_user_chose(tmp_path: Path) -> None:
    recorder = make_recorder(tmp_path)
    recording = recorder.begin(make_spec(stream="../../etc/s-1", user="../x", client="/y"))
    assert recording.folder == tmp_path / FOLDER.replace("s-7f3a", "------etc-s-1")
    recorder.close()


def test_disk_that_will_not_hold_it_is_refused(small_disk: Path) -> None:
    recorder = make_recorder(small_disk)
    with pytest.raises(RecordingRefused, match=r"expected 0\.\d\d GB free .* to record 100 frames") as caught:
        recorder.begin(make_spec(shape=LARGE))
    assert caught.value.code == "recording_refused"
    recorder.close()


def test_recording_stops_in_order_at_the_reserve(small_disk: Path, caplog: pytest.LogCaptureFixture) -> None:
    recorder = make_recorder(small_disk, warn_bytes=3 * MIB, least_frames=1)
    recording = recorder.begin(make_spec(shape=LARGE))
    with caplog.at_level(logging.WARNING):
        for seq in range(30):
            recording.offer(make_frame(seq, shape=LARGE))
        with pytest.raises(RecordingFailed, match="GB free, expected at least") as caught:
            recording.finish().result(60)
    kept = recording.next_seq
    assert 5 < kept < 13  # of 4 MiB, less 1 in reserve, at a quarter each
    assert recording.state is not None
    assert len(caught.value.files) == 4
    with tifffile.TiffFile(recording.folder / "denoised.ome.tif") as file:
        assert file.series[0].shape == (kept, *LARGE)
        assert np.array_equal(file.pages[kept - 1].asarray(), denoised_pixels(kept - 1, LARGE))
        assert "stopped" in file.pages.first.description
    assert "event=recording_stopped" in caplog.text
    last = json.loads((recording.folder / "frames.jsonl").read_text().splitlines()[-1])
    assert last["event"] == "stopped"
    assert recorder.resume(make_spec(shape=LARGE)).state == last["reason"]
    recorder.close()


def test_little_room_is_told_once_and_to_readyz(small_disk: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        recorder = make_recorder(small_disk, warn_bytes=8 * MIB, reserve_bytes=3 * MIB)
        for _ in range(3):
            recorder._context.disk.look(now=True)
    assert caplog.text.count("event=disk_low") == 1
    assert recorder.problem() is None
    (small_disk / "other").write_bytes(bytes(2 * MIB))
    recorder._context.disk.look(now=True)
    recorder._context.disk.check()
    problem = recorder.problem()
    assert problem is not None
    assert "free some space" in problem
    recorder.close()


def test_full_disk_keeps_what_was_recorded_until_there_is_room(small_disk: Path) -> None:
    # no reserve, so that the disk itself says no
    recorder = make_recorder(small_disk, reserve_bytes=-64 * MIB, least_frames=1)
    other = recorder.begin(make_spec(stream="s-2"))
    recording = recorder.begin(make_spec(shape=LARGE))
    for seq in range(30):
        recording.offer(make_frame(seq, shape=LARGE))
    while recording.state is None:
        time.sleep(0.001)
    fill(small_disk / "filler")
    with pytest.raises(RecordingFailed, match="No space left on device") as caught:
        recording.finish().result(60)
    assert caught.value.files == ()  # not even the metadata had room
    kept = recording.next_seq
    assert 10 < kept < 16
    with tifffile.TiffFile(recording.folder / "denoised.ome.tif") as file:
        assert len(file.pages) == kept
    assert other.state is None  # streams do not fail for another
    recorder.close()
    subprocess.run(["mount", "-o", "remount,size=16m", str(small_disk)], check=True)
    assert f"finished, {kept} frames" in recover(recording.folder)
    with tifffile.TiffFile(recording.folder / "denoised.ome.tif") as file:
        assert file.series[0].shape == (kept, *LARGE)
        for seq in range(kept):
            assert np.array_equal(file.pages[seq].asarray(), denoised_pixels(seq, LARGE))


def test_disk_that_turns_read_only_stops_the_recording(small_disk: Path) -> None:
    recorder = make_recorder(small_disk)
    recording = recorder.begin(make_spec())
    recording.offer(make_frame(0))
    while recording.next_seq < 1:
        pass
    recording._images.append = _read_only  # open files keep a real one writable
    recording.offer(make_frame(1))
    with pytest.raises(RecordingFailed, match="Read-only file system"):
        recording.finish().result(60)
    assert recording.next_seq == 1
    recorder.close()


def fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        for nbytes in (65536, 1):
            try:
                while file.write(bytes(nbytes)):
                    pass
            except OSError:
                continue


def _read_only(frame: object) -> None:
    raise OSError(errno.EROFS, os.strerror(errno.EROFS))


def test_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "disk"
    folder.mkdir()
    for _ in mounted(folder, "size=4m,ro"):
        recorder = make_recorder(folder)
        with pytest.raises(RecordingRefused, match="Read-only file system"):
            recorder.begin(make_spec())
        problem = recorder.problem()
        assert problem is not None
        assert "is not writable" in problem
        recorder.close()


def test_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RecordingRefused, match="correct recording"):
        make_recorder(tmp_path / "file")


LIMITED = f"""
import resource, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from frames import *
from pathlib import Path
resource.setrlimit(resource.RLIMIT_FSIZE, (600_000, 600_000))
recorder = make_recorder(Path(sys.argv[1]))
recording = recorder.begin(make_spec(shape={LARGE}))
for seq in range(20):
    recording.offer(make_frame(seq, shape={LARGE}))
try:
    recording.finish().result(60)
except Exception as error:
    print(error.code, recording.next_seq, error)
recorder.close()
"""


def test_limit_on_the_size_of_files_stops_the_recording_with_its_reason(tmp_path: Path) -> None:
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
    ran = subprocess.run(
        [sys.executable, "-c", LIMITED, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
    )
    assert ran.stdout.startswith("recording_failed 4 the recording stopped before frame 4: File too large")
    with tifffile.TiffFile(tmp_path / FOLDER / "raw.ome.tif") as file:
        assert file.series[0].shape == (4, *LARGE)


def test_page_of_another_kind_stops_the_recording_and_not_the_thread(tmp_path: Path) -> None:
    recorder = make_recorder(tmp_path)
    recording = recorder.begin(make_spec())
    recording.offer(make_frame(0))
    recording.offer(make_frame(1, shape=(4, 4)))
    with pytest.raises(RecordingFailed, match=r"expected a page of \(12, 20\) uint16"):
        recording.finish().result(60)
    other = recorder.begin(make_spec(opened_at=OPENED_AT + 1))
    other.offer(make_frame(0))
    other.finish().result(60)
    assert tifffile.imread(recording.folder / "raw.ome.tif").shape == SHAPE
    assert recorder.problem() is None
    recorder.close()
