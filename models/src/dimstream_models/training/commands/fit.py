"""`dimstream-train fit`: train, or go on with a run that was stopped."""

from __future__ import annotations

import argparse
from pathlib import Path

from dimstream_models.training.commands import Commands


def add(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser("fit", help="train, or go on with a run that was stopped")
    parser.add_argument("recipe", type=Path, help="YAML file of settings")
    parser.add_argument("--run", type=Path, required=True, help="folder for checkpoints and the loss curve")
    parser.add_argument("--device", default="cpu", help="torch device (default: cpu)")
    parser.set_defaults(run_command=_run)


def _run(arguments: argparse.Namespace) -> None:
    from dimstream_models.training.fitting.trainer import fit
    from dimstream_models.training.settings import read_recipe

    fit(read_recipe(arguments.recipe), arguments.run, device=arguments.device)
