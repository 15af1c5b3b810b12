"""The classical filters with which a network is compared, each with its best strength.

Like the network, a filter is tuned on images with a truth that are not the judged ones. Like the network's
output, its result is fitted to the truth by a straight line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.restoration import denoise_nl_means, denoise_tv_chambolle

from dimstream_models.quality.photon_transfer import NORM, SECOND_DIFFERENCE, along_both_axes
from dimstream_models.training.pairs.pair_reader import Pair, read_pairs
from dimstream_models.training.pairs.prepared import Prepared, Role, is_prepared, read_prepared

Floats = NDArray[np.float64]
Stack = Floats  # (N, H, W)
Example = tuple[NDArray[Any], NDArray[Any]]
"""A noisy image and its truth, both (H, W)."""

TUNED_ON: Final = 6  # most images for tuning a filter
TUNING_PX: Final = 256  # side of their central part that is used


@dataclass(frozen=True)
class Family:
    """A kind of filter, and the strengths to try."""

    title: str
    unit: str
    apply: Callable[[Floats, float], Floats]
    strengths: tuple[float, ...]
    of_noise: bool = False
    """Whether strengths are in units of the image's noise."""


FAMILIES: Final[Mapping[str, Family]] = {
    "gaussian": Family(
        "Gaussian", "px", ndimage.gaussian_filter, (0.5, 0.8, 1.0, 1.3, 1.6, 2.0, 2.5, 3.0, 4.0)
    ),
    "median": Family("median", "px", lambda x, s: ndimage.median_filter(x, size=int(s)), (3, 5, 7, 9, 11)),
    "non_local_means": Family(
        "non-local means",
        "times the noise",
        lambda x, h: denoise_nl_means(x, patch_size=5, patch_distance=7, h=h, fast_mode=True),
        (0.3, 0.5, 0.7, 1.0, 1.4, 2.0, 2.8, 4.0),
        of_noise=True,
    ),
    "total_variation": Family(
        "total variation",
        "times the noise",
        lambda x, w: denoise_tv_chambolle(x, weight=w, max_num_iter=200),
        (0.3, 0.5, 0.8, 1.2, 1.8, 2.7, 4.0, 6.0),
        of_noise=True,
    ),
}


@dataclass(frozen=True)
class TunedFilter:
    """A filter with the best strength on the images on which it was tuned."""

    name: str
    strength: float
    psnr_db: float
    """PSNR on the images on which it was tuned, dB."""

    def __call__(self, image: NDArray[Any]) -> Floats:
        """Return the image (H, W), filtered."""
        return _filtered(self.name, image, self.strength)

    def __str__(self) -> str:
        family = FAMILIES[self.name]
        return f"{family.title}, {self.strength:g} {family.unit}"


def tune_filters(examples: Iterable[Example]) -> list[TunedFilter]:
    """Return each kind of filter with its best strength, the best first.

    Parameters
    ----------
    examples : iterable of (noisy, truth)
        Images, (H, W) counts, that are not judged later; at most six, evenly chosen. Only the central part of
        each is used, at most 256 px a side.
    """
    seen = [_middle(noisy, truth) for noisy, truth in examples]
    tuned = [_tune(name, seen) for name in FAMILIES]
    return sorted(tuned, key=lambda each: -each.psnr_db)


def fitted_error(image: NDArray[Any], truth: NDArray[Any]) -> float:
    """Return the mean square error of an image after the fit of a straight line to its truth.

    Both are (H, W); the error is in squared counts of the truth.
    """
    restored, wanted = np.asarray(image, np.float64), np.asarray(truth, np.float64)
    return float(np.square(fit_gain_and_offset(restored, wanted) - wanted).mean())


def straight_line(restored: Floats, truth: Floats) -> tuple[float, float]:
    """Return gain and offset of the least-squares line to the truth; gain 0 for constant images.

    Both are (..., H, W) counts; the offset is in counts of the truth.
    """
    centred = restored - restored.mean()
    spread = float(np.vdot(centred, centred))
    gain = float(np.vdot(centred, truth)) / spread if spread else 0.0
    return gain, float(truth.mean() - gain * restored.mean())


def fit_gain_and_offset(restored: Stack, truth: Stack) -> Stack:
    """Return `restored` (..., H, W) after the fit of a straight line to the truth."""
    gain, offset = straight_line(restored, truth)
    return np.asarray(gain * restored + offset)


def evenly(number: int, most: int = TUNED_ON) -> list[int]:
    """Return at most `most` of the indices 0 … number - 1, evenly spread."""
    return sorted({round(each) for each in np.linspace(0, number - 1, min(most, number))}) if number else []


def _tune(name: str, examples: Sequence[tuple[Floats, Floats]]) -> TunedFilter:
    """Return the filter with the strength of the highest mean PSNR, by hill climbing from the middle one."""
    strengths = FAMILIES[name].strengths
    known: dict[int, float] = {}

    def score(index: int) -> float:
        if index not in known:
            known[index] = float(np.mean([_psnr(name, strengths[index], each) for each in examples]))
        return known[index]

    best = len(strengths) // 2
    while True:
        near = [index for index in (best - 1, best, best + 1) if 0 <= index < len(strengths)]
        if (found := max(near, key=score)) == best:
            return TunedFilter(name, float(strengths[best]), score(best))
        best = found


def _psnr(name: str, strength: float, example: tuple[Floats, Floats]) -> float:
    noisy, truth = example
    error = fitted_error(_filtered(name, noisy, strength), truth)
    return float(10 * np.log10(max(float(np.ptp(truth)) ** 2, 1e-30) / max(error, 1e-30)))


def _filtered(name: str, image: NDArray[Any], strength: float) -> Floats:
    family, values = FAMILIES[name], np.asarray(image, np.float64)
    unit = _noise(values) if family.of_noise else 1.0
    return np.asarray(family.apply(values, strength * unit), np.float64)


def _noise(image: Floats) -> float:
    """Return the standard deviation of the finest detail; for photon counts, the square root of their
    mean."""
    power = float(np.square(along_both_axes(image, SECOND_DIFFERENCE)).mean()) / NORM
    return max(float(np.sqrt(power)), 1e-6)


def _middle(noisy: NDArray[Any], truth: NDArray[Any]) -> tuple[Floats, Floats]:
    window = tuple(slice(max(0, (side - TUNING_PX) // 2), (side + TUNING_PX) // 2) for side in noisy.shape)
    return np.asarray(noisy[window], np.float64), np.asarray(truth[window], np.float64)


@dataclass(frozen=True)
class Rivals:
    """Best filters for two halves of the pairs; the same filter twice if it was tuned on other pairs.

    Parameters
    ----------
    tuned_on : str
        Description of the images for tuning.
    """

    even: TunedFilter
    odd: TunedFilter
    tuned_on: str

    def of(self, index: int) -> TunedFilter:
        """Return the filter for the pair with this number."""
        return self.odd if index % 2 else self.even

    def __str__(self) -> str:
        return " and ".join(dict.fromkeys(map(str, (self.even, self.odd))))


def tune_rivals(pairs: Path, role: Role) -> Rivals | None:
    """Return the best filters for the pairs that are judged; None if none of them has a truth.

    In a prepared folder, they are tuned on the training fields, or on the validation fields if the training
    fields are judged. Other pairs have no roles: for pairs with even numbers, filters are tuned on the odd
    ones, and vice versa.

    Parameters
    ----------
    pairs, role
        As in `read_pairs`.
    """
    if is_prepared(pairs):
        prepared = read_prepared(pairs)
        other: Role = "validation" if role == "training" else "training"
        if examples := _of_role(prepared, other):
            best = tune_filters(examples)[0]
            return Rivals(best, best, f"{other} fields")
    even, odd = _sampled(read_pairs(pairs, role=role))
    if not even:
        return None
    of_even = tune_filters(odd or even)[0]
    if not odd:
        return Rivals(
            of_even, of_even, "the judged pair itself, because there is only one, so its result is too good"
        )
    return Rivals(of_even, tune_filters(even)[0], "the other half of the pairs")


def _of_role(prepared: Prepared, role: Role) -> list[Example]:
    fields = [field for field in prepared.of(role) if field.has_high]
    few = [fields[index] for index in evenly(len(fields))]
    prepared.check(few)
    opened = (prepared.open(field) for field in few)
    return [(low, high) for low, high in opened if high is not None]


def _sampled(pairs: Iterable[Pair]) -> tuple[list[Example], list[Example]]:
    """Return some evenly spread pairs with even and with odd numbers."""
    halves: tuple[list[Example], list[Example]] = ([], [])
    every = [1, 1]
    for index, pair in enumerate(pairs):
        half, place = index % 2, index // 2
        if pair.high is None or not np.ptp(pair.high) or place % every[half]:
            continue
        halves[half].append((_middle_of_image(pair.low), _middle_of_image(pair.high)))
        if len(halves[half]) > 2 * TUNED_ON:
            halves[half][:] = halves[half][::2]
            every[half] *= 2
    even, odd = (list(_few(half)) for half in halves)
    return even, odd


def _few(examples: list[Example]) -> Iterator[Example]:
    yield from (examples[index] for index in evenly(len(examples)))


def _middle_of_image(image: NDArray[np.generic]) -> NDArray[np.generic]:
    window = tuple(slice(max(0, (side - TUNING_PX) // 2), (side + TUNING_PX) // 2) for side in image.shape)
    return image[window].copy()
