"""The model bundles that come with this package, so that a server and an analysis can start without any other
file."""

from os import PathLike
from pathlib import Path
from typing import Final

SHIPPED_MODEL: Final = "er-sted-light"
SHIPPED_GENERALIST: Final = "generalist-sted-light"
SHIPPED_SEGMENTER: Final = "er-segmenter-light"

__all__ = [
    "SHIPPED_GENERALIST",
    "SHIPPED_MODEL",
    "SHIPPED_SEGMENTER",
    "find_bundle",
    "shipped_bundle",
    "shipped_segmenter",
]


def shipped_bundle() -> Path:
    """Folder of the bundle `er-sted-light`, which was trained on simulated frames only."""
    return Path(__file__).parent / SHIPPED_MODEL


def shipped_segmenter() -> Path:
    """Folder of the bundle `er-segmenter-light`, which was trained on simulated frames only.

    It says of each pixel of a denoised frame of the ER whether it is background, tubule or sheet.
    """
    return Path(__file__).parent / SHIPPED_SEGMENTER


def find_bundle(place: str | PathLike[str], folder: Path = Path()) -> Path:
    """Return the path of a bundle that is given by its path, or by the name of one that ships.

    What is at the path comes first, so that a bundle of one's own may have the name of one that ships.

    Parameters
    ----------
    folder
        Where a relative path begins.
    """
    path = folder / place
    ships = str(place) in (SHIPPED_MODEL, SHIPPED_GENERALIST, SHIPPED_SEGMENTER)
    return Path(__file__).parent / place if ships and not path.exists() else path
