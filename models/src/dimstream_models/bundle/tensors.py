"""Test tensors as ``.npy`` files, and the check that a model reproduces its own."""

import io
from collections.abc import Callable

import numpy as np

from dimstream_models.arithmetic import Array
from dimstream_models.bundle.errors import InvalidBundle, TestTensorMismatch
from dimstream_models.bundle.model import Bundle
from dimstream_models.bundle.processing import apply_steps, scale_factor
from dimstream_models.npy import read_header

MAX_TENSOR_BYTES = 64 * 2**20
DEFAULT_TOLERANCE = 1e-3
"""Default absolute tolerance of the BioImage.IO standard, counts."""
LARGEST_TOLERANCE = 0.01
"""The BioImage.IO standard's bound on an absolute tolerance, as a share of the test output's largest
value."""

ERROR_BAR_TOLERANCE = 0.01
"""Tolerance of an error bar, as a share of its value and of the largest one. The prediction has a tolerance
too, and error bars are rarely read to more digits."""


def check_test_tensor(bundle: Bundle, run: Callable[[Array], Array]) -> None:
    """Check that the network reproduces the bundle's test output.

    Parameters
    ----------
    bundle
        As `read_bundle` returned it.
    run
        The bare network: from its input, (1, 1, H, W) float32 or as `Bundle.input_axes` says, to its output.
        This function applies the bundle's pre- and postprocessing.

    Raises
    ------
    TestTensorMismatch
    """
    prediction = run(apply_steps(bundle.preprocessing, bundle.test_input))
    check_test_output(bundle, apply_steps(bundle.postprocessing, prediction))


def check_error_bar(bundle: Bundle, run: Callable[[Array, Array], Array], prediction: Array) -> None:
    """Check that the error-bar network reproduces its own test output; do nothing if there is none.

    Parameters
    ----------
    bundle
        As `read_bundle` returned it.
    run
        That network: from raw counts and the denoising network's output, both (1, 1, H, W) float32, to the
        standard deviation of that output.
    prediction
        (1, 1, H, W) float32, the denoising network's output for the bundle's test input.

    Raises
    ------
    TestTensorMismatch
    """
    if bundle.error_bar is None:
        return
    found = scale_factor(bundle.postprocessing) * run(bundle.test_input.astype(np.float32), prediction)
    stated = bundle.error_bar.test_output
    absolute = ERROR_BAR_TOLERANCE * float(stated.max())
    if found.shape != stated.shape or not np.allclose(found, stated, rtol=ERROR_BAR_TOLERANCE, atol=absolute):
        raise TestTensorMismatch(
            f"{bundle.id}: the error-bar network does not reproduce"
            f" {bundle.error_bar.record.test_output} within {ERROR_BAR_TOLERANCE:.0%}; the bundle was put"
            " together wrongly, or the device computes wrongly"
        )


def check_test_output(
    bundle: Bundle,
    output: Array,
    *,
    relative: float | None = None,
    absolute: float | None = None,
) -> None:
    """Check that denoised counts equal the bundle's test output.

    Parameters
    ----------
    bundle
        As `read_bundle` returned it.
    output
        Denoised counts for `Bundle.test_input`, (..., H, W), from any implementation; leading axes of length
        1 may be omitted.
    relative, absolute
        Every pixel must agree within ``absolute + relative * |test output|``. The default is the bundle's
        tolerance, or 1e-3 and 1e-3, the standard's.

    Raises
    ------
    TestTensorMismatch
    """
    relative = bundle.relative_tolerance if relative is None else relative
    absolute = bundle.absolute_tolerance if absolute is None else absolute
    height, width = bundle.test_output.shape[-2:]
    if output.shape[-2:] != (height, width) or output.size != bundle.test_output.size:
        raise TestTensorMismatch(
            f"{bundle.id}: the model turns the test input into shape {output.shape}, "
            f"expected that of the test output, {bundle.test_output.shape}"
        )
    found = output.reshape(-1, height, width).astype(np.float64)
    stated = bundle.test_output.reshape(-1, height, width).astype(np.float64)
    wrong = ~np.isclose(found, stated, rtol=relative, atol=absolute)
    if wrong.any():
        worst = float(np.abs(found - stated)[wrong].max())
        raise TestTensorMismatch(
            f"{bundle.id}: the model does not reproduce its test output: {int(wrong.sum())} of {wrong.size} "
            f"pixels differ, by up to {worst:.6g} counts; expected at most {absolute:g} + {relative:g} of "
            "the value; the bundle was made wrongly, or the device computes wrongly"
        )


def to_npy(tensor: Array) -> bytes:
    """Return an array (..., H, W), in any unit, as the bytes of a ``.npy`` file, little-endian, C order."""
    buffer = io.BytesIO()
    little = np.ascontiguousarray(tensor, dtype=tensor.dtype.newbyteorder("<"))
    np.lib.format.write_array(buffer, little, version=(1, 0), allow_pickle=False)
    return buffer.getvalue()


def from_npy(data: bytes, *, where: str) -> Array:
    """Return the array (..., H, W) of finite numbers, in any unit, in a ``.npy`` file.

    The file's header is checked before memory is allocated.

    Raises
    ------
    InvalidBundle
    """
    buffer = io.BytesIO(data)
    try:
        shape, fortran, dtype = read_header(buffer)
        if dtype.kind not in "uif" or dtype.itemsize > 8:
            raise ValueError(f"values of type {dtype}, expected real numbers")
        if len(data) - buffer.tell() != _bytes(shape, dtype):
            raise ValueError(f"its length does not fit its shape {shape} of {dtype}")
        flat = np.frombuffer(data, dtype, offset=buffer.tell())
    except (ValueError, OverflowError) as error:
        raise InvalidBundle(f"expected a .npy file, but {where} cannot be used as one: {error}") from error
    array = flat.reshape(shape, order="F" if fortran else "C")
    if not np.isfinite(array).all():
        raise InvalidBundle(f"{where} holds nan or infinity; a test tensor must be finite")
    return array.astype(dtype.newbyteorder("="), copy=False)


def _bytes(shape: tuple[int, ...], dtype: np.dtype[np.generic]) -> int:
    total = dtype.itemsize
    for side in shape:
        if side < 1:
            raise ValueError(f"shape {shape} has an empty side")
        total *= side
    return total
