"""Streams whose photons are moved to finer pixels that the model knows, and whose results are binned
again."""

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
    """Return into how many finer pixels a pixel's side is divided; 1: it is not divided.

    Raises
    ------
    CannotMatchPixels
        When it was requested but is impossible.
    """
    if not spec.match_pixel_size:
        return 1
    known = None if bundle.config is None else bundle.config.pixel_sizes_nm
    if known is None:
        raise CannotMatchPixels(
            f"expected a model that states its pixel sizes with match_pixel_size, but {bundle.id} does not; "
            "leave match_pixel_size out, or choose another model"
        )
    if spec.pixel_size_um is None:
        raise CannotMatchPixels("expected pixel_size_um with match_pixel_size, got none; give the pixel size")
    if spec.detector is not None:
        raise CannotMatchPixels(
            "expected photon counts with match_pixel_size, got offset and gain, after which values are "
            "estimates that cannot be divided; leave match_pixel_size out"
        )
    if spec.deliver_sd:
        raise CannotMatchPixels(
            "expected no error bars (sd) with match_pixel_size, got both: error bars of finer pixels cannot "
            "be summed to that of a pixel; leave one of them out"
        )
    return finer_pixels(1e3 * spec.pixel_size_um, known)


def on_finer_pixels(photons: NDArray[Any], parts: int, *, seq: int) -> NDArray[Any]:
    """Return the photons (H, W) of frame `seq`, each moved to a finer pixel within its own.

    Raises
    ------
    FrameFailed
        When the values are not counts.
    """
    if parts > 1 and photons.dtype.kind == "f" and ((photons < 0) | (photons != np.rint(photons))).any():
        raise FrameFailed(
            "its photons cannot be moved to finer pixels: expected whole numbers from 0, got others; send"
            " photon counts, or leave match_pixel_size out"
        )
    return scattered(photons, parts, seed=seq)


def as_recorded(
    output: FusedOutput, recorded: NDArray[Any], parts: int, *, ceiling: float | None
) -> FusedOutput:
    """Return the output for finer pixels, converted to the pixels of the recorded frame (H, W).

    Minimum and maximum are those of the recorded frame, because finer pixels cannot be saturated.

    Parameters
    ----------
    ceiling : float or None
        The largest value of a delivered integer pixel; None: pixels are delivered as float32.
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
