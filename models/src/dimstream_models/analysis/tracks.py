"""Junctions and gaps followed over a movie: when each began and ended, and how."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from dimstream_models.analysis.linking import Links

Beginning = Literal["unseen", "born", "split"]
Ending = Literal["unseen", "lost", "merged"]
Place = tuple[float, float, float]  # y and x in px, and a size
UNSEEN: Final = "unseen"
"""The frame before, or after, was not analysed: nobody saw how it began, or ended."""


@dataclass
class Track:
    """One junction or gap, as long as it was followed.

    Parameters
    ----------
    number : int
        Of the track, from 1 on.
    first, last : int
        Frames in which it was seen first and last; it was seen in all between.
    beginning : {"unseen", "born", "split"}
    ending : {"unseen", "lost", "merged"}
    y_px, x_px, size : float
        Where it was seen last; its degree, or its area in px.
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
    """Follows things through a movie, frame by frame; holds only those that are there now."""

    count: int = 0
    frame: int | None = None
    now: list[Track] = field(default_factory=list)

    def add(
        self, frame: int, seen: Sequence[tuple[float, float, float]], links: Links | None
    ) -> Iterator[Track]:
        """Take one frame's things, (y, x, size) each, and yield the tracks that ended before it.

        Parameters
        ----------
        links : Links or None
            With the frame before; None where that was not analysed: all tracks end unseen, and new ones begin
            so.
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
        """Yield the tracks that nobody saw ending."""
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
