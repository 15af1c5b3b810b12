"""What frames are judged by: thresholds, and the distributions that a calibration left in the bundle."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol, Self

from dimstream_models.bundle import Bundle, Calibration
from dimstream_models.precisions import Precision

FIVE_SIGMA: Final = 5.0
"""Structure score under which a frame shows no more than noise, where the bundle names no other."""
SSIM_RECOVERY: Final = 0.1
"""Of the way from the threshold to the calibration's 5 % quantile of signal, that SSIM must be above it to be
trusted again."""


@dataclass(frozen=True)
class Distribution:
    """A calibration's distribution of SSIM, known by its quantiles.

    Parameters
    ----------
    shares, values : tuple of float
        Rising quantiles, 0 to 1, and the SSIM at each.
    pairs : int
        That it was measured on; no probability below 1 / (pairs + 1) is claimed.
    """

    shares: tuple[float, ...]
    values: tuple[float, ...]
    pairs: int

    @classmethod
    def of(cls, quantiles: Mapping[str, float], pairs: int) -> Self:
        """From a bundle's record."""
        ordered = sorted((float(share), value) for share, value in quantiles.items())
        return cls(tuple(share for share, _ in ordered), tuple(value for _, value in ordered), pairs)

    def at_most(self, value: float) -> float:
        """Probability of a value at most this."""
        return self._bounded(self._share_below(value))

    def at_least(self, value: float) -> float:
        """Probability of a value at least this."""
        return self._bounded(1 - self._share_below(value))

    def _share_below(self, value: float) -> float:
        if value <= self.values[0]:
            return 0.0
        for (low, high), (below, above) in zip(
            zip(self.values, self.values[1:], strict=False),
            zip(self.shares, self.shares[1:], strict=False),
            strict=True,
        ):
            if value < high:
                return below + (above - below) * (value - low) / (high - low)
        return 1.0

    def _bounded(self, probability: float) -> float:
        return min(max(probability, 1 / (self.pairs + 1)), 1.0)


class StreamThresholds(Protocol):
    """The thresholds that a stream may change; a bundle's own are such, too."""

    @property
    def ssim(self) -> float | None:
        """Smoothed similarity below it is suspect."""

    @property
    def structure_score(self) -> float | None:
        """Frames that score below it show nothing; None: five standard errors."""

    @property
    def split(self) -> float | None:
        """SSIM of both halves of the photons below it is suspect."""

    @property
    def background_max(self) -> float:
        """Most photons in a window of background."""


@dataclass(frozen=True)
class Criteria:
    """What frames are judged by; from a bundle, with what a stream has changed of it.

    Parameters
    ----------
    ssim : float or None
        Smoothed similarity below it is suspect; None: predictions cannot be judged.
    structure_score : float
        Frames whose structure score is below it show nothing, in standard errors.
    split : float or None
        SSIM of the predictions of both halves of a frame's photons below it is suspect; None: not judged
        by it.
    correlation : float or None
        Adjacent predictions whose correlation is below it do not show the same structures; None: not judged
        by it.
    background_max : float
        Of the window classes; for the reason.
    pixel_sizes_nm : (float, float) or None
        Smallest and largest pixels that the model knows; None: not stated.
    precision : str
        Of the predictions that are judged.
    """

    ssim: float | None
    structure_score: float = FIVE_SIGMA
    split: float | None = None
    correlation: float | None = None
    background_max: float = 5.0
    signal: Distribution | None = None
    dark: Distribution | None = None
    frame_interval_s: float | None = None
    pixel_sizes_nm: tuple[float, float] | None = None
    precision: Precision = "float32"

    @classmethod
    def of(cls, bundle: Bundle, thresholds: StreamThresholds | None = None) -> Self:
        """With the calibration record of a bundle.

        Parameters
        ----------
        thresholds
            In force; None: the bundle's own.
        """
        record = None if bundle.config is None else bundle.config.calibration
        limits = bundle.thresholds if thresholds is None else thresholds
        return cls(
            ssim=limits.ssim,
            structure_score=FIVE_SIGMA if limits.structure_score is None else limits.structure_score,
            split=limits.split,
            correlation=bundle.thresholds.correlation,
            background_max=limits.background_max,
            signal=None if record is None else _signal(record),
            dark=None if record is None else Distribution.of(record.dark_quantiles, record.dark_pairs),
            frame_interval_s=None if record is None else record.frame_interval_s,
            pixel_sizes_nm=None if bundle.config is None else bundle.config.pixel_sizes_nm,
            precision=bundle.precision,
        )

    @property
    def why_no_threshold(self) -> str:
        """Why predictions cannot be judged where `ssim` is None."""
        of = "" if self.precision == "float32" else f" for {self.precision}"
        return f"no SSIM threshold{of} in the bundle"

    @property
    def ssim_recovered(self) -> float:
        """Smoothed similarity from which a suspect plane is trusted again."""
        assert self.ssim is not None  # nothing is suspect of it otherwise
        if self.signal is None:
            return self.ssim
        usual = dict(zip(self.signal.shares, self.signal.values, strict=True)).get(0.05, self.ssim)
        return self.ssim + SSIM_RECOVERY * max(usual - self.ssim, 0.0)

    def p_signal(self, similarity: float) -> float | None:
        """Probability of a similarity at most this with a sample; None without a calibration."""
        return None if self.signal is None else self.signal.at_most(similarity)

    def p_dark(self, similarity: float) -> float | None:
        """Probability of a similarity at least this without a sample; None without a calibration."""
        return None if self.dark is None else self.dark.at_least(similarity)


def _signal(record: Calibration) -> Distribution:
    return Distribution.of(record.signal_quantiles, record.signal_pairs)
