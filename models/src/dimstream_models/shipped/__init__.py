"""The model bundles that come with this package, so that a server and an analysis can start without any other
file."""

from pathlib import Path
from typing import Final

SHIPPED_MODEL: Final = "er-sted-light"
SHIPPED_SEGMENTER: Final = "er-segmenter-light"

__all__ = ["SHIPPED_MODEL", "SHIPPED_SEGMENTER", "shipped_bundle", "shipped_segmenter"]


def shipped_bundle() -> Path:
    """Folder of the bundle `er-sted-light`, which was trained on simulated frames only."""
    return Path(__file__).parent / SHIPPED_MODEL


def shipped_segmenter() -> Path:
    """Folder of the bundle `er-segmenter-light`, which was trained on simulated frames only.

    It says of each pixel of a denoised frame of the ER whether it is background, tubule or sheet.
    """
    return Path(__file__).parent / SHIPPED_SEGMENTER
