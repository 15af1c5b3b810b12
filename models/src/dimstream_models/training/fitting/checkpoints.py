"""Files that a kill at any moment leaves whole: the old one or the new one, never a part of either."""

from __future__ import annotations

import io
import os
import pickle
from pathlib import Path
from typing import Any

import torch

from dimstream_models.training.errors import CheckpointMismatch

BEST = "best.pt"  # the network with the lowest validation loss
LAST = "last.pt"  # network, optimiser, history: where a stopped run goes on


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that a kill, or a power cut, leaves the old or the new content."""
    partial = path.with_name(f"{path.name}.partial")
    with partial.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def save(state: Any, path: Path) -> None:
    """Write tensors and plain values as a checkpoint."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    write_whole(path, buffer.getvalue())


def load(path: Path, device: torch.device | str = "cpu") -> Any:
    """Return what `save` wrote.

    Raises
    ------
    CheckpointMismatch
        When there is no such file, or it is no checkpoint.
    """
    try:
        return torch.load(path, map_location=device, weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise CheckpointMismatch(f"expected a checkpoint at {path}, got: {error}") from error
