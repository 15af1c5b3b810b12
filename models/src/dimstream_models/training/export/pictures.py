"""Pictures of a bundle: its cover, and a field of view as raw, restored and true image."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

BRIGHTEST = 0.998  # quantile that is white: a speck must not darken the rest


def draw_cover(raw: NDArray[Any], restored: NDArray[Any]) -> bytes:
    """Return a PNG with the raw image on the left and the restored one on the right, both (H, W)."""
    figure = Figure(figsize=(6, 3), facecolor="black")
    for place, image in enumerate((raw, restored)):
        axes = figure.add_axes((place / 2, 0, 0.495, 1))
        _show(axes, image)
    return _png(figure)


def draw_field(images: Mapping[str, NDArray[Any]]) -> bytes:
    """Return a PNG of several images (H, W) of one field of view side by side, each under its title."""
    figure = Figure(figsize=(3 * len(images), 3.2), layout="constrained")
    panels = figure.subplots(1, len(images), squeeze=False)[0]
    for axes, (title, image) in zip(panels, images.items(), strict=True):
        _show(axes, image)
        axes.set_title(title, fontsize=9)
    return _png(figure)


def _show(axes: Any, image: NDArray[Any]) -> None:
    white = float(np.quantile(image, BRIGHTEST))
    axes.imshow(image, cmap="magma", vmin=0, vmax=white if white > 0 else 1.0)
    axes.set_axis_off()


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100, metadata={"Software": None})
    return buffer.getvalue()
