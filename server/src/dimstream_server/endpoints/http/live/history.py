"""What is known of all streams: the figures of all of their frames, and the pixels of the newest ones."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from dimstream_server.endpoints.http.live.er_rows import ErRows
from dimstream_server.endpoints.http.live.shown_frame import FLAGS, Plane, ShownFrame, plane_of, row_of
from dimstream_server.endpoints.http.live.timeline import Timeline
from dimstream_server.recording import AnalysedFrame
from dimstream_server.streams import SeenFrame, ServerStream

MOST_ENDED: Final = 8
MOST_PLANES: Final = 4096
_MOST_PACKED: Final = 4  # viewers whose windows differ want other pixels of a frame


class Judged(NamedTuple):
    """What is known of a frame whose pixels may be gone.

    Parameters
    ----------
    place : int
        Of its plane among all of the stream.
    flag : str
        One of `figures.FLAGS`.
    """

    plane: Plane
    place: int
    flag: str


class StreamHistory:
    """What is known of one stream.

    Parameters
    ----------
    source : ServerStream
        As it was with its newest frame.
    """

    def __init__(self, source: ServerStream) -> None:
        self.source = source
        self.timeline = Timeline()
        self.er = ErRows()
        self.planes: dict[Plane, int] = {}  # and the place of each among them, as they came
        self.nbytes = 0
        self.count = 0
        self.newest_seq = -1
        self.answered_at = 0.0
        self.interval_s: float | None = None
        self.is_over = False
        self.folder: Path | None = None  # of its recording
        self._frames: dict[int, ShownFrame] = {}  # in memory, oldest first
        self._newest_of: dict[Plane, int] = {}
        self._packed_frame: ShownFrame | None = None
        self._packed: dict[Hashable, bytes] = {}  # of that frame

    def add(self, shown: ShownFrame, intensity: float) -> None:
        """Take note of a frame. Of a resumed stream some come again: they change nothing but their pixels."""
        seq, plane = shown.seq, shown.plane
        if seq <= self.newest_seq:
            if seq in self._frames:
                self.nbytes += shown.nbytes - self._frames[seq].nbytes
                self._frames[seq] = shown
            return
        now = shown.answered_at or 0.0
        row = row_of(shown.figures, plane=self._place(plane), intensity=intensity, answered_at=now)
        self.timeline.append(row)
        self._frames[seq] = shown
        self.nbytes += shown.nbytes
        self._newest_of[plane] = seq
        if self.count:
            passed = now - self.answered_at
            self.interval_s = passed if self.interval_s is None else 0.7 * self.interval_s + 0.3 * passed
        self.count += 1
        self.newest_seq, self.answered_at = seq, now

    def put_before(self, lines: list[dict[str, Any]]) -> None:
        """Put frames of which the recording knows before those that were seen: the server was restarted.

        Parameters
        ----------
        lines : list of dict
            Of `frames.jsonl`, in order.
        """
        seen = self.timeline
        first = seen.rows(0).columns["seq"][0] if len(seen) else self.newest_seq + 1
        earlier = [line for line in lines if line["seq"] < first]
        if not earlier:
            return
        places = [self._place(plane_of(line["index"])) for line in earlier]
        before = [row_of(line, plane=place) for line, place in zip(earlier, places, strict=True)]
        self.timeline = Timeline.of([*before, *seen.all_rows()], generation=seen.generation + 1)
        self.count += len(earlier)

    def put_analysed_before(self, earlier: Sequence[AnalysedFrame]) -> None:
        """Put figures before those that came, of which the recording knows: the server was restarted."""
        first = self.er.first_seq
        self.er.put_before(
            [(one, self._place(one.plane)) for one in earlier if first is None or one.seq < first]
        )

    def judged(self, seq: int) -> Judged | None:
        """What is known of a frame; None where it never came, or too long ago."""
        shown = self._frames.get(seq)
        if shown is not None:
            return Judged(shown.plane, self._place(shown.plane), shown.flag)
        columns = self.timeline.rows(0).columns
        row = int(np.searchsorted(columns["seq"], seq))
        if row == len(columns["seq"]) or columns["seq"][row] != seq:
            return None
        place = int(columns["plane"][row])
        return Judged(list(self.planes)[place], place, FLAGS[columns["flag"][row]])

    def newest(self, plane: Plane | None) -> ShownFrame | None:
        """The newest frame of a plane, or of all; None where memory holds it no longer."""
        seq = self.newest_seq if plane is None else self._newest_of.get(plane, -1)
        return self._frames.get(seq)

    def frame(self, seq: int) -> ShownFrame | None:
        """A frame; None where memory does not hold it."""
        return self._frames.get(seq)

    def frames_after(self, seq: int) -> list[ShownFrame]:
        """Those in memory behind frame `seq`, oldest first."""
        found = []
        for kept in reversed(self._frames.values()):
            if kept.seq <= seq:
                break
            found.append(kept)
        return found[::-1]

    def packed(self, shown: ShownFrame, key: Hashable, pack: Callable[[], bytes]) -> bytes:
        """What `pack` gives, once for all viewers who want the same of the same frame."""
        if self._packed_frame is not shown:
            self._packed_frame = shown
            self._packed.clear()
        if key not in self._packed:
            while len(self._packed) >= _MOST_PACKED:
                del self._packed[next(iter(self._packed))]
            self._packed[key] = pack()
        return self._packed[key]

    @property
    def oldest_seq(self) -> int | None:
        """First frame in memory."""
        return next(iter(self._frames), None)

    def drop_oldest(self) -> None:
        """Let go of the pixels of the oldest frame in memory."""
        dropped = self._frames.pop(next(iter(self._frames)))
        self.nbytes -= dropped.nbytes
        if self._packed_frame is dropped:
            self._packed_frame = None
            self._packed.clear()

    def _place(self, plane: Plane) -> int:
        """The place of a plane among all of the stream."""
        if plane not in self.planes and len(self.planes) < MOST_PLANES:
            self.planes[plane] = len(self.planes)
        return self.planes.get(plane, 0)


class History:
    """What is known of all streams; the event loop owns it.

    Parameters
    ----------
    memory_bytes : int
        Of all pixels that are kept. At the limit the stream that holds most gives up its oldest frame; the
        newest frame of all is always kept.
    """

    def __init__(self, memory_bytes: int) -> None:
        self._memory_bytes = memory_bytes
        self._streams: dict[str, StreamHistory] = {}
        self._watchers: set[Callable[[], None]] = set()

    def __iter__(self) -> Iterator[tuple[str, StreamHistory]]:
        return iter(self._streams.items())

    @property
    def held_bytes(self) -> int:
        """Of all pixels that are kept."""
        return sum(one.nbytes for one in self._streams.values())

    def of(self, stream: str) -> StreamHistory | None:
        """What is known of a stream; None when nothing is."""
        return self._streams.get(stream)

    def add(self, seen: SeenFrame, *, intensity: float, answered_at: float) -> StreamHistory:
        """Take note of a frame; gives what is known of its stream."""
        assert seen.source is not None, "the service names the stream of each frame"
        if seen.stream not in self._streams:
            self._streams[seen.stream] = StreamHistory(seen.source)
        history = self._streams[seen.stream]
        history.source, history.is_over = seen.source, False
        history.add(ShownFrame.of_seen(seen, answered_at), intensity)
        self._keep_within_memory()
        return history

    def end(self, stream: str) -> None:
        """Take note that a stream is over; of the last few that are, everything is still known."""
        history = self._streams.pop(stream, None)
        if history is None:
            return
        history.is_over = True
        self._streams[stream] = history  # ended last
        ended = [name for name, one in self._streams.items() if one.is_over]
        for name in ended[:-MOST_ENDED]:
            del self._streams[name]

    def changed(self) -> None:
        """Tell those who watch."""
        for wake in tuple(self._watchers):
            wake()

    def watch(self, wake: Callable[[], None]) -> Callable[[], None]:
        """Call `wake` after each change; the function that is given ends it."""
        self._watchers.add(wake)
        return lambda: self._watchers.discard(wake)

    def _keep_within_memory(self) -> None:
        while self.held_bytes > self._memory_bytes:
            largest = max(self._streams.values(), key=lambda one: one.nbytes)
            if largest.oldest_seq in (None, largest.newest_seq) and len(self._streams) == 1:
                return
            largest.drop_oldest()
