"""A bundle compared with the best-tuned classical filters: on pairs with a truth, and on movies without."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage.metrics import structural_similarity
from tqdm import tqdm

from dimstream_models.training.evaluation.filters import (
    TunedFilter,
    evenly,
    fit_gain_and_offset,
    straight_line,
    tune_filters,
)
from dimstream_models.training.evaluation.gains import Margin, margin, sentence
from dimstream_models.training.evaluation.references import Stack, Yardstick
from dimstream_models.training.evaluation.restoring import Restore


@dataclass(frozen=True)
class Score:
    """How close restored images are to their truth: means over the images.

    Parameters
    ----------
    errors : tuple of float
        Mean square error of each image.
    line : tuple of float
        Gain and offset of the fitted line; (1, 0) without a fit.
    tuned : tuple of str
        A filter's strength, for each half of the images.
    """

    psnr_db: float
    ssim: float
    errors: tuple[float, ...]
    line: tuple[float, float]
    tuned: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, object]:
        """Return the means, the line and the strengths as JSON values."""
        found: dict[str, object] = {"psnr_db": self.psnr_db, "ssim": self.ssim}
        found |= {"gain": self.line[0], "offset": self.line[1]}
        return {**found, "tuned": list(self.tuned)} if self.tuned else found


@dataclass(frozen=True)
class Comparison:
    """Scores by one yardstick; all except `unfitted` are after the fit of a straight line.

    Parameters
    ----------
    unfitted : Score or None
        The bundle in its own counts; None if the yardstick has another scale.
    best : str
        The best filter on the images on which filters were tuned.
    tuned_on : str
        Description of these images.
    """

    yardstick: Yardstick
    noisy: Score
    model: Score
    unfitted: Score | None
    filters: Mapping[str, Score]
    best: str
    tuned_on: str

    @property
    def over_noisy(self) -> Margin:
        """Gain of the bundle over its own input."""
        return self._over(self.noisy)

    @property
    def over_filter(self) -> Margin:
        """Gain of the bundle over the best filter."""
        return self._over(self.filters[self.best])

    @property
    def margin_ssim(self) -> float:
        """Its SSIM minus that of the best filter."""
        return self.model.ssim - self.filters[self.best].ssim

    def sentence(self, what: str) -> str:
        """Return the summary in one sentence; `what` is the name of one image."""
        strengths = " and ".join(dict.fromkeys(self.filters[self.best].tuned))
        return sentence(len(self.model.errors), what, self.over_noisy, self.over_filter, strengths)

    def figures(self, name: str) -> dict[str, float]:
        """Return the figures that are stored in a bundle: with and without fit, and both margins."""
        found = {f"{name}_psnr_db": round(self.model.psnr_db, 2), f"{name}_ssim": round(self.model.ssim, 4)}
        if self.unfitted is not None:
            found[f"{name}_unfitted_psnr_db"] = round(self.unfitted.psnr_db, 2)
            found[f"{name}_unfitted_ssim"] = round(self.unfitted.ssim, 4)
        if (floor := self.yardstick.floor_db) is not None:
            found[f"{name}_floor_db"] = round(floor, 2)
        found |= self.over_noisy.figures(f"{name}_over_noisy") | self.over_filter.figures(f"{name}_margin")
        found[f"{name}_margin_ssim"] = round(self.margin_ssim, 4)
        return found

    def as_dict(self) -> dict[str, object]:
        """Return everything as JSON values."""
        return {
            "judged_by": self.yardstick.title,
            "favours": self.yardstick.favours,
            "floor_db": self.yardstick.floor_db,
            "filters_tuned_on": self.tuned_on,
            "best_filter": self.best,
            "noisy": self.noisy.as_dict(),
            "model": self.model.as_dict(),
            "model_unfitted": None if self.unfitted is None else self.unfitted.as_dict(),
            "filters": {name: score.as_dict() for name, score in self.filters.items()},
        }

    def _over(self, other: Score) -> Margin:
        noise = self.yardstick.noise
        return margin(self.model.errors, other.errors, noise=None if noise is None else noise.tolist())


def compare(restore: Restore, yardstick: Yardstick, *, same_scale: bool = False) -> Comparison:
    """Score the bundle and every filter by one yardstick.

    Filters are tuned on one half of the images and judged on the other, and vice versa. With a single image,
    they are tuned on the image itself, so their result is too good.

    Parameters
    ----------
    restore : Restore
        The bundle, from `restorer`.
    yardstick : Yardstick
        Images and their truth.
    same_scale : bool
        Whether the truth is in the bundle's own output counts.
    """
    noisy, truth = np.asarray(yardstick.noisy, np.float64), yardstick.truth
    restored = _each(restore, yardstick.noisy, f"bundle, {yardstick.title}")
    filters, best = _filters(noisy, truth, yardstick.title)
    return Comparison(
        yardstick,
        noisy=_score(noisy, truth),
        model=_score(restored, truth),
        unfitted=_score(restored, truth, fitted=False) if same_scale else None,
        filters=filters,
        best=best,
        tuned_on="the other half of the images"
        if len(noisy) > 1
        else "the judged image itself, because there is only one",
    )


def _filters(noisy: Stack, truth: Stack, title: str) -> tuple[dict[str, Score], str]:
    """Return each filter's score, tuned on the other half, and the name of the best one in tuning."""
    halves = _halves(len(noisy))
    tuned = [_tuned(noisy, truth, others) for others in reversed(halves)]
    names = [each.name for each in tuned[0]]
    scores = {}
    for name in tqdm(names, desc=f"filters, {title}", unit="filter"):
        chosen = [next(each for each in of_half if each.name == name) for of_half in tuned]
        parts = [_each(each, noisy[half]) for each, half in zip(chosen, halves, strict=True)]
        scores[name] = _score(np.concatenate(parts), truth, tuned=tuple(map(str, chosen)))
    reached = {
        name: sum(each.psnr_db for half in tuned for each in half if each.name == name) for name in names
    }
    return scores, max(names, key=reached.__getitem__)


def _halves(number: int) -> list[slice]:
    return [slice(0, number // 2), slice(number // 2, number)] if number > 1 else [slice(0, 1)]


def _tuned(noisy: Stack, truth: Stack, part: slice) -> list[TunedFilter]:
    images = range(len(noisy))[part]
    return tune_filters([(noisy[images[index]], truth[images[index]]) for index in evenly(len(images))])


def _each(function: Callable[[NDArray[Any]], NDArray[Any]], images: NDArray[Any], desc: str = "") -> Stack:
    shown: Sequence[NDArray[Any]] = tqdm(images, desc=desc, unit="image", disable=not desc)
    return np.stack([function(image) for image in shown]).astype(np.float64)


def _score(images: Stack, truth: Stack, *, fitted: bool = True, tuned: tuple[str, ...] = ()) -> Score:
    """Return PSNR and SSIM, with the truth's maximum over all images (N, H, W) as data range."""
    line = straight_line(images, truth) if fitted else (1.0, 0.0)
    shown = fit_gain_and_offset(images, truth) if fitted else images
    peak = max(float(truth.max()), 1e-12)
    errors = np.square(shown - truth).mean(axis=(1, 2))
    alike = [
        structural_similarity(true, image, data_range=peak) for true, image in zip(truth, shown, strict=True)
    ]
    return Score(
        psnr_db=float(np.mean(10 * np.log10(peak**2 / np.maximum(errors, 1e-30)))),
        ssim=float(np.mean(alike)),
        errors=tuple(errors.tolist()),
        line=line,
        tuned=tuned,
    )
