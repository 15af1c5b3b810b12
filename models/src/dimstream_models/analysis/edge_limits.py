"""Upper bounds of the overlap of found and true ER, because of pixels at the edge and of any threshold."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy import ndimage

from dimstream_models.analysis.labels import Mask
from dimstream_models.bundle.schema import Confined

_THRESHOLDS: Final = 199


class EdgeBounds(Confined):
    """Overlap of the true ER with itself when its edge moves by half a pixel, so half of the edge pixels
    differ.

    Parameters
    ----------
    world : str
    outward, inward : float
        Intersection over union with the ER whose edge is half a pixel further out, or further in.
    at_edge : float
        Pixels at the edge, on both sides of it, as a share of the ER's pixels.
    """

    world: str
    outward: float = Field(ge=0, le=1)
    inward: float = Field(ge=0, le=1)
    at_edge: float = Field(ge=0)


def edge_pixels(er: Mask) -> Mask:
    """Return the pixels (H, W) that have a neighbour on the other side of the edge of a mask (H, W)."""
    return np.asarray(ndimage.binary_dilation(er) & ~ndimage.binary_erosion(er, border_value=1))


def edge_bounds(world: str, masks: list[Mask]) -> EdgeBounds:
    """Return the bounds for masks of the true ER, each (H, W)."""
    er = sum(int(mask.sum()) for mask in masks)
    outside = sum(int((edge_pixels(mask) & ~mask).sum()) for mask in masks)
    inside = sum(int((edge_pixels(mask) & mask).sum()) for mask in masks)
    return EdgeBounds(
        world=world,
        outward=er / (er + outside / 2),
        inward=(er - inside / 2) / er,
        at_edge=(outside + inside) / er,
    )


def best_threshold(image: NDArray[Any], er: Mask) -> Mask:
    """Return where the image (H, W) is above the threshold that agrees best with the true ER, (H, W).

    The best threshold requires the truth, so no program can use it. It is an upper bound for one threshold.
    """
    thresholds = np.append(np.unique(np.quantile(image, np.linspace(0, 1, _THRESHOLDS)))[::-1], -np.inf)
    true = np.sort(image[er])
    every = np.sort(image, axis=None)
    both = len(true) - np.searchsorted(true, thresholds, side="right")
    found = len(every) - np.searchsorted(every, thresholds, side="right")
    overlap = both / np.maximum(found + len(true) - both, 1)
    return np.asarray(image > thresholds[overlap.argmax()])


def bounds_table(bounds: list[EdgeBounds]) -> str:
    """Return the bounds as a Markdown table."""
    lines = [
        "| frames | edge half a pixel out, IoU | half a pixel in, IoU | pixels at the edge, of the ER's |",
        "|---|---|---|---|",
    ]
    lines += [f"| {b.world} | {b.outward:.3f} | {b.inward:.3f} | {b.at_edge:.3f} |" for b in bounds]
    return "\n".join(lines)
