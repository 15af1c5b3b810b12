"""Scale and offset from real training pairs, or, where no clean image exists, from the normalisation."""

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
from dimstream_models.training.pairs.opening import Pair, read_pairs
from dimstream_models.training.pairs.prepared import is_prepared, read_prepared
from dimstream_models.training.prediction import Denoise


def rescaling_of_pairs(pairs: Path, denoise: Denoise, method: RescalingMethod) -> Rescaling:
    """Return scale and offset, fitted on training pairs.

    Parameters
    ----------
    pairs : Path
        As `read_pairs` takes it; of a prepared folder the training fields alone.
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


def rescaling_of_split_photons(divisor: float, *, kept_share: float) -> Rescaling:
    """Return the gain that turns predictions of a network trained on split photons into the input's counts.

    In training the network is shown the share `kept_share` of each frame's photons, and its truth is the rest
    over `divisor`; in service it is shown all of them. From its input's counts c it thus predicts
    `(1 - kept_share) / kept_share * c / divisor`, up to noise: the gain is the inverse. No clean image
    exists, so nothing is fitted, and the offset is 0.
    """
    record = RescalingRecord(
        method="normalisation",
        data=f"split photons: denoised counts are those of the input's own dose (truths in training were"
        f" divided by {divisor:g}, and {kept_share:g} of the photons were shown)",
        images=0,
        pixels=0,
    )
    return Rescaling(divisor * kept_share / (1 - kept_share), 0.0, record)


def _predicted(pairs: Path, denoise: Denoise) -> Iterator[PredictedPair]:
    for pair in tqdm(read_pairs(pairs, role="training"), desc="scale and offset", unit="pair"):
        if pair.high is None:
            raise _not_clean(pair)
        yield denoise(pair.low), pair.high


def _described(pairs: Path) -> str:
    if not is_prepared(pairs):
        return f"all pairs of {pairs.name}"
    prepared = read_prepared(pairs)
    fields = len(prepared.of("training"))
    return f"the {fields} training fields of {pairs.name} (sha256 {prepared.sha256[:16]})"


def _not_clean(pair: Pair) -> CannotCalibrate:
    return CannotCalibrate(
        f"{pair.name}: expected a low-dose and a high-dose image, got the low dose alone; scale and offset"
        " are fitted against clean images"
    )
