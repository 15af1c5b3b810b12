"""A movie's figures over time as one picture, as in the paper's figure 3, and its persistence map."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from numpy.typing import NDArray

CURVES: Final[tuple[tuple[str, Mapping[str, str]], ...]] = (
    ("share of the ER", {"tubule_fraction": "tubules", "sheet_fraction": "sheets"}),
    ("nodes", {"free_ends": "free ends", "degree_3": "3-way", "degree_4": "4-way"}),
    ("number", {"tubes": "tubes", "sheets": "sheets", "gaps": "gaps"}),
    ("ER, share of the frame", {"foreground": "ER"}),
    ("SSIM with the frame before", {"ssim": "SSIM"}),
)


def draw_movie(frames: Mapping[str, list[Any]], persistence: NDArray[np.float32]) -> bytes:
    """Return a picture (PNG): figures over time, interrupted where frames are missing, and a persistence map.

    Parameters
    ----------
    frames : dict of str to list
        Columns of the table `frames`.
    persistence : (H, W) float32
        Share of the frames in which a pixel was ER.
    """
    canvas = Canvas(figsize=(15, 8), layout="constrained")
    axes = canvas.subplots(2, 3).ravel()
    timed = all(time is not None for time in frames["time_s"])
    across = np.array(frames["time_s" if timed else "frame"], float) / (60 if timed else 1)
    for ax, (label, curves) in zip(axes, CURVES, strict=False):
        _draw_curves(ax, across, frames, curves)
        ax.set_ylabel(label)
        ax.set_xlabel("minutes" if timed else "frame")
    image = axes[-1].imshow(persistence, vmin=0, vmax=1, cmap="magma")
    axes[-1].set_title("share of the frames in which a pixel is ER", fontsize=10)
    axes[-1].set_axis_off()
    canvas.colorbar(image, ax=axes[-1])
    file = io.BytesIO()
    canvas.savefig(file, format="png", dpi=80)
    return file.getvalue()


def _draw_curves(
    ax: Axes, across: NDArray[np.float64], frames: Mapping[str, list[Any]], curves: Mapping[str, str]
) -> None:
    for column, name in curves.items():
        values = np.array([np.nan if value is None else value for value in frames[column]], float)
        ax.plot(across, values, linewidth=0.9, label=name, marker="." if len(across) < 100 else None)
    if len(curves) > 1:
        ax.legend(fontsize=8)
