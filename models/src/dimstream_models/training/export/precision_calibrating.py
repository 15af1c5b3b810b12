"""Adds thresholds for predictions in a lower precision to a bundle; everything else is unchanged."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from dimstream_models.bundle import Bundle, BundleDraft, PrecisionRecord, open_draft
from dimstream_models.precisions import LowerPrecision
from dimstream_models.training.calibration.movies import Movies
from dimstream_models.training.calibration.precision import (
    measure_parity,
    openvino_denoiser,
    precision_record,
)
from dimstream_models.training.calibration.simulated import frames_of_scenes, threshold_of_scenes
from dimstream_models.training.calibration.threshold import FlagThresholds
from dimstream_models.training.errors import CannotCalibrate
from dimstream_models.training.export.card import PRECISIONS, precision_section, with_section
from dimstream_models.training.export.recalibrating import (
    check_bundle_target,
    with_command,
    with_recipe,
    write_in_place,
)
from dimstream_models.training.prediction import onnx_denoiser

SIMULATED = "simulated movies of the bundle's own recipe"


@dataclass(frozen=True, kw_only=True)
class WantedPrecision:
    """The precision to calibrate, and the data for it."""

    precision: LowerPrecision
    movies: Movies = field(default_factory=Movies)
    """Signal and dark movies: for the thresholds or, if these are simulated, for the comparison of
    precisions."""
    simulated: bool = False
    """Whether thresholds are from the scenes of the bundle's training recipe."""
    false_alarm_rate: float = 0.005
    command: str = ""
    """The command line, for the record."""


def calibrate_precision(source: Path, target: Path, wanted: WantedPrecision) -> Bundle:
    """Write a bundle with thresholds for predictions in a lower precision; weights and pixels are unchanged.

    Parameters
    ----------
    source : Path
        Folder or zip of a bundle that dimstream wrote.
    target : Path
        Folder, or zip if its name ends in .zip. It may be `source`, which is then replaced atomically.

    Raises
    ------
    CannotCalibrate
        When there are no movies, or no threshold can be determined from them.
    NotAvailable
        When this processor does not have the precision.
    InvalidPairs
        When images cannot be read.
    BundleError
        When dimstream did not write the bundle, or it cannot be written.
    """
    if bool(wanted.movies.signal) != bool(wanted.movies.dark) or not (
        wanted.movies.signal or wanted.simulated
    ):
        raise CannotCalibrate(
            "expected movies with a sample and without one for the thresholds of a precision: give"
            " --signal MOVIE --dark MOVIE, or --simulated, or all three to compare precisions on the "
            "recorded movies"
        )
    check_bundle_target(target)
    with open_draft(source) as draft:
        record = _record(draft, wanted)
        records = {**draft.config.precisions, wanted.precision: record}
        config = draft.config.model_copy(update={"precisions": records})
        section = f"{precision_section(records)}\n\n"
        documentation = with_section(draft.documentation, PRECISIONS, section)
        made = replace(draft, config=with_command(config, wanted.command), documentation=documentation)
        return write_in_place(target, made)


def _record(draft: BundleDraft, wanted: WantedPrecision) -> PrecisionRecord:
    ends = {"step": draft.step, "min_side": draft.min_side}
    exact = onnx_denoiser(draft.onnx, **ends)
    rounded = openvino_denoiser(draft.onnx, wanted.precision, **ends)
    rate, movies = wanted.false_alarm_rate, wanted.movies
    threshold: FlagThresholds | None
    if wanted.simulated:
        _, recipe = with_recipe(draft, rate)
        threshold = threshold_of_scenes(recipe, rounded)
    else:
        threshold = movies.threshold(rounded, draft.config.ssim, false_alarm_rate=rate)
    assert threshold is not None  # there are always movies of both kinds
    if movies.signal:
        frames, origin = movies.frames(), movies.names
    else:
        frames, origin = frames_of_scenes(recipe), SIMULATED
    parity = measure_parity(*frames, rounded, exact, movies=origin)
    return precision_record(wanted.precision, threshold, parity)
