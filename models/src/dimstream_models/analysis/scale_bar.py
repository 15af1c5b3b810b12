"""The length of a scale bar, for pictures and movies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

LENGTHS_UM: Final = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0)
LARGEST_SHARE: Final = 0.25


@dataclass(frozen=True)
class ScaleBar:
    """A scale bar.

    Parameters
    ----------
    length_px : float
    text : str
        Its length with the unit.
    """

    length_px: float
    text: str


def scale_bar(width_px: int, pixel_um: float | None) -> ScaleBar | None:
    """Return the scale bar for a picture: a round length, at most a quarter of the picture's width.

    None where the pixel size is unknown, or no round length fits.
    """
    if pixel_um is None:
        return None
    fitting = [length for length in LENGTHS_UM if length <= LARGEST_SHARE * width_px * pixel_um]
    return ScaleBar(fitting[-1] / pixel_um, f"{fitting[-1]:g} µm") if fitting else None
