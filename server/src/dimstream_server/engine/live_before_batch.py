"""Whose turn it is on a device: live streams by their weights, then batch streams. No clock.

A batch frame begins when no live frame is waiting, and none is expected before the batch frame would end. A
frame that is being denoised cannot be interrupted, so an unexpected live frame waits for at most one batch
frame. To keep batch work moving, one batch frame goes first after every `LIVE_BEFORE_BATCH` live ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from dimstream_server.engine.fair_turns import FairTurns
from dimstream_server.engine.live_arrivals import LiveArrivals

LIVE_BEFORE_BATCH: Final = 200  # so at most one live frame of 200 waits for a forced batch frame


@dataclass(frozen=True, slots=True)
class Share:
    """A stream's claim to time on its device.

    Parameters
    ----------
    batch : bool
        Whether it has lower priority than all live streams.
    weight : int
        Weight of its share of time, among streams of its kind that want turns.
    """

    batch: bool = False
    weight: int = 1


class Turns:
    """Streams that want a turn of one frame, and which one is next."""

    def __init__(self) -> None:
        self._live: FairTurns[str] = FairTurns()
        self._batch: FairTurns[str] = FairTurns()
        self._batch_s: dict[str, float] = {}  # expected durations of the turns that are waited for
        self._passed = 0  # live turns since batch work began to wait
        self._arrivals = LiveArrivals()

    def came(self, stream: str, share: Share, at_s: float, *, t: int, interval_s: float | None) -> None:
        """Record the arrival of a frame of time point `t`; batch frames are ignored."""
        if not share.batch:
            self._arrivals.came(stream, at_s, t=t, interval_s=interval_s)

    def want(self, stream: str, share: Share, *, seconds: float) -> None:
        """Let a stream wait for a turn of this expected duration."""
        if share.batch:
            self._batch_s.setdefault(stream, seconds)
            self._batch.want(stream, seconds=seconds, weight=share.weight)
        else:
            self._live.want(stream, seconds=seconds, weight=share.weight)

    def take(self, now_s: float) -> str | None:
        """Return the stream whose turn it is; None if no turn should be taken now."""
        if self._live and not (self._batch and self._passed >= LIVE_BEFORE_BATCH):
            self._passed += bool(self._batch)
            return self._live.take()
        if self._batch and (self._live or self.wait_s(now_s) == 0):
            self._passed = 0
            stream = self._batch.take()
            del self._batch_s[stream]
            return stream
        return None

    def wait_s(self, now_s: float) -> float | None:
        """Return how long no turn has to be taken if no frame arrives; None: forever."""
        if self._live:
            return 0.0
        if not self._batch:
            return None
        return self._arrivals.free_at(now_s, max(self._batch_s.values())) - now_s

    def used(self, stream: str, share: Share, seconds: float) -> None:
        """Record the duration of the last turn."""
        (self._batch if share.batch else self._live).used(stream, seconds)

    def forget(self, stream: str) -> None:
        """Remove a stream that has ended."""
        self._live.forget(stream)
        self._batch.forget(stream)
        self._batch_s.pop(stream, None)
        self._arrivals.forget(stream)

    def __bool__(self) -> bool:
        return bool(self._live or self._batch)
