"""Starts of `dimstream-train` that do not import torch again."""

from collections.abc import Sequence
from pathlib import Path

import torch
from forked import Forked, forked

from dimstream_models.training.cli import main
from dimstream_models.training.fitting import trainer  # noqa: F401  # it is imported here, once
from dimstream_models.training.search import protocol  # noqa: F401

_HERE = "training.forked_training"


def start_training(words: Sequence[str], *, out: Path) -> Forked:
    """Start `dimstream-train` with these words, on one thread; what it says is appended to `out`."""
    return forked(_HERE).start(f"{_HERE}:main_on_one_thread", words, out=out)


def main_on_one_thread(words: list[str]) -> int:
    """The command, in a process that was forked for it; sums in another order have other last digits."""
    torch.set_num_threads(1)
    return main(words)
