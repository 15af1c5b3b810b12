"""Tubules, sheets and gaps as connected pieces: their number, areas and perimeters, in px."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.measure import regionprops_table

from dimstream_models.analysis.labels import Labels, Mask, Structure

SIDES: Final = ndimage.generate_binary_structure(2, 1)
CORNERS: Final = ndimage.generate_binary_structure(2, 2)


@dataclass(frozen=True)
class Pieces:
    """The connected pieces of one kind in a frame.

    Parameters
    ----------
    numbers : (H, W) int32
        The piece of each pixel, from 1 on; 0 is none.
    area_px, perimeter_px : (n,) float
    middle : (n, 2) float
        Mean position (y, x), px.
    """

    numbers: NDArray[np.int32]
    area_px: NDArray[np.float64]
    perimeter_px: NDArray[np.float64]
    middle: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.area_px)


def tubes_of(labels: Labels) -> Pieces:
    """Return the pieces of tubules of labels (H, W); pieces also connect at corners."""
    return pieces_of(labels == Structure.TUBULE, CORNERS)


def sheets_of(labels: Labels) -> Pieces:
    """Return the pieces of sheets of labels (H, W); pieces also connect at corners."""
    return pieces_of(labels == Structure.SHEET, CORNERS)


def gaps_of(labels: Labels) -> Pieces:
    """Return the pieces of background of labels (H, W) that the ER encloses; they connect at sides only."""
    numbers, count = ndimage.label(labels == Structure.BACKGROUND, SIDES)
    open_ones = np.unique(np.concatenate([numbers[0], numbers[-1], numbers[:, 0], numbers[:, -1]]))
    closed = np.ones(count + 1, bool)
    closed[[0, *open_ones]] = False
    return pieces_of(closed[numbers], SIDES)


def pieces_of(mask: Mask, touching: NDArray[Any]) -> Pieces:
    """Return the connected pieces of a mask (H, W)."""
    numbers, _ = ndimage.label(mask, touching, output=np.int32)
    found = regionprops_table(numbers, properties=("area", "perimeter_crofton", "centroid"))
    middle = np.stack([found["centroid-0"], found["centroid-1"]], axis=-1)
    return Pieces(numbers, np.asarray(found["area"], float), found["perimeter_crofton"], middle)


def area_figures(labels: Labels, *, tubes: Pieces, sheets: Pieces, gaps: Pieces) -> dict[str, float | None]:
    """Return the figures of `er_figures.AREAS`, except SSIM, of labels (H, W), in px."""
    er = int(np.count_nonzero(labels))
    figures: dict[str, float | None] = {
        "foreground": er / labels.size,
        "tubule_fraction": tubes.area_px.sum() / er if er else None,
        "sheet_fraction": sheets.area_px.sum() / er if er else None,
    }
    for name, pieces in (("tubes", tubes), ("sheets", sheets), ("gaps", gaps)):
        figures[name] = len(pieces)
        figures[f"{name}_area"] = float(pieces.area_px.mean()) if len(pieces) else None
        figures[f"{name}_perimeter"] = float(pieces.perimeter_px.mean()) if len(pieces) else None
    return figures
