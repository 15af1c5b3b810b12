"""One viewer, without its connection: what it wants, and which message it gets next.

Nothing waits in a queue for it. A message is made when there is room in its window, from what is newest then.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from numpy.typing import NDArray

from dimstream_server.endpoints.http.live.history import History, StreamHistory
from dimstream_server.endpoints.http.live.messages import BadMessage, Done, Roi, View, pack, parse
from dimstream_server.endpoints.http.live.row_messages import er_message, timeline_message
from dimstream_server.endpoints.http.live.shown_frame import ShownFrame

WINDOW: Final = 3
STATUS_S: Final = 1.0
ROWS_S: Final = 0.25
_MOST_TRACED: Final = 64  # frames at once


@dataclass(slots=True, eq=False)
class _Progress:
    """What a view was sent.

    Parameters
    ----------
    shown : int or None
        The last frame.
    loaded : ShownFrame or None
        The frame that it stays at, from the recording, until it was sent.
    is_looked_for : bool
        Whether the recording was asked for it.
    generation, rows
        Of the timeline that it has.
    er_generation, er_rows
        Of the figures of the ER that it has.
    traced : int
        The last frame whose regions it has.
    traces : bytes or None
        Its next message about them.
    """

    shown: int | None = None
    loaded: ShownFrame | None = None
    is_looked_for: bool = False
    is_missing: bool = False
    generation: int = -1
    rows: int = 0
    rows_at: float = 0.0
    er_generation: int = -1
    er_rows: int = 0
    er_at: float = 0.0
    traced: int = -1
    traced_at: float = 0.0
    traces: bytes | None = None

    def after_change(self, *, same_regions: bool, same_figures: bool) -> _Progress:
        """That of a view that was changed: rows, and traces and figures of the same kind, go on."""
        rows = {"generation": self.generation, "rows": self.rows}
        traced = {"traced": self.traced, "traces": self.traces} if same_regions else {}
        er = {"er_generation": self.er_generation, "er_rows": self.er_rows} if same_figures else {}
        return _Progress(**rows, **traced, **er)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class Load:
    """A frame to be read from a recording, for `Viewer.loaded`."""

    at: _Progress
    folder: Path
    seq: int


@dataclass(frozen=True, slots=True)
class Trace:
    """Frames whose regions are to be summed up, for `Viewer.traced`."""

    at: _Progress
    stream: str
    frames: list[ShownFrame]
    rois: tuple[Roi, ...]


class Viewer:
    """Decides what one viewer is sent.

    Parameters
    ----------
    status : callable
        The header of a `status` message.
    frames_per_s : float
        Most frames that it is sent.
    """

    def __init__(
        self, history: History, status: Callable[[], dict[str, Any]], *, frames_per_s: float
    ) -> None:
        self._history = history
        self._status = status
        self._frame_s = 1 / frames_per_s
        self._views: tuple[View, ...] = ()
        self._progress: list[_Progress] = []
        self._sent = self._done = 0
        self._status_at = self._frame_at = 0.0
        self._turn = 0

    def take(self, text: str) -> None:
        """Take note of what the viewer said.

        Raises
        ------
        BadMessage
        """
        message = parse(text)
        if isinstance(message, Done):
            if not self._done <= message.count <= self._sent:
                raise BadMessage(f"done: expected {self._done} to {self._sent}, got {message.count}")
            self._done = message.count
            return
        before = dict(zip(self._views, self._progress, strict=True))
        self._progress = [before.get(view) or self._changed(view) for view in message.views]
        self._views = message.views

    def next_message(self, now: float) -> bytes | None:
        """What to send now; None when there is nothing, or no room.

        Parameters
        ----------
        now : float
            Seconds of a clock that only grows.
        """
        if not self._has_room:
            return None
        message = (
            self._due_status(now)
            or self._due_rows(now)
            or self._due_er(now)
            or self._due_traces()
            or self._due_frame(now)
        )
        self._sent += message is not None
        return message

    def next_work(self, now: float) -> Load | Trace | None:
        """What has to be done for the next message; None: nothing, or there is no room for it."""
        if not self._has_room:
            return None
        is_loaded = any(progress.loaded is not None for progress in self._progress)
        for view, progress in zip(self._views, self._progress, strict=True):
            history = self._history.of(view.stream)
            if history is None:
                progress.loaded = None
                continue
            may_load = not (is_loaded or progress.is_looked_for)  # one at a time: views may be many
            if view.seq is not None and may_load and history.folder is not None:
                progress.is_looked_for = True
                if history.frame(view.seq) is None:
                    return Load(progress, history.folder, view.seq)
            is_due = view.rois and now >= progress.traced_at + ROWS_S
            if is_due and (trace := _trace(view, progress, history)) is not None:
                progress.traced_at = now
                return trace
        return None

    def loaded(self, load: Load, frame: ShownFrame | None) -> None:
        """Take note of what a recording gave."""
        load.at.loaded = frame if load.at.shown is None else None

    def traced(self, trace: Trace, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take note of the means of R regions in N frames, by name, (N, R) counts per pixel; see `traces`."""
        header = {"type": "traces", "stream": trace.stream, "rois": [roi.model_dump() for roi in trace.rois]}
        trace.at.traces = pack(header, list(arrays.items()))

    def wait_s(self, now: float) -> float | None:
        """How long at most to wait before `next_message` is asked again; None: until something changes."""
        if not self._has_room:
            return None
        later = [self._frame_at + self._frame_s]
        for progress in self._progress:
            later += [at + ROWS_S for at in (progress.rows_at, progress.er_at, progress.traced_at)]
        return max(0.0, min([self._status_at + STATUS_S, *(at for at in later if at > now)]) - now)

    @property
    def _has_room(self) -> bool:
        return self._sent - self._done < WINDOW

    def _changed(self, view: View) -> _Progress:
        for old, progress in zip(self._views, self._progress, strict=True):
            if old.stream == view.stream and old.rows and view.rows:
                same = (old.rois, old.plane) == (view.rois, view.plane)
                return progress.after_change(same_regions=same, same_figures=old.er == view.er)
        return _Progress()

    def _due_status(self, now: float) -> bytes | None:
        if now < self._status_at + STATUS_S and self._sent:
            return None
        self._status_at = now
        return pack({"type": "status", **self._status()})

    def _due_rows(self, now: float) -> bytes | None:
        for view, progress in zip(self._views, self._progress, strict=True):
            history = self._history.of(view.stream)
            if view.rows and history is not None and now >= progress.rows_at + ROWS_S:
                message = _rows(view, progress, history)
                if message is not None:
                    progress.rows_at = now
                    return message
        return None

    def _due_er(self, now: float) -> bytes | None:
        for view, progress in zip(self._views, self._progress, strict=True):
            history = self._history.of(view.stream)
            if view.er and history is not None and now >= progress.er_at + ROWS_S:
                message = _er_rows(view, progress, history)
                if message is not None:
                    progress.er_at = now
                    return message
        return None

    def _due_traces(self) -> bytes | None:
        for progress in self._progress:
            if progress.traces is not None:
                message, progress.traces = progress.traces, None
                return message
        return None

    def _due_frame(self, now: float) -> bytes | None:
        if now < self._frame_at + self._frame_s:
            return None
        for _ in self._views:
            self._turn = (self._turn + 1) % len(self._views)
            view, progress = self._views[self._turn], self._progress[self._turn]
            history = self._history.of(view.stream)
            message = None if history is None else _frame(self._turn, view, progress, history)
            if message is not None:
                self._frame_at = now
                return message
        return None


def _frame(at: int, view: View, progress: _Progress, history: StreamHistory) -> bytes | None:
    if view.seq is None:
        shown = history.newest(view.plane)
    elif progress.shown == view.seq:
        return None
    else:
        shown = history.frame(view.seq) or progress.loaded
        if shown is None:
            return _missing(at, view, progress, history)
    if shown is None or progress.shown == shown.seq:
        return None
    progress.shown, progress.loaded = shown.seq, None
    if shown.source == "recording":  # this viewer's alone
        return _pack_frame(at, view, shown)
    return history.packed(shown, (at, view.step, view.parts), lambda: _pack_frame(at, view, shown))


def _pack_frame(at: int, view: View, shown: ShownFrame) -> bytes:
    header = {"type": "frame", "view": at, "stream": view.stream, "step": view.step, "source": shown.source}
    images = [
        (part, shown.images[part][:: view.step, :: view.step]) for part in view.parts if part in shown.images
    ]
    return pack({**header, "answered_at": shown.answered_at, **shown.figures}, images)


def _missing(at: int, view: View, progress: _Progress, history: StreamHistory) -> bytes | None:
    if progress.is_missing or (history.folder is not None and not progress.is_looked_for):
        return None
    progress.is_missing = True
    return pack({"type": "missing", "view": at, "stream": view.stream, "seq": view.seq})


def _rows(view: View, progress: _Progress, history: StreamHistory) -> bytes | None:
    timeline = history.timeline
    if progress.generation != timeline.generation:
        progress.generation, progress.rows = timeline.generation, 0
    if progress.rows >= len(timeline):
        return None
    message, count = timeline_message(view.stream, timeline, progress.rows)
    progress.rows += count
    return message


def _er_rows(view: View, progress: _Progress, history: StreamHistory) -> bytes | None:
    found, pixel_um = history.er, history.source.pixel_size_um
    if progress.er_generation != found.generation:
        progress.er_generation, progress.er_rows = found.generation, 0
    if progress.er_rows >= len(found):
        return None
    message, count = er_message(view.stream, found, progress.er_rows, view.er, pixel_um)
    progress.er_rows += count
    return message


def _trace(view: View, progress: _Progress, history: StreamHistory) -> Trace | None:
    if progress.traces is not None:
        return None
    frames = history.frames_after(progress.traced)[:_MOST_TRACED]
    if not frames:
        return None
    progress.traced = frames[-1].seq
    wanted = [frame for frame in frames if view.plane in (None, frame.plane)]
    return Trace(progress, view.stream, wanted, view.rois) if wanted else None
