"""`dimstream-train importance`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dimstream_models.training.commands import Commands


def add(commands: Commands) -> None:
    """Add the command to the parser."""
