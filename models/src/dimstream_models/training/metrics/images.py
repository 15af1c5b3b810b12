"""Requirements of an image before a metric is calculated, and the reasons why a metric is missing.

Each metric here returns None for exactly one reason, and never infinity, nan or a guess.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dimstream_models.training.errors import CannotEvaluate

WHY_NONE: Final[Mapping[str, str]] = MappingProxyType(
    {
        "psnr": "the images are equal: the ratio has no bound",
        "pearson": "an image is constant: it correlates with nothing",
        "decorrelation": "no frequency exceeds the noise: the image is empty, constant or only noise",
        "frc": "the ring correlation never falls below the threshold, or is below it from the start",
        "rolling_frc": "no block above the background crosses the threshold",
        "lpips": "no weights: give the files of the VGG16 trunk and the linear heads, with their sha256",
    }
)
"""Reason by metric, which a report prints where a figure is None."""


Image: TypeAlias = NDArray[Any]
Floats: TypeAlias = NDArray[np.float64]


def as_floats(image: Image, *, min_side: int = 1) -> Floats:
    """Return the image as float64, so that integers cannot overflow.

    Raises
    ------
    CannotEvaluate
        When it is not an image (H, W) or volume (Z, H, W), a side is shorter than `min_side`, or it holds nan
        or infinity.
    """
    if image.ndim not in (2, 3) or min(image.shape) < min_side:
        wanted = f"an image (H, W) or a volume (Z, H, W) with sides of at least {min_side} px"
        raise CannotEvaluate(f"expected {wanted}, got an array of shape {image.shape}")
    values = np.asarray(image, np.float64)
    if not np.isfinite(values).all():
        raise CannotEvaluate("expected finite pixels, got nan or infinity: no metric can be calculated")
    return values


def as_plane(image: Image, *, min_side: int = 1) -> Floats:
    """Return an image (H, W) as float64.

    Raises
    ------
    CannotEvaluate
        When it has not two dimensions, a side is shorter than `min_side`, or it holds nan or infinity.
    """
    if image.ndim != 2:
        raise CannotEvaluate(f"expected one image (H, W), got an array of shape {image.shape}")
    return as_floats(image, min_side=min_side)


def require_same_shape(a: Image, b: Image) -> None:
    """Refuse two images, (H, W) in any unit, of different shapes.

    Raises
    ------
    CannotEvaluate
    """
    if a.shape != b.shape:
        raise CannotEvaluate(f"expected two images of one shape, got {a.shape} and {b.shape}")


def require_range(data_range: float) -> float:
    """Return the data range, after checking that it is valid.

    Raises
    ------
    CannotEvaluate
    """
    if not 0 < data_range < np.inf:
        raise CannotEvaluate(f"expected a data range above 0, got {data_range}")
    return data_range
