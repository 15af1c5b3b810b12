"""Scale and offset from recorded training pairs or, without clean images, from the normalisation."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tqdm import tqdm

from dimstream_models.bundle import RescalingRecord
from dimstream_models.training.calibration.rescaling import (
    PredictedPair,
    Rescaling,
    RescalingMethod,
    fit_rescaling,
)
from dimstream_models.training.errors import CannotCalibrate
from dimstream_models.training.pairs.pair_reader import Pair, read_pairs
from dimstream_models.training.pairs.prepared import is_prepared, read_prepared
from dimstream_models.training.prediction import Denoise


def rescaling_of_pairs(pairs: Path, denoise: Denoise, method: RescalingMethod) -> Rescaling:
    """Return scale and offset, fitted to training pairs.

    Parameters
    ----------
    pairs : Path
        As in `read_pairs`; of a prepared folder, only the training fields.
    denoise : callable
        From counts to the normalised prediction.
    method : {"least_squares", "clipped_quantiles"}
        See `calibration.rescaling`.

    Raises
    ------
    CannotCalibrate
        When a pair has no clean image, or no rising line fits.
    InvalidPairs, InvalidPrepared
        When the pairs cannot be read.
    """
    return fit_rescaling(_predicted(pairs, denoise), method, data=_described(pairs))


def rescaling_of_split_photons(divisor: float, *, gain: float | None = None) -> Rescaling:
    """Return the gain from predictions of a network trained on split photons to counts.

    The network's input is one part of each frame's photons. Its truth is the other part, scaled to the same
    expectation and divided by `divisor`. So its output is the light of the input divided by `divisor`. There
    is no clean image, so nothing is fitted, and the offset is 0.

    Parameters
    ----------
    divisor : float
        Divisor of truths in training.
    gain : float, optional
        Gain of the initial bundle, so that counts keep their scale; by default, denoised counts have the
        input's dose.
    """
    dose = "at the input's own dose" if gain is None else f"at {gain / divisor:.3g} times the input's dose"
    record = RescalingRecord(
        method="normalisation",
        data=f"split photons, {dose}: there are no clean images, and truths in training were divided by"
        f" {divisor:g}",
        images=0,
        pixels=0,
    )
    return Rescaling(gain or divisor, 0.0, record)


def _predicted(pairs: Path, denoise: Denoise) -> Iterator[PredictedPair]:
    for pair in tqdm(read_pairs(pairs, role="training"), desc="scale and offset", unit="pair"):
        if pair.high is None:
            raise _not_clean(pair)
        yield denoise(pair.low), pair.high


def _described(pairs: Path) -> str:
    if not is_prepared(pairs):
        return f"all pairs of {pairs.name}"
    prepared = read_prepared(pairs)
    fields, factor = len(prepared.of("training")), prepared.index.high_factor
    truths = "" if factor == 1 else f", whose truths are averages times {factor:g}"
    return f"the {fields} training fields of {pairs.name} (sha256 {prepared.sha256[:16]}){truths}"


def _not_clean(pair: Pair) -> CannotCalibrate:
    return CannotCalibrate(
        f"{pair.name}: expected a low-dose and a high-dose image, got only the low dose; scale and offset "
        "need clean images"
    )
