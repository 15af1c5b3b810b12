"""The arithmetic that belongs to a model, in plain numpy: the reference that every faster version must equal.

All functions take one frame, ``(H, W)``. They do not need scipy, scikit-image or ONNX Runtime; the tests
compare with these.
"""

from collections.abc import Callable
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import DTypeLike, NDArray

Array: TypeAlias = NDArray[Any]
Float32: TypeAlias = NDArray[np.float32]
Float64: TypeAlias = NDArray[np.float64]
Normalisation: TypeAlias = Literal["mean_absolute_deviation", "maximum"]

TINY = 1e-6
"""Smallest divisor in `normalise_prediction`: a blank prediction becomes zeros, never nan."""


def padded_side(side: int, step: int, min_side: int = 0) -> int:
    """Smallest multiple of `step` that is at least `side` and `min_side`, px.

    Parameters
    ----------
    side
        Length of the frame's side, px.
    step
        The network accepts only multiples of it.
    min_side
        Smallest side that the network accepts, px.
    """
    return -(-max(side, min_side) // step) * step


def edge_pad(counts: Array, step: int, *, min_side: int = 0) -> Array:
    """Return a frame whose last row and column are repeated until both sides are multiples of `step`.

    The padding is below and to the right, so ``padded[:H, :W]`` is the original frame.

    Parameters
    ----------
    counts
        (H, W), any type; the result has the same type.
    step, min_side
        As in `padded_side`.

    Raises
    ------
    ValueError
        When the frame is not two-dimensional or has no pixels.
    """
    _require_frame(counts)
    height, width = counts.shape
    below = padded_side(height, step, min_side) - height
    right = padded_side(width, step, min_side) - width
    return np.pad(counts, ((0, below), (0, right)), mode="edge")


def normalise_prediction(prediction: Array, method: Normalisation) -> Float32:
    """Return a prediction normalised by its own values, for SSIM between adjacent frames.

    The prediction is taken before rescaling. With one fixed data range for all frames, the check for invented
    structure would fail: predictions of an empty field are all close to zero, and so would look alike.

    Parameters
    ----------
    prediction
        (H, W), the network's output.
    method
        ``mean_absolute_deviation``: (p - mean) / mean|p - mean|, which a single bright pixel hardly changes;
        ``maximum``: p / max, as in the paper.

    Returns
    -------
    (H, W) float32
    """
    p = prediction.astype(np.float64)
    if method == "mean_absolute_deviation":
        centred = p - p.mean()
        return np.asarray(centred / max(float(np.abs(centred).mean()), TINY), np.float32)
    if method == "maximum":
        return np.asarray(p / max(float(p.max()), TINY), np.float32)
    raise ValueError(f"expected normalisation 'mean_absolute_deviation' or 'maximum', got {method!r}")


def rescale(
    prediction: Array, gain: float, offset: float, minimum: float | None, maximum: float | None
) -> Float32:
    """Return the prediction in counts: ``clip(gain * prediction + offset, minimum, maximum)``, (H, W)
    float32.

    Parameters
    ----------
    prediction
        (H, W), the network's output.
    gain, offset
        One pair per model, fitted on its training data (paper, Rescaling of predictions); never per frame.
    minimum, maximum
        Bounds in counts; None: no bound on that side.
    """
    scaled: Float32 = prediction.astype(np.float32) * np.float32(gain) + np.float32(offset)
    if minimum is None and maximum is None:
        return scaled
    low = None if minimum is None else np.float32(minimum)
    high = None if maximum is None else np.float32(maximum)
    return np.clip(scaled, low, high)


def as_counts(values: Array, dtype: DTypeLike) -> Array:
    """Return a frame (H, W) in the type in which it is delivered.

    Parameters
    ----------
    values
        (H, W), counts; finite.
    dtype
        ``uint16``: rounded half to even and clipped to 0..65535; ``float32``: unchanged values.

    Raises
    ------
    ValueError
        For any other type, and for uint16 when values are not finite.
    """
    wanted = np.dtype(dtype)
    if wanted == np.float32:
        return values.astype(np.float32)
    if wanted != np.uint16:
        raise ValueError(f"expected uint16 or float32 as the type of delivered frames, got {wanted}")
    if not np.isfinite(values).all():
        raise ValueError("counts must be finite to become uint16, but the frame holds nan or infinity")
    return np.clip(np.rint(values), 0, 65535).astype(np.uint16)


def window_sums(counts: Array, window: int = 10) -> Float64:
    """Sum of the counts in the window around each pixel, borders reflected (paper, Hallucination check).

    Equals ``np.rint(scipy.ndimage.uniform_filter(x, window, mode="reflect") * window**2)`` of float64 x:
    an even window reaches one pixel further up and left than down and right.

    Parameters
    ----------
    counts
        (H, W), photon counts.
    window
        Side of the window, px.

    Returns
    -------
    (H, W) float64, whole numbers
    """
    _require_frame(counts)
    before = window // 2
    reach = (before, window - 1 - before)
    reflected = np.pad(counts.astype(np.float64), (reach, reach), mode="symmetric")
    return np.rint(over_windows(reflected, window, np.sum))


def signal_fractions(
    counts: Array, window: int, background_max: float, signal_min: float
) -> tuple[float, float, float]:
    """Shares of background, uncertain and signal pixels of a raw frame; they add up to 1.

    Parameters
    ----------
    counts
        (H, W), photon counts.
    window
        Side of the window whose sum classes a pixel, px (paper: 10).
    background_max
        Background: sums up to and including this (paper: 5).
    signal_min
        Signal: sums above this (paper: 25).
    """
    sums = window_sums(counts, window)
    background = float((sums <= background_max).mean())
    signal = float((sums > signal_min).mean())
    uncertain = float(((sums > background_max) & (sums <= signal_min)).mean())
    return background, uncertain, signal


def _require_frame(frame: Array) -> None:
    if frame.ndim != 2 or frame.size == 0:
        raise ValueError(f"expected one frame (H, W) with pixels, got an array of shape {frame.shape}")


def over_windows(image: Float64, window: int, reduce: Callable[..., Any]) -> Float64:
    """Return `reduce` (sum, mean) of each square window inside an image.

    Parameters
    ----------
    image
        (H, W).
    window
        Side of the window, px.

    Returns
    -------
    (H - window + 1, W - window + 1)
    """
    rows = reduce(sliding_window_view(image, window, axis=0), axis=-1)  # (H - window + 1, W)
    result: Float64 = reduce(sliding_window_view(rows, window, axis=1), axis=-1)
    return result
