"""Pictures of a z-stack: orthogonal slices, as figure 4A of the paper shows them, and a projection.

Stacks are (Z, H, W), pictures (H, W) uint8. Planes are drawn with their real thickness in units of the pixel
size, `aspect` = z step / pixel size. They are drawn by nearest neighbour, without interpolation.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

__all__ = [
    "Brightness",
    "Contrast",
    "Place",
    "middle",
    "orthogonal",
    "plane_of_rows",
    "png_bytes",
    "projection",
]

LOW_SHARE: Final = 0.001
HIGH_SHARE: Final = 0.999
"""Quantiles of the counts that are drawn black and white, respectively."""
SAMPLED_PIXELS: Final = 2**22
"""The quantiles are exact up to this number of pixels; for larger series about this number is sampled."""
GAP_PX: Final = 6
GAP_GREY: Final = 64
"""Grey value of the gap between the panels; white ticks in it show the positions of the slices."""
WHITE: Final = 255
DIMMED: Final = 0.4
"""Relative brightness of planes outside the crop."""
MAX_DEPTH_PX: Final = 16_384
"""Largest number of rows of a side view."""

Image = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Contrast:
    """Counts that are drawn black and white; the same for all panels and time points, so that they are
    comparable."""

    black: float
    white: float

    def drawn(self, counts: npt.NDArray[Any]) -> Image:
        """Return the grey values of (H, W) counts, 0 to 255 as uint8."""
        span = self.white - self.black
        if not span > 0:
            return np.zeros(counts.shape, np.uint8)
        grey = (counts.astype(np.float32) - self.black) * (WHITE / span)
        drawn: Image = np.rint(np.clip(grey, 0, WHITE)).astype(np.uint8)
        return drawn


class Brightness:
    """Calculates the contrast of a series from its frames.

    Parameters
    ----------
    frames : int
        Number of frames.
    shape : tuple of int
        (H, W) of each.
    """

    def __init__(self, frames: int, shape: tuple[int, int]) -> None:
        step = max(1, math.ceil(frames * shape[0] * shape[1] / SAMPLED_PIXELS))
        while math.gcd(step, shape[1]) > 1:  # else the same columns would be taken of each row
            step += 1
        self._step = step
        self._samples: list[npt.NDArray[Any]] = []

    def add(self, frame: npt.NDArray[Any]) -> None:
        """Add a frame, (H, W) counts."""
        self._samples.append(frame.reshape(-1)[:: self._step].astype(np.float32))

    def contrast(self) -> Contrast:
        """Return the contrast of the frames so far."""
        black, white = np.quantile(np.concatenate(self._samples), [LOW_SHARE, HIGH_SHARE])
        return Contrast(float(black), float(white))


@dataclass(frozen=True)
class Place:
    """Position of the slices: plane z, row y and column x."""

    plane: int
    row: int
    column: int


def middle(shape: tuple[int, ...], kept: Sequence[bool] | None = None) -> Place:
    """Return the middle of a stack (Z, H, W), in depth the middle of the kept planes."""
    planes = [z for z in range(shape[0]) if kept is None or kept[z]] or list(range(shape[0]))
    return Place(planes[len(planes) // 2], shape[1] // 2, shape[2] // 2)


def orthogonal(
    stack: npt.NDArray[Any],
    place: Place,
    contrast: Contrast,
    *,
    aspect: float = 1.0,
    kept: Sequence[bool] | None = None,
) -> Image:
    """Return a picture of the slices through one position: xy, right of it yz, and below it xz.

    Parameters
    ----------
    stack : ndarray
        (Z, H, W) counts.
    aspect : float
        z step / pixel size.
    kept : sequence of bool, optional
        By z: planes that are not kept are dimmed, and a line marks the limits of the kept ones.

    Raises
    ------
    ValueError
        When the position is outside the stack, or the side views would have too many rows.
    """
    _check_place(stack.shape, place)
    height, width = stack.shape[1:]
    planes = plane_of_rows(len(stack), aspect)
    shown = [True] * len(stack) if kept is None else list(kept)
    right, below = width + GAP_PX, height + GAP_PX
    canvas = np.full((below + len(planes), right + len(planes)), GAP_GREY, np.uint8)
    front = contrast.drawn(stack[place.plane])
    canvas[:height, :width] = front if shown[place.plane] else _dimmed(front)
    canvas[below:, :width] = _side(contrast.drawn(stack[:, place.row]), planes, shown)
    canvas[:height, right:] = _side(contrast.drawn(stack[:, :, place.column]), planes, shown).T
    _add_ticks(canvas[height:below], canvas[:, width:right], place, planes == place.plane)
    return canvas


def projection(stack: npt.NDArray[Any], contrast: Contrast, *, kept: Sequence[bool] | None = None) -> Image:
    """Return the maximum along z of the kept planes; of all planes if none is kept.

    Parameters
    ----------
    stack : ndarray
        (Z, H, W) counts.
    kept : sequence of bool, optional
        By z. A projection does not show the plane of a pixel, so untrusted planes are left out.
    """
    chosen = stack[np.asarray(kept, bool)] if kept is not None and any(kept) else stack
    return contrast.drawn(chosen.max(axis=0))


def png_bytes(image: Image) -> bytes:
    """Return a grey PNG of (H, W) uint8 values; needs the extra ``tiff``."""
    import imagecodecs  # only here: the rest needs numpy alone

    return bytes(imagecodecs.png_encode(np.ascontiguousarray(image)))


def _check_place(shape: tuple[int, ...], place: Place) -> None:
    for name, at, length in zip(("plane", "row", "column"), (place.plane, place.row, place.column), shape):
        if not 0 <= at < length:
            raise ValueError(f"expected a {name} from 0 to {length - 1}, got {at}; name one that is there")


def plane_of_rows(n_planes: int, aspect: float) -> npt.NDArray[np.intp]:
    """Return the plane that each row of a side view shows, (H,) indices along z.

    Raises
    ------
    ValueError
        When there would be more than `MAX_DEPTH_PX` rows.
    """
    depth = n_planes * aspect
    if not 0 < depth <= MAX_DEPTH_PX:
        raise ValueError(
            f"expected side views of up to {MAX_DEPTH_PX} rows, got {n_planes} planes of {aspect:g} pixels; "
            "check its z step and pixel size"
        )
    n_rows = max(round(depth), 1)
    return ((np.arange(n_rows) + 0.5) * (n_planes / n_rows)).astype(np.intp)


def _side(slices: Image, planes: npt.NDArray[np.intp], shown: Sequence[bool]) -> Image:
    """Return the side view (rows, W) of one line of each plane (Z, W), with a line in the first cropped
    row."""
    dark = ~np.asarray(shown, bool)
    view: Image = np.where(dark[:, None], _dimmed(slices), slices)[planes]
    trusted = np.flatnonzero(~dark[planes])
    if len(trusted):
        for row in (trusted[0] - 1, trusted[-1] + 1):
            if 0 <= row < len(view):
                view[row] = WHITE
    return view


def _dimmed(image: Image) -> Image:
    return (image * np.float32(DIMMED)).astype(np.uint8)


def _add_ticks(under: Image, beside: Image, place: Place, of_plane: npt.NDArray[np.bool_]) -> None:
    """Draw white ticks in the gaps below and next to the front view."""
    under[:, place.column] = WHITE
    beside[place.row] = WHITE
    depth = len(of_plane)
    under[:, -depth:][:, of_plane] = WHITE
    beside[-depth:][of_plane] = WHITE
