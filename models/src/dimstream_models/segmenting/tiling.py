"""A network on a frame of any size: padded to a valid size, and in tiles if it is large."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dimstream_models.arithmetic import edge_pad

TILE_PX: Final = 1024
Network = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""From (1, 1, y, x) to (1, C, y, x); sides are multiples of the step."""


def in_tiles(
    network: Network, image: NDArray[Any], *, step: int, halo_px: int, tile_px: int = TILE_PX
) -> NDArray[np.float32]:
    """Return a network's output for an image (H, W): (C, H, W) float32.

    Frames larger than a tile with its halo are processed in parts, which bounds the memory. Parts begin at
    multiples of the step and are enlarged by the halo, so they equal the whole except for rounding.

    Parameters
    ----------
    step : int
        The network accepts sides that are multiples of this, px; the last row and column are repeated.
    halo_px : int
        Largest distance, px, at which a pixel affects another one's result.
    tile_px : int
        Side of a part, px.
    """
    height, width = image.shape
    padded = edge_pad(image.astype(np.float32), step)
    tile, halo = (-(-each // step) * step for each in (tile_px, halo_px))
    tops, lefts = (_parts(side, tile, halo) for side in padded.shape)
    rows = [
        np.concatenate([_part(network, padded, down, across) for across in lefts], axis=2) for down in tops
    ]
    return np.concatenate(rows, axis=1)[:, :height, :width]


def _parts(side: int, tile: int, halo: int) -> list[tuple[slice, slice]]:
    """Return the windows along a side, including the halo, and the part of each that is kept."""
    if side <= tile + 2 * halo:
        return [(slice(0, side), slice(0, side))]
    parts = []
    for start in range(0, side, tile):
        low, high = max(0, start - halo), min(side, start + tile + halo)
        stop = min(side, start + tile)
        parts.append((slice(low, high), slice(start - low, stop - low)))
    return parts


def _part(
    network: Network, padded: NDArray[np.float32], down: tuple[slice, slice], across: tuple[slice, slice]
) -> NDArray[np.float32]:
    (rows, kept_rows), (columns, kept_columns) = down, across
    window = np.ascontiguousarray(padded[rows, columns])
    return network(window[None, None])[0, :, kept_rows, kept_columns]
