"""What a stream's frames are judged by. The decision itself is :mod:`dimstream_models.judging`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

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
    structure_score : float
        Raw frames whose structure score is below it show no more than noise.
    split : float or None
        SSIM of the predictions of both halves of the photons below it is suspect; None: not judged by it.
    """

    ssim: float | None
    background_max: float = 5.0
    signal_min: float = 25.0
    structure_score: float = FIVE_SIGMA
    split: float | None = None


@dataclass(frozen=True, slots=True)
class NewThresholds:
    """Thresholds that are to change; None: unchanged."""

    ssim: float | None = None
    background_max: float | None = None
    signal_min: float | None = None
    structure_score: float | None = None
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


def thresholds_of(bundle: Bundle) -> Thresholds:
    """The thresholds that a bundle brings."""
    own = bundle.thresholds
    return Thresholds(
        ssim=own.ssim,
        background_max=own.background_max,
        signal_min=own.signal_min,
        structure_score=FIVE_SIGMA if own.structure_score is None else own.structure_score,
        split=own.split,
    )


def criteria_of(bundle: Bundle, thresholds: Thresholds) -> Criteria:
    """What frames are judged by: a bundle's calibration, with the thresholds that are in force."""
    return Criteria.of(
        bundle,
        ssim=thresholds.ssim,
        structure_score=thresholds.structure_score,
        split=thresholds.split,
        background_max=thresholds.background_max,
    )
