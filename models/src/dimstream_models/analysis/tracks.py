"""Junctions and gaps tracked over a movie: when and how each began and ended."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from dimstream_models.analysis.linking import Links

Beginning = Literal["unseen", "born", "split"]
Ending = Literal["unseen", "lost", "merged"]
Place = tuple[float, float, float]  # y and x in px, and a size
UNSEEN: Final = "unseen"
"""The frame before, or after, was not analysed, so it is unknown how the track began, or ended."""


@dataclass
class Track:
    """One junction or gap, for as long as it was tracked.

    Parameters
    ----------
    number : int
        Number of the track, from 1 on.
    first, last : int
        First and last frame; the track exists in all frames between them.
    beginning : {"unseen", "born", "split"}
    ending : {"unseen", "lost", "merged"}
    y_px, x_px, size : float
        Its last position; its degree, or its area in px.
    """

    number: int
    first: int
    last: int
    beginning: Beginning
    ending: Ending
    y_px: float
    x_px: float
    size: float


@dataclass
class Follower:
    """Tracks objects through a movie, frame by frame; it keeps only the current ones in memory."""

    count: int = 0
    frame: int | None = None
    now: list[Track] = field(default_factory=list)

    def add(
        self, frame: int, seen: Sequence[tuple[float, float, float]], links: Links | None
    ) -> Iterator[Track]:
        """Add one frame's objects, each (y, x, size), and yield the tracks that ended before it.

        Parameters
        ----------
        links : Links or None
            Links to the frame before; None if that was not analysed: then all tracks end as "unseen", and new
            ones begin as "unseen".
        """
        if links is None:
            yield from self.end()
            self.now = [self._begin(frame, each, "unseen") for each in seen]
            return
        before = dict(links.same)
        after = {number: old for old, number in links.same}
        for number, track in enumerate(self.now):
            if number not in before:
                track.ending = "merged" if number in links.merged else "lost"
                yield track
        split = set(links.split)
        self.now = [
            self._go_on(self.now[after[n]], frame, each)
            if n in after
            else self._begin(frame, each, "split" if n in split else "born")
            for n, each in enumerate(seen)
        ]

    def end(self) -> Iterator[Track]:
        """Yield the tracks that have not ended."""
        yield from self.now
        self.now = []

    def _begin(self, frame: int, seen: Place, beginning: Beginning) -> Track:
        self.count += 1
        return Track(self.count, frame, frame, beginning, "unseen", *seen)

    @staticmethod
    def _go_on(track: Track, frame: int, seen: Place) -> Track:
        track.last = frame
        track.y_px, track.x_px, track.size = seen
        return track
