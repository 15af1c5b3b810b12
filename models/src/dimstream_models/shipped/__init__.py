"""The model bundle that comes with this package, so that a server can start without any other file."""

from pathlib import Path
from typing import Final

SHIPPED_MODEL: Final = "er-sted-light"

__all__ = ["SHIPPED_MODEL", "shipped_bundle"]


def shipped_bundle() -> Path:
    """Folder of the bundle `er-sted-light`, which was trained on simulated frames only."""
    return Path(__file__).parent / SHIPPED_MODEL
