"""One viewer, without its connection: what it wants, and which message it gets next.

Nothing waits in a queue for it. A message is made when there is room in its window, from what is newest then.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from dimstream_server.endpoints.http.live.figures import figures_of
from dimstream_server.endpoints.http.live.history import History, KeptFrame, StreamHistory
from dimstream_server.endpoints.http.live.messages import BadMessage, Done, View, pack, parse

WINDOW: Final = 3
STATUS_S: Final = 1.0
ROWS_S: Final = 0.25
_MOST_ROWS: Final = 16_384  # in one message


@dataclass(slots=True)
class _Progress:
    """What a view was sent.

    Parameters
    ----------
    shown : int or None
        The last frame.
    """

    shown: int | None = None
    is_missing: bool = False
    generation: int = -1
    rows: int = 0
    rows_at: float = 0.0


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
        kept = dict(zip(self._views, self._progress, strict=True))
        rows = {view.stream: self._progress[at] for at, view in enumerate(self._views) if view.rows}
        self._views = message.views
        self._progress = [kept.get(view) or _after(rows.get(view.stream)) for view in message.views]

    def next_message(self, now: float) -> bytes | None:
        """What to send now; None when there is nothing, or no room.

        Parameters
        ----------
        now : float
            Seconds of a clock that only grows.
        """
        if self._sent - self._done >= WINDOW:
            return None
        message = self._due_status(now) or self._due_rows(now) or self._due_frame(now)
        self._sent += message is not None
        return message

    def wait_s(self, now: float) -> float | None:
        """How long at most to wait before `next_message` is asked again; None: until something changes."""
        if self._sent - self._done >= WINDOW:
            return None
        rows_at = [progress.rows_at + ROWS_S for progress in self._progress]
        due = [at for at in (self._frame_at + self._frame_s, *rows_at) if at > now]
        return max(0.0, min([self._status_at + STATUS_S, *due]) - now)

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

    def _due_frame(self, now: float) -> bytes | None:
        if now < self._frame_at + self._frame_s:
            return None
        for _ in self._views:
            self._turn = (self._turn + 1) % len(self._views)
            view, progress = self._views[self._turn], self._progress[self._turn]
            history = self._history.of(view.stream)
            message = None if history is None else self._frame(self._turn, view, progress, history)
            if message is not None:
                self._frame_at = now
                return message
        return None

    def _frame(self, at: int, view: View, progress: _Progress, history: StreamHistory) -> bytes | None:
        kept = history.newest(view.plane) if view.seq is None else history.frame(view.seq)
        if kept is None:
            return self._missing(at, view, progress)
        if progress.shown == kept.seq:
            return None
        progress.shown = kept.seq
        return pack(_frame_header(at, view, kept), _images(view, kept))

    def _missing(self, at: int, view: View, progress: _Progress) -> bytes | None:
        if view.seq is None or progress.is_missing:
            return None
        progress.is_missing = True
        return pack({"type": "missing", "view": at, "stream": view.stream, "seq": view.seq})


def _after(rows: _Progress | None) -> _Progress:
    """The progress of a view that was changed: it goes on with the rows that were sent."""
    return _Progress() if rows is None else _Progress(generation=rows.generation, rows=rows.rows)


def _frame_header(at: int, view: View, kept: KeptFrame) -> dict[str, Any]:
    return {
        "type": "frame",
        "view": at,
        "stream": view.stream,
        "step": view.step,
        "source": "memory",
        "answered_at": kept.answered_at,
        **figures_of(kept.seen),
    }


def _images(view: View, kept: KeptFrame) -> list[tuple[str, Any]]:
    found = {
        "raw": kept.seen.frame.pixels,
        "denoised": kept.seen.result.pixels,
        "support": kept.seen.result.support,
    }
    return [
        (part, pixels[:: view.step, :: view.step])
        for part in view.parts
        if (pixels := found[part]) is not None
    ]


def _rows(view: View, progress: _Progress, history: StreamHistory) -> bytes | None:
    timeline = history.timeline
    if progress.generation != timeline.generation:
        progress.generation, progress.rows = timeline.generation, 0
    if progress.rows >= len(timeline):
        return None
    rows = timeline.rows(progress.rows)
    columns = [(name, column[:_MOST_ROWS]) for name, column in rows.columns.items()]
    progress.rows += len(columns[0][1])
    header = {"type": "rows", "stream": view.stream, "first": rows.first}
    return pack({**header, "generation": rows.generation, "every": rows.every}, columns)
