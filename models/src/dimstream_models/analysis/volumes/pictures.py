"""Pictures of z-stacks: slices along three axes at several times, and a surface seen from above."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure as Canvas
from numpy.typing import NDArray

from dimstream_models.analysis.scale_bar import scale_bar
from dimstream_models.analysis.volumes.stacks import VolumeScale
from dimstream_models.analysis.volumes.surfaces import Surface

DPI: Final = 150
SIDE: Final = 3.4
"""Side of a slice xy, inches."""
TILT_DEGREES: Final = 40.0
LIGHT: Final = (-0.45, -0.45, 0.77)
COLOUR: Final = (0.25, 0.85, 0.75)


@dataclass(frozen=True)
class Slices:
    """Positions of the slices, counted from 0 in the file: plane, row and column."""

    plane: int
    row: int
    column: int


def draw_orthogonal(
    stacks: Mapping[int, NDArray[Any]],
    slices: Slices,
    contrast: tuple[float, float],
    scale: VolumeScale,
    *,
    first_plane: int,
) -> bytes:
    """Return slices of z-stacks, (Z, H, W) by time point, as PNG: xy, yz to the right of it, xz below it.

    All have the same contrast, and lines show where they intersect. Planes are as thick as in the sample.
    """
    depth, height, width = next(iter(stacks.values())).shape
    thick = depth * scale.z_step_um / scale.pixel_um
    columns = min(len(stacks), 4)
    rows = -(-len(stacks) // columns)
    size = (columns * SIDE * (width + thick) / width + 0.3, rows * SIDE * (height + thick) / width + 0.5)
    canvas = Canvas(figsize=size, layout="constrained")
    grid = canvas.add_gridspec(rows, columns)
    for number, (time, stack) in enumerate(stacks.items()):
        place = grid[divmod(number, columns)].subgridspec(
            2, 2, width_ratios=(width, thick), height_ratios=(height, thick), wspace=0.02, hspace=0.02
        )
        axes = [canvas.add_subplot(place[at]) for at in ((0, 0), (0, 1), (1, 0))]
        _draw_slices(axes, stack, slices, contrast, scale, first_plane)
        axes[0].set_title(scale.when(time), fontsize=9, loc="left")
    where = f"xy at plane {slices.plane}, yz at column {slices.column}, xz at row {slices.row}"
    canvas.suptitle(where, fontsize=9)
    return _png(canvas)


def draw_surface(surface: Surface, *, title: str) -> bytes:
    """Return a PNG of a surface, seen obliquely from above and lit from one side, with a scale bar."""
    turned = _turned(surface.vertices)
    faces = turned[surface.faces]  # (m, 3, 3)
    normals = _turned(surface.normals())
    seen = normals[:, 2] > 0
    order = np.argsort(faces[seen, :, 2].mean(axis=1))  # the nearest are drawn last
    light = np.array(LIGHT) / np.linalg.norm(LIGHT)
    shade = np.clip(0.25 + 0.75 * (normals[seen] @ light), 0.12, 1)[order, None] * np.array(COLOUR)
    flat = faces[seen][order, :, :2]
    extent = np.ptp(turned[:, :2], axis=0)
    size = (8, max(2.0, 8 * extent[1] / extent[0]) + 0.6)
    canvas = Canvas(figsize=size, layout="constrained", facecolor="black")
    ax = canvas.add_subplot(facecolor="black")
    ax.add_collection(PolyCollection(list(flat), facecolors=shade, edgecolors=shade, linewidths=0.15))
    _frame(ax, turned[:, :2].min(axis=0), turned[:, :2].max(axis=0))
    ax.set_title(title, color="white", fontsize=9, loc="left")
    return _png(canvas)


def _frame(ax: Any, low: NDArray[np.float64], high: NDArray[np.float64]) -> None:
    """Fit the view to a surface, with a scale bar below it."""
    width = float(high[0] - low[0])
    margin = 0.04 * width
    ax.set(xlim=(low[0] - margin, high[0] + margin), ylim=(low[1] - 2.2 * margin, high[1] + margin))
    ax.set_aspect("equal")
    ax.set_axis_off()
    bar = scale_bar(1000, width / 1000)
    if bar is not None:
        length = bar.length_px * width / 1000
        right, below = high[0], low[1] - margin
        ax.plot([right - length, right], [below, below], color="white", linewidth=3)
        look = {"color": "white", "fontsize": 9, "ha": "center", "va": "top"}
        ax.text(right - length / 2, below - 0.25 * margin, bar.text, **look)


def _draw_slices(
    axes: list[Any],
    stack: NDArray[Any],
    slices: Slices,
    contrast: tuple[float, float],
    scale: VolumeScale,
    first_plane: int,
) -> None:
    _, height, width = stack.shape
    plane, aspect = slices.plane - first_plane, scale.z_step_um / scale.pixel_um
    look: dict[str, Any] = {"cmap": "gray", "vmin": contrast[0], "vmax": contrast[1]}
    look["interpolation"] = "nearest"
    axes[0].imshow(stack[plane], **look)
    axes[1].imshow(stack[:, :, slices.column].T, aspect=1 / aspect, **look)
    axes[2].imshow(stack[:, slices.row], aspect=aspect, **look)
    line: dict[str, Any] = {"color": "#ffd400", "linewidth": 0.5, "alpha": 0.7}
    axes[0].axvline(slices.column, **line)
    axes[0].axhline(slices.row, **line)
    axes[1].axvline(plane, **line)
    axes[2].axhline(plane, **line)
    for ax in axes:
        ax.set(xticks=[], yticks=[])
    bar = scale_bar(width, scale.pixel_um)
    if bar is not None:
        right, low = 0.96 * width, 0.95 * height
        axes[0].plot([right - bar.length_px, right], [low, low], color="white", linewidth=2.5)
        middle = right - bar.length_px / 2
        axes[0].text(middle, low - 0.02 * height, bar.text, color="white", fontsize=7, ha="center")


def _turned(places: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return positions (n, 3) with x to the right, y upwards and z towards the viewer, tilted so that sides
    are visible."""
    x, y, z = (places.astype(np.float64) * (1, -1, 1)).T
    tilt = np.deg2rad(TILT_DEGREES)
    return np.stack([x, y * np.cos(tilt) + z * np.sin(tilt), z * np.cos(tilt) - y * np.sin(tilt)], axis=-1)


def _png(canvas: Canvas) -> bytes:
    file = io.BytesIO()
    canvas.savefig(file, format="png", dpi=DPI, facecolor=canvas.get_facecolor())
    return file.getvalue()
