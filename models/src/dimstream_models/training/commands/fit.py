"""`dimstream-train fit`: train, or continue a run that was stopped."""

from __future__ import annotations

import argparse
from pathlib import Path

from dimstream_models.shipped import find_bundle
from dimstream_models.training.commands import Commands


def add(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser("fit", help="train, or continue a run that was stopped")
    parser.add_argument("recipe", type=Path, help="YAML file of settings")
    parser.add_argument("--run", type=Path, required=True, help="folder for checkpoints and the loss curve")
    parser.add_argument("--device", default="cpu", help="device: cpu, cuda or cuda:N (default: cpu)")
    parser.add_argument(
        "--split-photons",
        action="store_true",
        help="train without clean images, by splitting the photons of the low-dose images",
    )
    parser.add_argument(
        "--from",
        dest="start",
        type=find_bundle,
        metavar="BUNDLE",
        help=(
            "start from this bundle's weights; the recipe must have the same normalisation, and the same "
            "network or a wider one"
        ),
    )
    parser.add_argument("--tensorboard", action="store_true", help="write TensorBoard's log as well")
    parser.set_defaults(run_command=_run)


def _run(arguments: argparse.Namespace) -> None:
    from dimstream_models.bundle import read_bundle
    from dimstream_models.training.fitting.trainer import fit
    from dimstream_models.training.settings import read_recipe

    recipe = read_recipe(arguments.recipe)
    if arguments.split_photons:
        recipe = recipe.with_split_photons()
    start = None if arguments.start is None else read_bundle(arguments.start)
    try:
        fit(recipe, arguments.run, device=arguments.device, tensorboard=arguments.tensorboard, start=start)
    except KeyboardInterrupt:
        best = arguments.run / "best.pt"
        so_far = f"; its best network so far is {best}" if best.exists() else ""
        print(f"give the same command to continue {arguments.run}{so_far}")
        raise
    print(f"{arguments.run} is finished: its best network is in best.pt")
