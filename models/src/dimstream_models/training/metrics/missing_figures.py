"""Why a figure is absent: each function here gives None for one reason, never infinity, nan or a guess."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

WHY_NONE: Final[Mapping[str, str]] = MappingProxyType(
    {
        "psnr": "the images are equal: the ratio has no bound",
        "pearson": "an image is constant: it correlates with nothing",
        "decorrelation": "no frequency stands out: the image is empty, constant or nothing but noise",
        "frc": "the ring correlation never falls below the threshold, or is below it from the start",
        "rolling_frc": "no block above the background crosses the threshold",
        "lpips": "no weights: name the VGG16 trunk and the linear heads with their sha256",
    }
)
"""Reason by metric: what a report writes where a figure is None."""
