"""Determines a bundle's scale, offset and thresholds again, and writes them with their records."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from pydantic import ValidationError

from dimstream_client.files import open_images
from dimstream_models.arithmetic import rescale
from dimstream_models.bundle import (
    Bundle,
    BundleDraft,
    DimstreamConfig,
    check_target,
    open_draft,
    pack_bundle,
    read_bundle,
)
from dimstream_models.training.calibration.movies import Movies
from dimstream_models.training.calibration.rescaling import Rescaling, RescalingMethod
from dimstream_models.training.calibration.simulated import threshold_of_scenes
from dimstream_models.training.calibration.threshold import FlagThresholds
from dimstream_models.training.calibration.training_pairs import rescaling_of_pairs
from dimstream_models.training.calibration.windows import WindowThresholds
from dimstream_models.training.error_bars.rescaling import with_error_bar_rescaled
from dimstream_models.training.errors import CannotCalibrate
from dimstream_models.training.export.card import HALF_ERROR, renewed
from dimstream_models.training.export.measured_quality import is_margin, threshold_figures
from dimstream_models.training.export.pictures import draw_cover
from dimstream_models.training.export.sample_movie import MOVIE
from dimstream_models.training.export.warnings import refuse
from dimstream_models.training.export.writing import write_checked
from dimstream_models.training.pairs.pair_reader import read_pairs
from dimstream_models.training.prediction import Denoise, onnx_denoiser
from dimstream_models.training.settings import CalibrationSettings, Recipe

SCALE_FREE = (
    "ssim_threshold",
    "calibration_auc",
    "structure_threshold",
    "split_threshold",
    "correlation_threshold",
    HALF_ERROR,
)
"""Figures that do not depend on scale and offset."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What to calibrate, and the data for it."""

    pairs: Path | None = None
    """Training pairs, for scale and offset."""
    method: RescalingMethod = "least_squares"
    movies: Movies = field(default_factory=Movies)
    """Signal and dark movies, for the thresholds."""
    false_alarm_rate: float = 0.005
    simulated: bool = False
    """Whether thresholds are from the scenes of the bundle's training recipe."""
    signal_min: float | None = None
    """Least window sum of signal; None: the bundle's."""
    command: str = ""
    """The command line, for the record."""
    strict: bool = False
    """Refuse a bundle with warnings."""


def recalibrate(source: Path, target: Path, wanted: Wanted) -> Bundle:
    """Write a bundle with a new scale, new thresholds, or both; the network is unchanged.

    Parameters
    ----------
    source : Path
        Folder or zip of a bundle that dimstream wrote.
    target : Path
        Folder, or zip if its name ends in .zip. It may be `source`, which is then replaced atomically.
    wanted : Wanted
        What to determine again.

    Raises
    ------
    PoorModel
        When the new bundle has warnings, and `strict` is set.
    CannotCalibrate
        When nothing is requested, or no scale or threshold can be determined from the images.
    InvalidPairs, InvalidPrepared
        When images cannot be read.
    BundleError
        When dimstream did not write the bundle, or it cannot be written.
    """
    recorded = bool(wanted.movies.signal or wanted.movies.dark)
    if wanted.simulated == recorded and (recorded or wanted.pairs is None):
        raise CannotCalibrate(
            "expected training pairs for scale and offset, or movies for the thresholds, either recorded or"
            f" simulated, got {'both' if recorded else 'neither'}: give --pairs PAIRS, or --signal MOVIE"
            " --dark MOVIE, or --simulated"
        )
    if not 0 < wanted.false_alarm_rate < 1 or not 0 <= (wanted.signal_min or 0) < math.inf:
        raise CannotCalibrate(
            f"expected a false alarm rate between 0 and 1 and a window sum from 0 on, got"
            f" {wanted.false_alarm_rate:g} and {wanted.signal_min}"
        )
    check_bundle_target(target)
    with open_draft(source) as draft:
        made = _calibrated(draft, wanted)
        if wanted.strict:
            refuse(made)
        return write_in_place(target, made)


def check_bundle_target(target: Path) -> None:
    """Refuse a target that exists but is not a bundle.

    Raises
    ------
    BundleError
    """
    if not _is_zip(target):
        check_target(target, replace=True)
    elif target.exists():
        read_bundle(target)  # only bundles are replaced


def _is_zip(target: Path) -> bool:
    return target.suffix.lower() == ".zip"


def _calibrated(draft: BundleDraft, wanted: Wanted) -> BundleDraft:
    denoise = onnx_denoiser(draft.onnx, step=draft.step, min_side=draft.min_side)
    limits, movies = draft.config.thresholds, wanted.movies
    threshold: FlagThresholds | None
    if wanted.simulated:
        draft, threshold = _simulated(draft, denoise, wanted.false_alarm_rate)
    else:
        threshold = movies.threshold(denoise, draft.config.ssim, false_alarm_rate=wanted.false_alarm_rate)
    windows = movies.windows(
        signal_min=limits.signal_min if wanted.signal_min is None else wanted.signal_min,
        rate=wanted.false_alarm_rate,
    )
    config = _with_thresholds(draft.config, threshold, windows)
    draft = replace(draft, config=with_command(config, wanted.command))
    if wanted.pairs is not None:
        rescaling = rescaling_of_pairs(wanted.pairs, denoise, wanted.method)
        draft = _rescaled(draft, rescaling, denoise, _example(draft, wanted.pairs))
    return replace(draft, documentation=renewed(draft))


def _simulated(draft: BundleDraft, denoise: Denoise, rate: float) -> tuple[BundleDraft, FlagThresholds]:
    """Return the draft with the new rate in its recorded recipe, and thresholds from simulated movies of that
    recipe."""
    draft, recipe = with_recipe(draft, rate)
    return draft, threshold_of_scenes(recipe, denoise)


def with_recipe(draft: BundleDraft, rate: float) -> tuple[BundleDraft, Recipe]:
    """Return the simulated recipe in a bundle's record, and the bundle with a new false alarm rate in it.

    Raises
    ------
    CannotCalibrate
        When there is none.
    """
    made = draft.config.provenance
    if made is None or not made.settings.get("simulation"):
        raise CannotCalibrate(
            f"expected a bundle with the record of a simulated recipe, but {draft.id} has none: give recorded"
            " movies, --signal MOVIE --dark MOVIE"
        )
    settings = CalibrationSettings.model_validate(made.settings.get("calibration", {})).model_copy(
        update={"false_alarm_rate": rate, "ssim_data_range": draft.config.ssim.data_range}
    )
    stated = {**made.settings, "calibration": settings.model_dump(mode="json")}
    try:
        recipe = Recipe.model_validate(stated)
    except ValidationError as error:
        raise CannotCalibrate(
            f"expected a valid training recipe in the record of {draft.id}, got: {error}; give recorded "
            "movies, --signal MOVIE --dark MOVIE"
        ) from error
    given = made.model_copy(update={"settings": stated})
    config = draft.config.model_copy(update={"provenance": given})
    return replace(draft, config=config), recipe


def _with_thresholds(
    config: DimstreamConfig, threshold: FlagThresholds | None, windows: WindowThresholds | None
) -> DimstreamConfig:
    if windows is not None:
        stated = windows.over(config.thresholds)
        config = config.model_copy(update={"thresholds": stated, "window_calibration": windows.record})
    if threshold is None:
        return config
    judging = {
        "thresholds": threshold.over(config.thresholds),
        "quality": {**config.quality, **threshold_figures(threshold)},
        **threshold.records(),
    }
    return config.model_copy(update=judging)


def with_command(config: DimstreamConfig, command: str) -> DimstreamConfig:
    """Return a configuration with one more command in its record."""
    if config.provenance is None:
        return config
    given = config.provenance.model_copy(update={"command": f"{config.provenance.command}; {command}"})
    return config.model_copy(update={"provenance": given})


def _rescaled(
    draft: BundleDraft, rescaling: Rescaling, denoise: Denoise, example: NDArray[Any]
) -> BundleDraft:
    """Return the draft with another scale; everything in its counts is made again or left out."""

    def restore(counts: NDArray[Any]) -> NDArray[Any]:
        return rescale(denoise(counts), rescaling.gain, rescaling.offset, draft.clip_min, draft.clip_max)

    test_output = restore(draft.test_input[0, 0])[None, None]
    draft = with_error_bar_rescaled(draft, rescaling.gain / draft.gain)
    tolerance = draft.absolute_tolerance
    if tolerance is not None:
        tolerance *= float(test_output.max()) / float(draft.test_output.max())
    stated = {"rescaling": rescaling.record, "quality": _without_counts(draft.config.quality)}
    return replace(
        draft,
        gain=rescaling.gain,
        offset=rescaling.offset,
        test_output=test_output,
        absolute_tolerance=tolerance,
        config=draft.config.model_copy(update=stated),
        cover=draw_cover(example, restore(example)),
    )


def _without_counts(quality: Mapping[str, float]) -> dict[str, float]:
    """Return the figures that do not depend on the scale; the others were measured with the former one."""
    return {name: value for name, value in quality.items() if name in SCALE_FREE or is_margin(name)}


def _example(draft: BundleDraft, pairs: Path) -> NDArray[Any]:
    """Return a frame (H, W) for the cover: from the bundle's sample movie, or the first of the pairs."""
    if MOVIE in draft.attachments:
        with open_images(draft.attachments[MOVIE]) as movie:
            return movie.read(0)
    return next(read_pairs(pairs, role="training")).low


def write_in_place(target: Path, draft: BundleDraft) -> Bundle:
    """Write a folder, or a zip if the name ends in .zip, after the bundle has reproduced its test output.

    Raises
    ------
    BundleError
    """
    if not _is_zip(target):
        return write_checked(target, draft)
    with tempfile.TemporaryDirectory() as scratch:
        return pack_bundle(write_checked(Path(scratch) / draft.id, draft).source, target)
