"""Checkpoints: tensors and plain values in files that are never partly written, even after a crash."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import torch

from dimstream_models.training.errors import CheckpointMismatch
from dimstream_models.whole_files import write_whole

BEST = "best.pt"  # the network with the lowest validation loss
LAST = "last.pt"  # network, optimiser, history: from here a stopped run continues


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
        When there is no such file, or it is not a checkpoint.
    """
    try:
        return torch.load(path, map_location=device, weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise CheckpointMismatch(f"expected a checkpoint at {path}, got: {error}") from error
