"""Streams that are recorded: files are final in CLOSED, and a result that came out is on the disk."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from dimstream_client.messages import Close, Closed, Error, Frame, Open, Opened, PlaneIndex, Skip

SHAPE = (24, 32)
OPEN = Open(client="scope", model="blur", shape=SHAPE, dtype="uint16", save=True, pixel_size_um=0.02)


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    return tmp_path / "recordings"


@pytest.fixture
def start_recording(start_server: Any, tmp_path: Path, recorded: Path) -> Any:
    """Start a server that records; the next one goes on with the same journal and recordings."""

    def make(**recording: Any) -> Any:
        table = {"folder": recorded, **recording}
        return start_server(server={"state": tmp_path / "state"}, recording=table)

    return make


def _frame(opened: Opened, seq: int) -> Frame:
    pixels = np.random.default_rng(seq).poisson(9, SHAPE).astype(np.uint16)
    return Frame(opened.stream, seq, pixels, PlaneIndex(t=seq), t_acq=100.0 + seq)


def _pages(recorded: Path, name: str) -> Any:
    (folder,) = recorded.iterdir()
    return np.atleast_3d(tifffile.imread(folder / name)).reshape(-1, *SHAPE)


def _lines(recorded: Path) -> list[Any]:
    (folder,) = recorded.iterdir()
    return [json.loads(line) for line in (folder / "frames.jsonl").read_text().splitlines()]


def test_the_list_of_streams_says_where_each_is_recorded(
    start_recording: Any, connect: Any, request_of: Any, recorded: Path
) -> None:
    server = start_recording()
    peer = connect(server)
    opened = peer.ask(OPEN)
    peer.ask(_frame(opened, 0))
    (listed,) = json.loads(request_of("GET", "/v1/streams", server=server).body)["streams"]
    (folder,) = recorded.iterdir()
    assert listed["recording"] == {
        "folder": folder.name,
        "next_seq": 1,
        "state": "recording",
        "reason": None,
    }


def test_raw_and_denoised_are_in_the_files_that_closed_lists(
    start_recording: Any, connect: Any, recorded: Path
) -> None:
    peer = connect(start_recording())
    opened = peer.ask(OPEN)
    frames = [_frame(opened, seq) for seq in range(5)]
    results = [peer.ask(frame) for frame in frames]
    closed = peer.ask(Close(opened.stream, 4))
    assert isinstance(closed, Closed)
    assert closed.error is None
    names = {Path(file["name"]).name for file in closed.files}
    assert {"raw.ome.tif", "denoised.ome.tif", "frames.jsonl"} <= names
    for file in closed.files:
        content = (recorded / file["name"]).read_bytes()
        assert (file["sha256"], file["bytes"]) == (hashlib.sha256(content).hexdigest(), len(content))
    np.testing.assert_array_equal(_pages(recorded, "raw.ome.tif"), [frame.pixels for frame in frames])
    np.testing.assert_array_equal(_pages(recorded, "denoised.ome.tif"), [one.pixels for one in results])
    lines = [line for line in _lines(recorded) if "seq" in line]
    assert [(line["seq"], line["t_acq"], line["flag"]) for line in lines] == [
        (frame.seq, frame.t_acq, result.flag) for frame, result in zip(frames, results, strict=True)
    ]


def test_whatever_result_came_out_is_on_the_disk(start_recording: Any, connect: Any, recorded: Path) -> None:
    peer = connect(start_recording())
    opened = peer.ask(OPEN)
    for seq in range(8):
        peer.send(_frame(opened, seq))
    for seq in range(8):
        assert peer.receive().seq == seq
        assert [line["seq"] for line in _lines(recorded) if "seq" in line][: seq + 1] == list(range(seq + 1))


def test_a_recording_goes_on_at_the_next_server_and_has_every_frame_once(
    start_recording: Any, connect: Any, recorded: Path
) -> None:
    server = start_recording()
    peer = connect(server)
    opened = peer.ask(OPEN)
    results = [peer.ask(_frame(opened, seq)) for seq in range(5)]
    server.begin_stop()
    server.wait_stopped()
    peer = connect(start_recording())
    resume = {**vars(OPEN), "stream": opened.stream, "resume_token": opened.resume_token, "next_result": 3}
    resumed = peer.ask(Open(**resume))
    for seq in resumed.references:
        peer.send(_frame(opened, seq))
    results[3:] = [peer.ask(_frame(opened, seq)) for seq in range(3, 7)]
    peer.ask(Skip(opened.stream, 7, 8, "a gap"))
    closed = peer.ask(Close(opened.stream, 8))
    assert closed.counts["skipped"] == 2
    raw = [_frame(opened, seq).pixels for seq in range(7)]
    np.testing.assert_array_equal(_pages(recorded, "raw.ome.tif")[:7], raw)
    np.testing.assert_array_equal(_pages(recorded, "denoised.ome.tif")[:7], [one.pixels for one in results])
    assert [line["seq"] for line in _lines(recorded) if "flag" in line] == list(range(7))


def test_who_wants_flags_only_has_pixels_recorded_all_the_same(
    start_recording: Any, connect: Any, recorded: Path
) -> None:
    peer = connect(start_recording())
    opened = peer.ask(Open(**{**vars(OPEN), "deliver": "flags"}))
    assert peer.ask(_frame(opened, 0)).pixels is None
    peer.ask(Close(opened.stream, 0))
    assert _pages(recorded, "denoised.ome.tif").any()


def test_a_server_without_a_folder_and_a_disk_without_room_refuse(
    server: Any, start_recording: Any, connect: Any
) -> None:
    refusal = connect(server).ask(OPEN)
    assert (refusal.code, "recording.folder" in refusal.detail) == ("not_supported", True)
    peer = connect(start_recording(reserve_bytes=2**60, warn_bytes=2**60))
    refusal = peer.ask(OPEN)
    assert isinstance(refusal, Error)
    assert refusal.code == "recording_refused"
    assert peer.open().next_seq == 0, "who does not want to be recorded is served"
