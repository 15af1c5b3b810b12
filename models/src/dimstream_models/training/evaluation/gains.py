"""The gain of one restoration over another, its uncertainty, and a sentence about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

FINE_DB: Final = 0.05  # standard errors below this are given with two decimals
SURE: Final = 2.0  # standard errors at which a difference is significant


@dataclass(frozen=True)
class Margin:
    """Reduction of the model's error relative to another method, over some images, dB.

    Parameters
    ----------
    db : float or None
        None if an error is no larger than the truth's own noise.
    error_db : float or None
        Standard error over the images; None for a single image.
    """

    db: float | None
    error_db: float | None
    images: int

    @property
    def better(self) -> bool:
        """Whether the model is significantly better."""
        return self.db is not None and self.db > SURE * (self.error_db or 0.0)

    @property
    def worse(self) -> bool:
        """Whether the model is significantly worse."""
        return self.db is not None and self.db < -SURE * (self.error_db or 0.0)

    def __str__(self) -> str:
        if self.db is None:
            return "by an unknown amount"
        return f"by {_with_error(abs(self.db), self.error_db)} dB"

    def than(self, other: str) -> str:
        """Return half a sentence: better than …, worse than …, or neither."""
        if self.db is None:
            return f"not distinguishable from {other}, because both errors are at the truth's own noise"
        if self.better or self.worse:
            return f"{'better' if self.better else 'worse'} than {other} {self}"
        return f"no different from {other} ({_with_error(self.db, self.error_db, '+')} dB)"

    def figures(self, name: str) -> dict[str, float]:
        """Return the margin as figures: `NAME_db` and `NAME_error_db`, if they exist."""
        found = {f"{name}_db": self.db, f"{name}_error_db": self.error_db}
        return {key: round(value, 3) for key, value in found.items() if value is not None}


def margin(ours: Sequence[float], other: Sequence[float], *, noise: Sequence[float] | None = None) -> Margin:
    """Return how much smaller errors are than other errors, image by image.

    Parameters
    ----------
    ours, other : sequences of float
        Mean square error of each image.
    noise : sequence of float, optional
        Variance of each truth's own noise. It is subtracted from both errors, over all images together,
        because the error of a single image may be below it. The standard error is then from the jackknife.
    """
    first, second = np.asarray(ours, np.float64), np.asarray(other, np.float64)
    if noise is None:
        found = 10 * np.log10(np.maximum(second, 1e-30) / np.maximum(first, 1e-30))
        spread = float(found.std(ddof=1) / np.sqrt(len(found))) if len(found) > 1 else None
        return Margin(float(found.mean()), spread, len(found))
    own = np.asarray(noise, np.float64)
    return Margin(_pooled(first - own, second - own), _jackknife(first - own, second - own), len(first))


def sentence(images: int, what: str, noisy: Margin, best: Margin, filter_name: str) -> str:
    """Return the summary in one sentence: better or worse than the noisy image and the best filter.

    Parameters
    ----------
    images : int
    what : str
        Name of one image, such as "pair" or "frame".
    noisy, best : Margin
        Margins over the noisy image and over the best tuned filter.
    filter_name : str
        Name of that filter, with its parameter.
    """
    over = f"{images} {what}{'' if images == 1 else 's'}"
    sure = "with unknown uncertainty" if images == 1 else f"\u00b1 standard error over the {what}s"
    return (
        f"On {over} the model is {noisy.than('the noisy image')}, and"
        f" {best.than(f'the best tuned filter ({filter_name})')}: PSNR after a straight-line fit of each to "
        f"the truth, {sure}."
    )


def _with_error(value: float, error: float | None, sign: str = "") -> str:
    """Return a number with its standard error, both with the same decimals."""
    if error is None:
        return f"{value:{sign}.1f}"
    decimals = 1 if error >= FINE_DB else 2
    return f"{value:{sign}.{decimals}f} \u00b1 {error:.{decimals}f}"


def _pooled(ours: NDArray[np.float64], other: NDArray[np.float64]) -> float | None:
    first, second = float(ours.sum()), float(other.sum())
    return 10 * float(np.log10(second / first)) if first > 0 and second > 0 else None


def _jackknife(ours: NDArray[np.float64], other: NDArray[np.float64]) -> float | None:
    number = len(ours)
    if number < 2:
        return None
    left = [_pooled(np.delete(ours, index), np.delete(other, index)) for index in range(number)]
    if any(each is None for each in left):
        return None
    values = np.asarray(left, np.float64)
    return float(np.sqrt((number - 1) / number * np.square(values - values.mean()).sum()))
