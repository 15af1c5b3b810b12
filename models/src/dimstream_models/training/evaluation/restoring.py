"""A bundle's own arithmetic, as the service computes it: counts in, denoised counts out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dimstream_models.bundle import Bundle, ScaleLinear, apply_steps, check_test_output
from dimstream_models.training.errors import CannotEvaluate
from dimstream_models.training.prediction import onnx_denoiser

Restore = Callable[[NDArray[Any]], NDArray[np.float32]]
"""Counts (H, W) of any type to what the service delivers for them, (H, W) float32."""


def restorer(bundle: Bundle) -> Restore:
    """Return the bundle as a function from counts to denoised counts, once it reproduces its test output.

    The order is the service's: preprocessing, edge padding, network, crop, postprocessing (rescale, clip).

    Raises
    ------
    CannotEvaluate
        When the network takes other axes than (1, 1, y, x).
    TestTensorMismatch
        When the network does not turn the bundle's test input into its test output.
    """
    if (bundle.input_axes, bundle.output_axes) != ("bcyx", "bcyx"):
        raise CannotEvaluate(
            f"expected a network with axes bcyx in and out, {bundle.id} has {bundle.input_axes} and"
            f" {bundle.output_axes}"
        )
    denoise = onnx_denoiser(bundle.onnx, step=bundle.step, min_side=bundle.min_side)

    def restore(counts: NDArray[Any]) -> NDArray[np.float32]:
        prediction = denoise(apply_steps(bundle.preprocessing, counts))
        return apply_steps(bundle.postprocessing, prediction).astype(np.float32, copy=False)

    check_test_output(bundle, restore(bundle.test_input[0, 0]))
    return restore


def has_own_scale(bundle: Bundle) -> bool:
    """Return whether the bundle states how its predictions become counts.

    A fitted gain of 1 with offset 0 leaves no step behind, only its record.
    """
    recorded = bundle.config is not None and bundle.config.rescaling is not None
    return recorded or any(isinstance(step, ScaleLinear) for step in bundle.postprocessing)
