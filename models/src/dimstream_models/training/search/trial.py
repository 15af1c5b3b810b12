"""One trial: a fit, and its figures on the validation day; a function of plain data, on any machine."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dimstream_models.arithmetic import rescale
from dimstream_models.training.calibration.training_pairs import rescaling_of_pairs
from dimstream_models.training.errors import CannotCalibrate, Diverged, OutOfMemory, SearchError
from dimstream_models.training.fitting.trainer import fit, load_best
from dimstream_models.training.metrics.decorrelation import decorrelation
from dimstream_models.training.metrics.pixelwise import mae, ssim
from dimstream_models.training.normalisation import build_normaliser
from dimstream_models.training.pairs.prepared import Prepared, read_prepared
from dimstream_models.training.prediction import network_denoiser
from dimstream_models.training.search.outcomes import Figures, Outcome, read_outcome, write_outcome
from dimstream_models.training.search.study import FileLock
from dimstream_models.training.settings import Recipe

MAX_COUNTS: Final = 65535.0
FAILURES: Final = (Diverged, CannotCalibrate, OutOfMemory)
"""Errors that a setting can cause; any other error is due to the data or a bug, and stops the search."""

Counts = NDArray[np.uint16]
Restore = Callable[[NDArray[Any]], NDArray[np.float32]]
"""From noisy counts (H, W) to the denoised image (H, W) in counts of the truth."""


def run_trial(recipe: Recipe, run: Path, *, device: str = "cpu") -> Outcome:
    """Return the outcome of a recipe, with all files in the run's folder; a finished run is only read.

    A stopped fit continues from its checkpoint. Two calls for the same run take turns.

    Raises
    ------
    SearchError
        When the recipe does not train on pairs with clean images.
    """
    with FileLock(run / "lock"):
        known = read_outcome(run / "outcome.json")
        if known is not None:
            return known
        begun = time.perf_counter()
        figures, reason = _attempt(recipe, run, device)
        outcome = Outcome(figures=figures, reason=reason, seconds=time.perf_counter() - begun)
        write_outcome(outcome, run / "outcome.json")
        return outcome


def read_searched(recipe: Recipe) -> Prepared:
    """Return the recipe's prepared data without the test set, so that no later code can open it.

    Raises
    ------
    SearchError
        When the recipe does not train on pairs, or a validation or training field lacks its clean image.
    InvalidPrepared
        When the folder is not one that `prepare` wrote.
    """
    prepared = read_prepared(_folder_of(recipe))
    searched = tuple(field for field in prepared.fields if field.role != "test")
    for field in searched:
        if not field.has_high:
            raise SearchError(
                f"expected a clean image for each training and validation field, but {field.name} of "
                f"{prepared.folder} has none: without it, predictions cannot be rescaled and judged"
            )
    return replace(prepared, index=prepared.index.model_copy(update={"fields": searched}))


def run_restorer(recipe: Recipe, run: Path, *, device: str) -> Restore:
    """Return the run's best network, with scale and offset fitted only on the training fields.

    Raises
    ------
    CannotCalibrate
        When its predictions are constant or not finite: the run has failed.
    """
    normaliser = build_normaliser(recipe.normalisation)
    denoise = network_denoiser(load_best(recipe, run), normaliser, device=device)
    line = rescaling_of_pairs(_folder_of(recipe), denoise, recipe.calibration.rescaling)
    return lambda low: rescale(denoise(low), line.gain, line.offset, 0.0, MAX_COUNTS)


def validation_pairs(prepared: Prepared) -> Iterator[tuple[Counts, Counts]]:
    """Yield (noisy, truth) of the validation fields, each (H, W) uint16, mapped from disk."""
    for field in prepared.of("validation"):
        low, high = prepared.open(field)
        assert high is not None  # guaranteed by `read_searched`
        yield low, high


def _attempt(recipe: Recipe, run: Path, device: str) -> tuple[Figures | None, str | None]:
    try:
        fit(recipe, run, device=device)
        return _judge(recipe, run, device), None
    except FAILURES as error:
        return None, str(error)


def _judge(recipe: Recipe, run: Path, device: str) -> Figures:
    """Return the figures on the validation fields.

    The resolution is the median over the fields; a field without resolution counts as the coarsest of all. A
    median, because the analysis may be far off on single images, and not every field has enough structure.
    """
    pairs = list(validation_pairs(read_searched(recipe)))
    restore = run_restorer(recipe, run, device=device)
    data_range = max(float(high.max()) for _, high in pairs)
    rows = []
    for low, high in pairs:
        restored = restore(low)
        resolution = decorrelation(restored).resolution_px or np.inf
        rows.append((ssim(restored, high, data_range=data_range), mae(restored, high), resolution))
    similarities, errors, resolutions = zip(*rows, strict=True)
    resolution = statistics.median(resolutions)
    return Figures(
        ssim=statistics.fmean(similarities),
        mae=statistics.fmean(errors),
        resolution_px=resolution if np.isfinite(resolution) else None,
    )


def _folder_of(recipe: Recipe) -> Path:
    if recipe.pairs is None:
        raise SearchError(
            "expected a recipe with pairs, because a search judges each run on their validation day"
        )
    return recipe.pairs.prepared
