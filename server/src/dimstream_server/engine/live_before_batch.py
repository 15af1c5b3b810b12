"""Whose turn it is on a device: live streams by their weights, batch streams behind them. No clock.

A batch frame begins when no live frame waits, and none is expected before it would end. A frame that is being
denoised cannot be interrupted, so a live frame that comes unexpectedly waits for one batch frame at most. So
that batch work never stands still, one batch frame goes first after every `LIVE_BEFORE_BATCH` live ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from dimstream_server.engine.fair_turns import FairTurns
from dimstream_server.engine.live_arrivals import LiveArrivals

LIVE_BEFORE_BATCH: Final = 200  # so at most one live frame of 200 waits for a batch frame that was forced


@dataclass(frozen=True, slots=True)
class Share:
    """What a stream may claim of its device.

    Parameters
    ----------
    batch : bool
        Whether it stands behind all that are not.
    weight : int
        Of its share of the time, among those of its kind that want turns.
    """

    batch: bool = False
    weight: int = 1


class Turns:
    """Streams that want a turn of one frame, and which is next."""

    def __init__(self) -> None:
        self._live: FairTurns[str] = FairTurns()
        self._batch: FairTurns[str] = FairTurns()
        self._batch_s: dict[str, float] = {}  # how long the turns will probably take that are waited for
        self._passed = 0  # live turns since batch work has waited
        self._arrivals = LiveArrivals()

    def came(self, stream: str, share: Share, at_s: float, *, t: int, interval_s: float | None) -> None:
        """Take note of a frame that has come, of time point `t`; of batch work it says nothing."""
        if not share.batch:
            self._arrivals.came(stream, at_s, t=t, interval_s=interval_s)

    def want(self, stream: str, share: Share, *, seconds: float) -> None:
        """Let a stream wait for a turn that will probably take so long."""
        if share.batch:
            self._batch_s.setdefault(stream, seconds)
            self._batch.want(stream, seconds=seconds, weight=share.weight)
        else:
            self._live.want(stream, seconds=seconds, weight=share.weight)

    def take(self, now_s: float) -> str | None:
        """The stream whose turn it is; None while none has to be taken."""
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
        """For how long nobody has to be given a turn, if nothing comes; None: for ever."""
        if self._live:
            return 0.0
        if not self._batch:
            return None
        return self._arrivals.free_at(now_s, max(self._batch_s.values())) - now_s

    def used(self, stream: str, share: Share, seconds: float) -> None:
        """Take note of how long the turn has taken that was taken last."""
        (self._batch if share.batch else self._live).used(stream, seconds)

    def forget(self, stream: str) -> None:
        """Forget a stream that has ended."""
        self._live.forget(stream)
        self._batch.forget(stream)
        self._batch_s.pop(stream, None)
        self._arrivals.forget(stream)

    def __bool__(self) -> bool:
        return bool(self._live or self._batch)
