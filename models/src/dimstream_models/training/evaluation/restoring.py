"""A bundle's whole arithmetic as in the server: from counts to denoised counts."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dimstream_models.bundle import Bundle, ScaleLinear, apply_steps, check_test_output
from dimstream_models.quality.pixel_size import binned, finer_pixels, scattered
from dimstream_models.training.errors import CannotEvaluate
from dimstream_models.training.prediction import onnx_denoiser

Restore = Callable[[NDArray[Any]], NDArray[np.float32]]
"""From counts (H, W) of any type to the counts that the server delivers, (H, W) float32."""


def restorer(bundle: Bundle) -> Restore:
    """Return the bundle as a function from counts to denoised counts, after it reproduced its test output.

    The order is that of the server: preprocessing, edge padding, network, crop, postprocessing (rescale,
    clip).

    Raises
    ------
    CannotEvaluate
        When the network needs other axes than (1, 1, y, x).
    TestTensorMismatch
        When the network does not turn the bundle's test input into its test output.
    """
    if bundle.classes or (bundle.input_axes, bundle.output_axes) != ("bcyx", "bcyx"):
        raise CannotEvaluate(
            f"expected a network with input and output axes bcyx, but {bundle.id} has {bundle.input_axes} "
            f"and {bundle.output_axes}"
        )
    denoise = onnx_denoiser(bundle.onnx, step=bundle.step, min_side=bundle.min_side)

    def restore(counts: NDArray[Any]) -> NDArray[np.float32]:
        prediction = denoise(apply_steps(bundle.preprocessing, counts))
        return apply_steps(bundle.postprocessing, prediction).astype(np.float32, copy=False)

    check_test_output(bundle, restore(bundle.test_input[0, 0]))
    return restore


def on_known_pixels(restore: Restore, bundle: Bundle, pixel_nm: float) -> Restore:
    """Return a restoration that moves photons to pixels that the bundle knows, as the server does.

    Parameters
    ----------
    pixel_nm : float
        Side of the input's pixels, nm.

    Raises
    ------
    CannotEvaluate
        When the bundle does not state which pixels it knows, or an image does not contain photon counts.
    """
    known = None if bundle.config is None else bundle.config.pixel_sizes_nm
    if known is None:
        raise CannotEvaluate(
            f"expected a bundle that states its pixel sizes, but {bundle.id} does not: leave "
            "--match-pixel-size-nm out"
        )
    parts = finer_pixels(pixel_nm, known)

    def restored(counts: NDArray[Any]) -> NDArray[np.float32]:
        if (counts < 0).any() or (counts != np.rint(counts)).any():
            raise CannotEvaluate(
                "expected photon counts, because photons are moved to finer pixels, got other values: leave "
                "--match-pixel-size-nm out"
            )
        seed = zlib.crc32(np.ascontiguousarray(counts).tobytes())
        return binned(restore(scattered(counts, parts, seed=seed)), parts)

    return restored


def with_raw_share(restore: Restore, share: float) -> Restore:
    """Return a restoration mixed with a share of the raw frame, on the raw frame's scale.

    This adds photon noise. If it still improves the result by photons of the same instant, but not by the
    next frame, then the light really differs from pixel to pixel for a short time.

    Raises
    ------
    CannotEvaluate
        When the share is not between 0 and 1.
    """
    if not 0 <= share <= 1:
        raise CannotEvaluate(f"expected a share of the raw frame from 0 to 1, got {share:g}")

    def restored(counts: NDArray[Any]) -> NDArray[np.float32]:
        raw, made = counts.astype(np.float64), restore(counts).astype(np.float64)
        if made.std() > 0:
            gain, offset = np.polyfit(made.ravel(), raw.ravel(), 1)
            made = gain * made + offset
        return np.asarray((1 - share) * made + share * raw, np.float32)

    return restored


def has_own_scale(bundle: Bundle) -> bool:
    """Return whether the bundle states how its predictions are converted to counts.

    A fitted gain of 1 with offset 0 has no processing step, only a record.
    """
    recorded = bundle.config is not None and bundle.config.rescaling is not None
    return recorded or any(isinstance(step, ScaleLinear) for step in bundle.postprocessing)
