"""Streams whose photons are scattered onto pixels of a size that the model knows, results binned back."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dimstream_models.bundle import Bundle
from dimstream_models.quality.pixel_size import binned, finer_pixels, scattered
from dimstream_models.quality.saturation import shares_at_maximum
from dimstream_server.engine.protocol import StreamSpec
from dimstream_server.errors import CannotMatchPixels, FrameFailed
from dimstream_server.pipeline.fused_model import FusedOutput


def parts_of(spec: StreamSpec, bundle: Bundle) -> int:
    """Into how many pixels the side of a pixel is divided; 1: photons stay where they are.

    Raises
    ------
    CannotMatchPixels
        It was asked for and cannot be done.
    """
    if not spec.match_pixel_size:
        return 1
    known = None if bundle.config is None else bundle.config.pixel_sizes_nm
    if known is None:
        raise CannotMatchPixels(
            f"expected a model that says which pixel sizes it knows, {bundle.id} does not; leave"
            " match_pixel_size out, or choose another model"
        )
    if spec.pixel_size_um is None:
        raise CannotMatchPixels(
            "expected pixel_size_um with match_pixel_size, got none; say how large the pixels are"
        )
    if spec.detector is not None:
        raise CannotMatchPixels(
            "expected counted photons with match_pixel_size, got offset and gain, after which values are"
            " estimates that cannot be divided; leave match_pixel_size out"
        )
    if spec.deliver_sd:
        raise CannotMatchPixels(
            "expected no error bars (sd) with match_pixel_size, got both: those of finer pixels do not add up"
            " to that of a pixel; leave one of them out"
        )
    return finer_pixels(1e3 * spec.pixel_size_um, known)


def on_finer_pixels(photons: NDArray[Any], parts: int, *, seq: int) -> NDArray[Any]:
    """Photons (H, W) of frame `seq`, each on one of the finer pixels within its own.

    Raises
    ------
    FrameFailed
        The values are no counts.
    """
    if parts > 1 and photons.dtype.kind == "f" and ((photons < 0) | (photons != np.rint(photons))).any():
        raise FrameFailed(
            "its photons cannot be put on finer pixels: expected whole numbers from 0, got others; send"
            " photon counts, or leave match_pixel_size out"
        )
    return scattered(photons, parts, seed=seq)


def as_recorded(
    output: FusedOutput, recorded: NDArray[Any], parts: int, *, ceiling: float | None
) -> FusedOutput:
    """What was made of finer pixels, as it is delivered for the frame (H, W) that was recorded.

    Extremes of the counts are those of the frame that was recorded: scattered, none is at a ceiling.

    Parameters
    ----------
    ceiling : float or None
        The largest value that a delivered pixel can hold as a whole number; None: it is delivered as float32.
    """
    summed = binned(output.denoised, parts)
    denoised: NDArray[Any] = summed
    if ceiling is not None:
        denoised = np.rint(np.clip(summed, 0, ceiling)).astype(np.uint16)
    at_maximum, near_maximum = shares_at_maximum(recorded)
    measures = output.measures._replace(
        minimum=float(recorded.min()),
        maximum=float(recorded.max()),
        at_maximum=at_maximum,
        near_maximum=near_maximum,
    )
    return replace(output, denoised=denoised, measures=measures)
