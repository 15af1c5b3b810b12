"""What a stream's frames are judged by, and which frame each is compared with.

The judgement itself is :mod:`dimstream_models.judging`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dimstream_models.bundle import Bundle
from dimstream_models.judging import FIVE_SIGMA, Criteria
from dimstream_server.errors import BadUpdate

HIGHEST_COUNT: Final = 1e12
"""Photons in a window, as a threshold: far above any detector and exact enough in float32."""


@dataclass(frozen=True, slots=True)
class Thresholds:
    """What a stream's frames are judged by.

    Parameters
    ----------
    ssim : float or None
        Below this SSIM with the plane's previous prediction a frame is suspect; None: never judged.
    background_max, signal_min : float
        Photon counts in a window: at most `background_max` is background, above `signal_min` is signal.
    structure : float
        Raw frames whose structure score is below it show no more than noise.
    split : float or None
        SSIM of the predictions of both halves of the photons below it is suspect; None: not judged by it.
    """

    ssim: float | None
    background_max: float = 5.0
    signal_min: float = 25.0
    structure: float = FIVE_SIGMA
    split: float | None = None


@dataclass(frozen=True, slots=True)
class NewThresholds:
    """Thresholds that are to change; None: unchanged."""

    ssim: float | None = None
    background_max: float | None = None
    signal_min: float | None = None
    structure: float | None = None
    split: float | None = None

    def over(self, before: Thresholds) -> Thresholds:
        """What is in force once these were put over `before`.

        Raises
        ------
        BadUpdate
            A window could be background and signal at once, or a threshold is no photon count.
        """
        changes = {name: value for name in self.__slots__ if (value := getattr(self, name)) is not None}
        after = replace(before, **changes)
        if not 0 <= after.background_max <= after.signal_min <= HIGHEST_COUNT:
            raise BadUpdate(
                f"expected 0 <= background_max <= signal_min <= {HIGHEST_COUNT:g}, "
                f"got {after.background_max:g} and {after.signal_min:g}; change both in one UPDATE"
            )
        return after


@dataclass(frozen=True, slots=True, eq=False)
class Remembered:
    """The last frame of a plane, with which the next is compared.

    Parameters
    ----------
    normalised
        Its prediction on the model's device; None when there is none.
    why_none : str
        What became of the prediction when it is None.
    overview : ndarray or None
        Its prediction's small copy.
    """

    seq: int
    t: int
    shape: tuple[int, int]
    model_sha256: str
    normalised: Any
    overview: NDArray[np.float32] | None = None
    why_none: str = "failed"


def thresholds_of(bundle: Bundle) -> Thresholds:
    """The thresholds that a bundle brings."""
    own = bundle.thresholds
    return Thresholds(
        ssim=own.ssim,
        background_max=own.background_max,
        signal_min=own.signal_min,
        structure=FIVE_SIGMA if own.structure is None else own.structure,
        split=own.split,
    )


def criteria_of(bundle: Bundle, thresholds: Thresholds) -> Criteria:
    """What frames are judged by: a bundle's calibration, with the thresholds that are in force."""
    return Criteria.of(
        bundle,
        ssim=thresholds.ssim,
        structure=thresholds.structure,
        split=thresholds.split,
        background_max=thresholds.background_max,
    )


def obstacle(
    last: Remembered | None,
    *,
    seq: int,
    t: int,
    shape: tuple[int, int],
    model_sha256: str,
    only_plane: bool,
) -> str | None:
    """Why a frame cannot be compared with the last one of its plane; None when it can.

    Parameters
    ----------
    only_plane : bool
        Whether the stream has one plane so far. Then frames may come without time points of their own.
    """
    if last is None:
        return "first frame"
    if last.model_sha256 != model_sha256:
        return "model changed"
    if last.shape != shape:
        return "shape changed"
    if last.normalised is None:
        return f"the previous frame {last.seq} {last.why_none}"
    if t < last.t:
        return f"time point {t} came after {last.t}"
    if t == last.t and not only_plane and seq != last.seq + 1:
        return f"time point {t} came again"
    return None


def gap_before(last: Remembered, *, seq: int, t: int, only_plane: bool) -> tuple[str | None, int]:
    """What is missing between a frame and the last one of its plane, in words, and time points between both.

    Parameters
    ----------
    only_plane : bool
        As in `obstacle`. Then a hole in the sequence is a hole in the plane; with several planes the time
        points tell.
    """
    if only_plane and seq != last.seq + 1:
        return f"gap: {_range('frame', last.seq + 1, seq - 1)} skipped", max(seq - last.seq, t - last.t)
    if t > last.t + 1:
        return f"gap: {_range('time point', last.t + 1, t - 1)} missing", t - last.t
    return None, 1


def _range(noun: str, first: int, final: int) -> str:
    return f"{noun} {first}" if first == final else f"{noun}s {first}-{final}"
