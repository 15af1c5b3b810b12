"""The figures of merit that an export measures itself, and those that were measured before."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from dimstream_models.training.calibration.threshold import FlagThresholds
from dimstream_models.training.errors import CannotEvaluate
from dimstream_models.training.evaluation.filters import fit_gain_and_offset
from dimstream_models.training.evaluation.photometry import measure_photometry
from dimstream_models.training.metrics.pixelwise import mae, psnr, ssim
from dimstream_models.training.pairs.opening import Pair

Restore = Callable[[NDArray[Any]], NDArray[np.float32]]


def read_quality(paths: Iterable[Path]) -> dict[str, float]:
    """Return the figures of several `dimstream-train compare` or `evaluate` files, flat.

    Raises
    ------
    CannotEvaluate
        When a file holds no `figures`, name to number.
    """
    return {name: value for path in paths for name, value in _figures(path).items()}


def threshold_figures(threshold: FlagThresholds | None) -> dict[str, float]:
    """Return what the flag hangs on."""
    if threshold is None:
        return {}
    split = {} if threshold.split is None else {"split_threshold": threshold.split.value}
    return {
        "ssim_threshold": threshold.value,
        "calibration_auc": threshold.record.auc,
        "structure_threshold": threshold.structure.value,
        **split,
    }


def photometry_figures(restore: Restore, *, seed: int) -> dict[str, float]:
    """Return how still the brightness of a static simulated field stands."""
    found = measure_photometry(restore, seed=seed)
    return {
        "photometry_jitter": round(found.jitter, 5),
        "photometry_photon_noise": round(found.photon_noise, 5),
        "photometry_worst_ratio": round(found.worst_ratio, 3),
        "photometry_speck_change": round(found.speck, 5),
    }


def validation_figures(restore: Restore, pairs: Iterable[Pair]) -> dict[str, float]:
    """Return how close restored validation fields come to their clean images: means over the fields.

    They were watched in training, so they flatter; `dimstream-train evaluate` takes the test fields. The
    data range is each clean image's maximum. The noisy image is judged on the straight line that brings
    it closest to the very image.
    """
    rows = []
    for pair in tqdm(pairs, desc="validation fields", unit="field"):
        if pair.high is None:
            return {}
        truth = pair.high.astype(np.float64)
        fitted = fit_gain_and_offset(pair.low.astype(np.float64), truth)
        rows.append((*_scores(restore(pair.low), truth), *_scores(fitted, truth)))
    names = ("psnr_db", "ssim", "mae", "noisy_psnr_db", "noisy_ssim", "noisy_mae")
    means = np.mean(np.asarray(rows, dtype=np.float64), axis=0) if rows else ()
    return {f"validation_{name}": round(float(mean), 4) for name, mean in zip(names, means, strict=False)}


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
            f"{path}: expected JSON with figures, name to number, as `dimstream-train compare` writes it:"
            f" {error!r}"
        ) from error
