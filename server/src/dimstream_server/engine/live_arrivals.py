"""When live frames are expected, so that batch frames do not delay them. No clock, no threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from statistics import median
from typing import Final

GAPS: Final = 8  # intervals between frames that are remembered of each stream
LATE: Final = 0.5  # share of an interval by which a frame may be late and is still expected


@dataclass(slots=True)
class _Arrivals:
    last_s: float
    gaps_s: deque[float] = field(default_factory=lambda: deque(maxlen=GAPS))
    t: int | None = None
    t_began_s: float = 0.0
    interval_s: float | None = None

    def expected(self) -> Iterator[tuple[float, float]]:
        """Yield the earliest and the latest expected time of the next frame, s."""
        if self.gaps_s:
            yield self.last_s + min(self.gaps_s), self.last_s + (1 + LATE) * median(self.gaps_s)
        if self.interval_s is not None:  # the first plane of a z-stack comes after a pause
            yield self.t_began_s + self.interval_s, self.t_began_s + (1 + LATE) * self.interval_s


class LiveArrivals:
    """Arrivals of the frames of live streams.

    A stream's next frame is expected between the shortest of its last intervals and 1.5 times their median,
    after its last frame. If the frame interval is known, it is also expected between one and 1.5 intervals
    after the first frame of its last time point. After that, the stream counts as paused.
    """

    def __init__(self) -> None:
        self._streams: dict[str, _Arrivals] = {}

    def came(self, stream: str, at_s: float, *, t: int, interval_s: float | None) -> None:
        """Record a frame of time point `t`."""
        known = self._streams.get(stream)
        if known is None:
            known = self._streams[stream] = _Arrivals(at_s, interval_s=interval_s)
        else:
            known.gaps_s.append(at_s - known.last_s)
            known.last_s = at_s
        if t != known.t:
            known.t, known.t_began_s = t, at_s

    def forget(self, stream: str) -> None:
        """Remove a stream that has ended."""
        self._streams.pop(stream, None)

    def free_at(self, now_s: float, turn_s: float) -> float:
        """Return the time from which a turn of this length is not expected to delay any live frame."""
        waits = [(first, last) for one in self._streams.values() for first, last in one.expected()]
        begin = now_s
        for first, last in sorted(waits):
            if first - turn_s < begin < last:
                begin = last
        return begin
