"""`dimstream-train search`: the paper's hyperparameter search; it can be continued."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from dimstream_models.training.commands import Commands

if TYPE_CHECKING:
    from dimstream_models.training.search.workers import Workers
    from dimstream_models.training.settings import Recipe


def add(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "search", help="try many settings, score them on the validation day, train the best to convergence"
    )
    parser.add_argument(
        "recipe", type=Path, help="YAML file of settings; its section `search` is the protocol"
    )
    parser.add_argument(
        "--study", type=Path, required=True, help="folder of the study; an existing study is continued"
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--trials", type=_count, help="number of trials (default: the recipe's)")
    which.add_argument("--grid", action="store_true", help="try all combinations of settings")
    parser.add_argument(
        "--tpe", action="store_true", help="let Optuna's TPE propose settings with a better total score"
    )
    parser.add_argument("--device", default="cpu", help="device: cpu, cuda or cuda:N (default: cpu)")
    parser.add_argument(
        "--ray",
        metavar="ADDRESS",
        help="run on the Ray cluster at ADDRESS; `local` starts a cluster on this machine",
    )
    parser.set_defaults(run_command=_run)


def _run(arguments: argparse.Namespace) -> None:
    from dimstream_models.training.search.protocol import search

    recipe, folder = _recipe(arguments), arguments.study
    here = arguments.device if arguments.ray is None else "cpu"
    try:
        found = search(recipe, folder, device=here, workers=_workers(arguments))
    except KeyboardInterrupt:
        print(f"{folder} is kept, including unfinished runs: give the same command to continue")
        raise
    for place, run in enumerate(found.retrained, 1):
        print(f"{place}. {run.run}: {run.outcome}")
    print(f"{folder}: report.html, trials.csv, best.csv")


def _recipe(arguments: argparse.Namespace) -> Recipe:
    from dimstream_models.training.errors import InvalidRecipe
    from dimstream_models.training.settings import read_recipe

    recipe = read_recipe(arguments.recipe)
    if arguments.grid and arguments.tpe:
        raise InvalidRecipe("expected --grid or --tpe, got both: leave one out")
    sampler = "grid" if arguments.grid else "tpe" if arguments.tpe else recipe.search.sampler
    changes = {"sampler": sampler, "trials": arguments.trials or recipe.search.trials}
    return recipe.model_copy(update={"search": recipe.search.model_copy(update=changes)})


def _workers(arguments: argparse.Namespace) -> Workers | None:
    if arguments.ray is None:
        return None
    from dimstream_models.training.search.ray_cluster import RayCluster

    return RayCluster(arguments.ray, device=arguments.device)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a number of trials, 1 or more, got {text}")
    return int(text)
