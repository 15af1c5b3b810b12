"""Denoises empty frames on a device that is waiting, so that its GPU does not reduce its clock rate."""

from __future__ import annotations

import logging
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dimstream_client.quality import Thresholds
from dimstream_server.errors import FrameFailed
from dimstream_server.pipeline.fused_model import FusedModel

_log: Final = logging.getLogger(__name__)


class KeepWarm:
    """Decides when to denoise an empty frame of the last frame's size; streams are not affected. For one
    thread.

    Parameters
    ----------
    every_s : float or None
        Seconds without work until the next empty frame; None: never.
    """

    def __init__(self, every_s: float | None) -> None:
        self.runs = 0
        self._every_s = every_s
        self._since = 0.0
        self._last: tuple[FusedModel, NDArray[Any]] | None = None

    def worked(self, now: float, model: FusedModel, shape: tuple[int, int], dtype: str) -> None:
        """Record a frame (H, W) that was denoised.

        Parameters
        ----------
        now : float
            Seconds of a monotonic clock.
        """
        if self._every_s is None:
            return
        self._since = now
        known = self._last
        if known is None or known[0] is not model or known[1].shape != shape:
            self._last = (model, np.zeros(shape, dtype))

    def forget(self) -> None:
        """Release the model, because it is replaced or the device is no longer used."""
        self._last = None

    def wait_s(self, now: float) -> float | None:
        """Seconds until the next empty frame; None: never."""
        if self._every_s is None or self._last is None:
            return None
        return max(0.0, self._since + self._every_s - now)

    def run_when_due(self, now: float) -> None:
        """Denoise an empty frame if it is due. Its result is discarded, and streams keep their
        predictions."""
        if self.wait_s(now) != 0 or self._last is None:
            return
        model, dark = self._last
        self._since = now
        self.runs += 1
        try:
            model.run(dark, None, Thresholds(ssim=None))
        except FrameFailed as error:
            self.forget()
            _log.warning("an empty frame failed event=keep_warm_failed reason=%s", error)
