"""Thresholds for frames whose predictions have a lower precision than float32.

A flag's thresholds are between the values of movies with and without a sample. In an empty field, rounded
factors change predictions by a considerable part of their spread. So thresholds hold for one precision only.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dimstream_models.bundle import Difference, PrecisionRecord, PrecisionThresholds
from dimstream_models.precisions import LowerPrecision
from dimstream_models.training.calibration.threshold import FlagThresholds
from dimstream_models.training.errors import CannotCalibrate, NotAvailable
from dimstream_models.training.prediction import Denoise, on_padded

TINY = 1e-12


@dataclass(frozen=True)
class PrecisionParity:
    """Difference between predictions in a lower precision and in float32."""

    signal: Difference
    dark: Difference


def openvino_denoiser(content: bytes, precision: LowerPrecision, *, step: int, min_side: int) -> Denoise:
    """Return an ONNX file as a function from counts (H, W) to its prediction (H, W), run as by
    `openvino:cpu`.

    Raises
    ------
    NotAvailable
        When this processor does not have the precision.
    """
    from dimstream_models.openvino_network import OpenVinoNetwork, PrecisionUnavailable

    network = OpenVinoNetwork(content, precision=precision)

    def predict(padded: NDArray[np.float32]) -> NDArray[np.float32]:
        try:
            return np.array(network(padded))  # the network reuses its memory for the next frame
        except PrecisionUnavailable as error:
            raise NotAvailable(
                f"{precision} cannot be calibrated on this machine: {error}; use a machine with this "
                "precision"
            ) from error

    return on_padded(predict, step=step, min_side=min_side)


def measure_parity(
    signal: Iterable[NDArray[Any]],
    dark: Iterable[NDArray[Any]],
    rounded: Denoise,
    exact: Denoise,
    *,
    movies: str,
) -> PrecisionParity:
    """Return the difference between predictions and those in float32.

    Parameters
    ----------
    signal, dark : iterable of (H, W) photon counts
        Frames with a sample, whose differences are relative to the frame's largest prediction. Frames without
        a sample, whose differences are in standard deviations of the frame's prediction.
    movies : str
        Source of the frames, for the record.

    Raises
    ------
    CannotCalibrate
        When there is no frame of one of the kinds.
    """
    return PrecisionParity(
        _difference(signal, rounded, exact, np.max, "signal", movies),
        _difference(dark, rounded, exact, np.std, "dark", movies),
    )


def precision_record(
    precision: LowerPrecision, threshold: FlagThresholds, parity: PrecisionParity
) -> PrecisionRecord:
    """Return the record of a calibration on this machine."""
    from dimstream_models.openvino_network import is_native, processor

    split, correlation = threshold.split, threshold.correlation
    return PrecisionRecord(
        runtime=f"openvino {version('openvino')}",
        processor=processor(),
        emulated=not is_native(precision),
        signal=parity.signal,
        dark=parity.dark,
        thresholds=PrecisionThresholds(
            ssim=threshold.value,
            split=None if split is None else split.value,
            correlation=None if correlation is None else correlation.value,
        ),
        calibration=threshold.record,
        split_calibration=None if split is None else split.record,
        correlation_calibration=None if correlation is None else correlation.record,
    )


def _difference(
    frames: Iterable[NDArray[Any]], rounded: Denoise, exact: Denoise, unit: Any, kind: str, movies: str
) -> Difference:
    found = []
    for frame in frames:
        expected = exact(frame)
        found.append(np.abs(rounded(frame) - expected) / max(float(unit(expected)), TINY))
    if not found:
        raise CannotCalibrate(f"expected {kind} frames to compare precisions on, got none")
    pixels = np.concatenate([each.ravel() for each in found])
    return Difference(
        movies=movies,
        frames=len(found),
        largest=round(float(pixels.max()), 6),
        quantile_999=round(float(np.quantile(pixels, 0.999)), 6),
        mean=round(float(pixels.mean()), 7),
    )
