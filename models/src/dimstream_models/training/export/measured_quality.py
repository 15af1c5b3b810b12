"""The figures that an export measures itself, and those that were measured before."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from dimstream_models.training.calibration.threshold import FlagThresholds
from dimstream_models.training.errors import CannotEvaluate
from dimstream_models.training.evaluation.filter_comparison import measure_photometry, measure_standing
from dimstream_models.training.evaluation.filters import Example, fit_gain_and_offset
from dimstream_models.training.evaluation.held_out_photons import set_aside
from dimstream_models.training.metrics.pixelwise import mae, psnr, ssim

Restore = Callable[[NDArray[Any]], NDArray[np.float32]]


def read_quality(paths: Iterable[Path]) -> dict[str, float]:
    """Return the figures of several files of `dimstream-train compare` or `evaluate`, by name.

    Raises
    ------
    CannotEvaluate
        When a file has no `figures` with names and numbers.
    """
    return {name: value for path in paths for name, value in _figures(path).items()}


def threshold_figures(threshold: FlagThresholds | None) -> dict[str, float]:
    """Return the figures of the flag's thresholds."""
    if threshold is None:
        return {}
    scores = {"split_threshold": threshold.split, "correlation_threshold": threshold.correlation}
    return {
        "ssim_threshold": threshold.value,
        "calibration_auc": threshold.record.auc,
        "structure_threshold": threshold.structure.value,
        **{name: score.value for name, score in scores.items() if score is not None},
    }


def is_margin(name: str) -> bool:
    """Return whether a figure is a margin after a fit, which does not depend on gain and offset."""
    return bool(re.search(r"_(margin|over_noisy)(_error)?_db$|_filter_[a-z_]+$", name))


def photometry_figures(restore: Restore, *, seed: int) -> dict[str, float]:
    """Return how stable the brightness of a static simulated field is."""
    found = measure_photometry(restore, seed=seed)
    return {
        "photometry_jitter": round(found.jitter, 5),
        "photometry_photon_noise": round(found.photon_noise, 5),
        "photometry_worst_ratio": round(found.worst_ratio, 3),
        "photometry_speck_change": round(found.speck, 5),
    }


def validation_figures(
    restore: Restore, pairs: Sequence[Example], *, tuned_on: Sequence[Example]
) -> dict[str, float]:
    """Return how close restored validation fields are to their clean images, and the margins over filters.

    Validation fields were used during training, so these figures are too good; `dimstream-train evaluate`
    uses the test fields. The data range is each clean image's maximum. `fitted` and the margins are after a
    straight-line fit of each image, including the noisy one, to its truth; a difference of scale is not a
    loss of quality.

    Parameters
    ----------
    pairs, tuned_on : sequences of (noisy, truth)
        Images for validation, and training images, on which the filters are tuned.
    """
    if not pairs:
        return {}
    rows = [
        (*_scores(restore(low), truth), *_scores(fit_gain_and_offset(low, truth), truth))
        for low, truth in tqdm(pairs, desc="validation fields", unit="field")
    ]
    names = ("psnr_db", "ssim", "mae", "noisy_psnr_db", "noisy_ssim", "noisy_mae")
    means = np.mean(np.asarray(rows, dtype=np.float64), axis=0)
    found = {f"validation_{name}": round(float(mean), 4) for name, mean in zip(names, means, strict=True)}
    return found | measure_standing(restore, pairs, tuned_on=tuned_on).figures("validation")


def split_figures(
    restore: Restore, frames: Sequence[NDArray[Any]], *, tuned_on: Sequence[NDArray[Any]], kept_share: float
) -> dict[str, float]:
    """Return the quality of a model without clean images, measured by photons that were not in its input.

    Parameters
    ----------
    frames, tuned_on : sequences of (H, W) photon counts
        Images for validation, and training images, on which the filters are tuned.
    kept_share : float
        Share of the photons in the input of model and filters; the rest is the truth.
    """
    if not frames or not tuned_on:
        return {}
    judged = [set_aside(frame, kept_share, seed=index) for index, frame in enumerate(frames)]
    tuned = [set_aside(frame, kept_share, seed=index) for index, frame in enumerate(tuned_on)]
    standing = measure_standing(
        restore,
        [(each.kept, each.truth) for each in judged],
        tuned_on=[(each.kept, each.truth) for each in tuned],
        noise=[each.noise for each in judged],
    )
    return standing.figures("validation")


def _scores(image: NDArray[Any], truth: NDArray[np.float64]) -> tuple[float | None, float, float]:
    data_range = max(float(truth.max()), 1.0)
    return (
        psnr(image, truth, data_range=data_range),
        ssim(image, truth, data_range=data_range),
        mae(image, truth),
    )


def _figures(path: Path) -> dict[str, float]:
    try:
        figures = json.loads(path.read_text())["figures"]
        return {str(name): float(value) for name, value in figures.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CannotEvaluate(
            f"{path}: expected JSON with figures(names and numbers) from `dimstream-train compare`, got: "
            f"{error!r}"
        ) from error
