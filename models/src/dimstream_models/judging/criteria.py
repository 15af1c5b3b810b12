"""The criteria by which frames are judged: thresholds, and distributions from the bundle's calibration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol, Self

from dimstream_models.bundle import Bundle, Calibration
from dimstream_models.precisions import Precision

FIVE_SIGMA: Final = 5.0
"""Structure score below which a frame shows only noise, where the bundle states no threshold."""
SSIM_RECOVERY: Final = 0.1
"""How far SSIM must be above the threshold before a plane is trusted again, as a share of the distance from
the threshold to the 5 % quantile of signal in the calibration."""


@dataclass(frozen=True)
class Distribution:
    """A calibration's distribution of SSIM, given by quantiles.

    Parameters
    ----------
    shares, values : tuple of float
        Rising quantiles, 0 to 1, and the SSIM at each.
    pairs : int
        Number of pairs that were measured; no probability is below 1 / (pairs + 1).
    """

    shares: tuple[float, ...]
    values: tuple[float, ...]
    pairs: int

    @classmethod
    def of(cls, quantiles: Mapping[str, float], pairs: int) -> Self:
        """Return the distribution of a bundle's record."""
        ordered = sorted((float(share), value) for share, value in quantiles.items())
        return cls(tuple(share for share, _ in ordered), tuple(value for _, value in ordered), pairs)

    def at_most(self, value: float) -> float:
        """Probability of a value of at most this."""
        return self._bounded(self._share_below(value))

    def at_least(self, value: float) -> float:
        """Probability of a value of at least this."""
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
    """The thresholds that a stream may change; those of a bundle have the same form."""

    @property
    def ssim(self) -> float | None:
        """A plane is suspect when its smoothed similarity is below this."""

    @property
    def structure_score(self) -> float | None:
        """A frame with a lower score shows no structure; None: five standard errors."""

    @property
    def split(self) -> float | None:
        """A frame is suspect when the SSIM of both halves of its photons is below this."""

    @property
    def background_max(self) -> float:
        """Most photons in a window of background."""


@dataclass(frozen=True)
class Criteria:
    """The criteria by which frames are judged: the bundle's, with the stream's changes.

    Parameters
    ----------
    ssim : float or None
        A plane is suspect when its smoothed similarity is below this; None: predictions cannot be judged.
    structure_score : float
        A frame with a lower score shows no structure; in standard errors.
    split : float or None
        A frame is suspect when the SSIM of the predictions of both halves of its photons is below this;
        None: not used.
    correlation : float or None
        Adjacent predictions with a lower correlation show different structures; None: not used.
    background_max : float
        Most photons in a window of background, for the text of the reason.
    pixel_sizes_nm : (float, float) or None
        Smallest and largest pixels that the model knows; None: not stated.
    precision : str
        Precision of the predictions that are judged.
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
        """Return the criteria, with the calibration record of a bundle.

        Parameters
        ----------
        thresholds
            The thresholds to use; None: the bundle's own.
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
        """Smoothed similarity at which a suspect plane is trusted again."""
        assert self.ssim is not None  # without a threshold, no plane is suspect because of SSIM
        if self.signal is None:
            return self.ssim
        usual = dict(zip(self.signal.shares, self.signal.values, strict=True)).get(0.05, self.ssim)
        return self.ssim + SSIM_RECOVERY * max(usual - self.ssim, 0.0)

    def p_signal(self, similarity: float) -> float | None:
        """Probability of a similarity of at most this with a sample; None without a calibration."""
        return None if self.signal is None else self.signal.at_most(similarity)

    def p_dark(self, similarity: float) -> float | None:
        """Probability of a similarity of at least this without a sample; None without a calibration."""
        return None if self.dark is None else self.dark.at_least(similarity)


def _signal(record: Calibration) -> Distribution:
    return Distribution.of(record.signal_quantiles, record.signal_pairs)
