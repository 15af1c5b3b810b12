"""What the live view keeps of a stream: the timeline, frames in memory, frames of its recording, regions."""

import io
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from live_viewers import PATIENCE_S, viewing

from dimstream_client.messages import Frame, Open, Opened
from dimstream_server.endpoints.http.live.history import StreamHistory
from dimstream_server.endpoints.http.live.shown_frame import COLUMNS, FLAGS, Row, ShownFrame
from dimstream_server.endpoints.http.live.timeline import Timeline
from dimstream_server.endpoints.http.live.viewer import Load, Viewer
from dimstream_server.endpoints.http.tickets import LIFE_S, Tickets

SHAPE = (24, 32)
COLUMN = {name: place for place, name in enumerate(COLUMNS)}
PARTS = ["raw", "denoised"]


def row(seq: int, flag: int = 0) -> Row:
    values = [0.0] * len(COLUMNS)
    values[COLUMN["seq"]], values[COLUMN["flag"]] = seq, flag
    return tuple(values)


@given(st.lists(st.integers(0, len(FLAGS) - 1), max_size=300))
def test_a_timeline_is_bounded_in_order_and_loses_no_bad_frame(flags: list[int]) -> None:
    timeline = Timeline(most=8)
    for seq, flag in enumerate(flags):
        timeline.append(row(seq, flag))
    rows = timeline.rows(0)
    seqs = rows.columns["seq"].astype(int)
    assert len(timeline) <= 8
    assert (np.diff(seqs) > 0).all()
    covered = flags[: len(seqs) * rows.every]
    groups = [covered[at : at + rows.every] for at in range(0, len(covered), rows.every)]
    assert rows.columns["flag"].tolist() == [max(group) for group in groups]
    assert len(flags) - len(covered) < rows.every


def test_a_ticket_is_good_for_half_a_minute() -> None:
    now = 100.0
    tickets: Tickets[str] = Tickets(clock=lambda: now)
    early, late = tickets.give("anna"), tickets.give("anna")
    now += LIFE_S - 1
    assert tickets.take(early) == "anna"
    assert tickets.take(early) is None
    now += 2
    assert tickets.take(late) is None


@pytest.fixture
def make_frame(make_counts: Any) -> Callable[[int], Any]:
    return lambda seq: make_counts(SHAPE, seed=seq)


def record(start_server: Any, connect: Any, folder: Path, make_frame: Any, **tables: Any) -> Any:
    """A server that has recorded six frames, and keeps the last two in memory; stream and results."""
    frame_bytes = 2 * 24 * 32 * 2
    table = {"folder": str(folder), **tables}
    server = start_server("blur", live={"memory_bytes": 2 * frame_bytes}, recording=table)
    peer = connect(server)
    stream = peer.open(SHAPE, save=True, pixel_size_um=0.05).stream
    return server, stream, [peer.denoise(stream, seq, make_frame(seq)) for seq in range(6)]


@pytest.mark.parametrize("kind", ["tiff", "zarr"])
def test_frames_that_left_the_memory_come_from_the_recording(
    start_server: Any, connect: Any, tmp_path: Path, make_frame: Any, kind: str
) -> None:
    pytest.importorskip("zarr")
    server, stream, results = record(start_server, connect, tmp_path / "rec", make_frame, format=kind)
    with viewing(server.addresses.http) as viewer:
        for seq, source in ((1, "recording"), (4, "memory"), (0, "recording")):
            viewer.watch(stream=stream, seq=seq, parts=PARTS, rows=True)
            header, arrays = viewer.of_kind("frame")
            assert (header["seq"], header["source"]) == (seq, source)
            np.testing.assert_array_equal(arrays["raw"], make_frame(seq))
            np.testing.assert_array_equal(arrays["denoised"], results[seq].pixels)
            assert (header["flag"], header["reason"]) == (results[seq].flag, results[seq].reason)
            assert header["quality"]["structure_score"] == results[seq].quality.structure_score
        viewer.watch(stream=stream, seq=99, parts=PARTS)
        assert viewer.of_kind("missing")[0]["seq"] == 99


def test_a_frame_can_be_kept_as_ome_tiff(
    start_server: Any, connect: Any, request_of: Any, tmp_path: Path, make_frame: Any
) -> None:
    server, stream, results = record(start_server, connect, tmp_path / "rec", make_frame)
    for seq in (0, 5):
        answer = request_of("GET", f"/live/frame.tif?stream={stream}&seq={seq}", server=server)
        assert answer.status == 200
        with tifffile.TiffFile(io.BytesIO(answer.body)) as file:
            assert [series.name for series in file.series] == PARTS
            np.testing.assert_array_equal(file.series[0].asarray(), make_frame(seq))
            np.testing.assert_array_equal(file.series[1].asarray(), results[seq].pixels)
            described = tifffile.xml2dict(file.ome_metadata)["OME"]["Image"]
        assert described[0]["Pixels"]["PhysicalSizeX"] == 0.05
        assert json.loads(described[0]["Description"])["flag"] == results[seq].flag
    missing = request_of("GET", f"/live/frame.tif?stream={stream}&seq=9", server=server)
    assert (missing.status, json.loads(missing.body)["code"]) == (404, "not_found")


def test_files_that_leave_are_within_the_memory_for_answers(
    start_server: Any, connect: Any, request_of: Any, make_frame: Any
) -> None:
    frame_bytes = 2 * 24 * 32 * 2

    def statuses(half: int) -> Iterator[int]:
        server = start_server("blur", http={"max_body_bytes": 1024, "max_buffered_bytes": 2 * half})
        peer = connect(server)
        stream = peer.open(SHAPE).stream
        peer.denoise(stream, 0, make_frame(0))
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            yield request_of("GET", f"/live/frame.tif?stream={stream}&seq=0", server=server).status

    # the live view may know the frame a little after its sender does
    assert next(status for status in statuses(frame_bytes - 1) if status != 404) == 503
    enough = statuses(frame_bytes)
    assert next(status for status in enough if status != 404) == 200
    assert 200 in enough  # the bytes were given back


def test_recorded_frames_are_read_one_at_a_time_and_let_go(tmp_path: Path) -> None:
    known = StreamHistory(cast(Any, None))
    known.folder = tmp_path
    viewer = Viewer(cast(Any, SimpleNamespace(of=lambda stream: known)), dict, frames_per_s=1)
    views = [{"stream": "a", "seq": seq, "parts": ["raw"]} for seq in range(3)]
    viewer.take(json.dumps({"type": "watch", "views": views}))
    assert viewer.next_message(1.0)  # the status
    for seq in range(2):
        load = viewer.next_work(seq + 2.0)
        assert isinstance(load, Load)
        viewer.loaded(load, ShownFrame("recording", None, {"seq": seq}, {}))
        assert viewer.next_work(seq + 2.0) is None
        while load.at.loaded is not None:
            assert viewer.next_message(seq + 2.0)
        viewer.take(json.dumps({"type": "done", "count": 2 * seq + 2}))


def test_regions_are_followed_over_the_frames_in_memory_and_those_that_come(
    start_server: Any, connect: Any, make_frame: Any
) -> None:
    server = start_server("blur")
    peer = connect(server)
    stream = peer.open(SHAPE).stream
    results = [peer.denoise(stream, seq, make_frame(seq)) for seq in range(3)]
    roi = {"x": 4, "y": 2, "width": 10, "height": 6}
    outside = {"x": 500, "y": 2, "width": 10, "height": 6}
    seen: dict[float, Any] = {}
    with viewing(server.addresses.http) as viewer:
        viewer.watch(stream=stream, rows=True, rois=[roi, outside])
        while len(seen) < 4:
            header, arrays = viewer.of_kind("traces")
            assert header["rois"] == [roi, outside]
            seen |= dict(zip(arrays["seq"], zip(arrays["raw"], arrays["denoised"], strict=True), strict=True))
            if len(seen) == 3:
                results.append(peer.denoise(stream, 3, make_frame(3)))
    for seq, (raw, denoised) in seen.items():
        assert raw[0] == pytest.approx(make_frame(int(seq))[2:8, 4:14].mean())
        assert denoised[0] == pytest.approx(results[int(seq)].pixels[2:8, 4:14].mean())
        assert np.isnan(raw[1])


def test_after_a_restart_the_timeline_has_the_whole_run(
    start_server: Any, connect: Any, tmp_path: Path, make_frame: Any
) -> None:
    tables = {"server": {"state": str(tmp_path / "state")}, "recording": {"folder": str(tmp_path / "rec")}}
    first = start_server("blur", **tables)
    peer = connect(first)
    opened = peer.open(SHAPE, save=True)
    results = [peer.denoise(opened.stream, seq, make_frame(seq)) for seq in range(4)]
    first.begin_stop()
    assert first.wait_stopped()
    second = start_server("blur", **tables)
    peer = connect(second)
    again = peer.ask(
        Open(
            client="test", model="blur", shape=SHAPE, dtype="uint16", save=True, next_result=4,
            stream=opened.stream, resume_token=opened.resume_token,
        )
    )  # fmt: skip
    assert isinstance(again, Opened), again
    for seq in again.references:
        peer.send(Frame(opened.stream, seq, make_frame(seq)))
    results.append(peer.denoise(opened.stream, 4, make_frame(4)))
    with viewing(second.addresses.http) as viewer:
        viewer.watch(stream=opened.stream, rows=True)
        header, arrays = viewer.until(
            lambda header: header["type"] == "rows" and header["parts"][0]["shape"] == [5]
        )
        assert header["first"] == 0
        assert arrays["seq"].tolist() == [0, 1, 2, 3, 4]
        assert [FLAGS[flag] for flag in arrays["flag"]] == [result.flag for result in results]
        assert np.isnan(arrays["intensity"][:4]).all()
        viewer.watch(stream=opened.stream, seq=1, parts=["raw"])
        _, arrays = viewer.until(lambda header: header["type"] == "frame" and header["seq"] == 1)
        np.testing.assert_array_equal(arrays["raw"], make_frame(1))
