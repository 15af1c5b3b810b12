"""A bundle against the best-tuned classical filters: on pairs with a truth, and on movies without one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np
from tqdm import tqdm

from dimstream_models.training.errors import CannotEvaluate
from dimstream_models.training.evaluation.filters import (
    FILTERS,
    Score,
    Stack,
    best_filter,
    fit_gain,
    fit_gain_and_offset,
    score,
)
from dimstream_models.training.evaluation.restoring import Restore


@dataclass(frozen=True)
class Comparison:
    """Scores against one truth; every filter is tuned on it and fitted to it."""

    noisy: Score
    own_scale: Score | None  # with the bundle's own rescaling; None where the truth has another scale
    one_gain: Score  # after one gain for the whole stack
    gain_and_offset: Score  # fitted as the filters are
    filters: Mapping[str, Score]

    def margin_db(self) -> float:
        """Return PSNR over the best filter, with the bundle's own scale where there is one."""
        ours = self.own_scale or self.one_gain
        return ours.psnr_db - max(each.psnr_db for each in self.filters.values())

    def margin_ssim(self) -> float:
        """Return SSIM over the best filter, with the bundle's own scale where there is one."""
        ours = self.own_scale or self.one_gain
        return ours.ssim - max(each.ssim for each in self.filters.values())

    def as_dict(self) -> dict[str, object]:
        """Return all scores and both margins, ready for JSON."""
        return {**asdict(self), "margin_db": self.margin_db(), "margin_ssim": self.margin_ssim()}


def compare(restore: Restore, noisy: Stack, truth: Stack, *, same_scale: bool) -> Comparison:
    """Score the bundle and every filter on (N, H, W) counts against their truth.

    Parameters
    ----------
    restore : Restore
        The bundle, as `restorer` gives it.
    noisy, truth : (N, H, W) float64
    same_scale : bool
        Whether the truth is in the bundle's own output counts.

    Raises
    ------
    CannotEvaluate
        When not every image has a truth of its size.
    """
    if noisy.shape != truth.shape:
        raise CannotEvaluate(
            f"expected a truth for each image, of its size; got noisy {noisy.shape}, truth {truth.shape}"
        )
    restored = np.stack([restore(image) for image in tqdm(noisy, desc="bundle", unit="image")]).astype(float)
    names = tqdm(FILTERS, desc="filters", unit="filter")
    return Comparison(
        noisy=score(fit_gain_and_offset(noisy, truth), truth),
        own_scale=score(restored, truth) if same_scale else None,
        one_gain=score(fit_gain(restored, truth), truth),
        gain_and_offset=score(fit_gain_and_offset(restored, truth), truth),
        filters={name: best_filter(name, noisy, truth) for name in names},
    )


def mean_of_the_others(movie: Stack) -> Stack:
    """Return, for each frame of a movie (T, H, W), the mean of all others, each at this frame's brightness.

    The truth that a movie of a still sample holds: bleaching is taken out by the frames' means. Its own
    photon noise, 1 / (T - 1) of a frame's variance, is a floor that no restoration gets below.

    Raises
    ------
    CannotEvaluate
        When there is one frame only.
    """
    if len(movie) < 2:
        raise CannotEvaluate("expected a movie of two frames or more, got one image: give its truth")
    level = movie.mean(axis=(1, 2))
    levelled = movie / level[:, None, None]
    others = (levelled.sum(axis=0) - levelled) / (len(movie) - 1)
    return np.asarray(others * level[:, None, None])


def noise_floor_db(movie: Stack) -> float:
    """Return the PSNR that a perfect restoration would reach against `mean_of_the_others`."""
    truth = mean_of_the_others(movie)
    variance = truth.mean(axis=(1, 2)) / (len(movie) - 1)  # Poisson: a mean of T - 1 frames
    return float(np.mean(10 * np.log10(truth.max() ** 2 / variance)))
