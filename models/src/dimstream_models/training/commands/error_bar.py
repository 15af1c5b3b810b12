"""`dimstream-train error-bar`: adds a standard deviation for every pixel to a bundle."""

from __future__ import annotations

import argparse
from pathlib import Path

from dimstream_models.training.commands import Commands


def add(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "error-bar", help="add an error bar for every pixel to a bundle; its weights are not changed"
    )
    parser.add_argument("bundle", type=Path, help="folder or zip")
    parser.add_argument("--out", type=Path, help="new bundle: folder or zip (default: replaces the bundle)")
    parser.add_argument("--steps", type=int, default=700, help="steps of the fit (default: %(default)s)")
    parser.add_argument(
        "--frames", type=int, default=500, help="simulated frames for the fit (default: %(default)s)"
    )
    parser.add_argument(
        "--held-back",
        type=int,
        default=120,
        help="other simulated frames for the check (default: %(default)s)",
    )
    parser.add_argument(
        "--movies",
        type=Path,
        nargs="+",
        default=[],
        metavar="MOVIE",
        help="fit to photons set aside from these movies of photon counts, instead of simulated frames",
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of frames and fit (default: %(default)s)")
    parser.set_defaults(run_command=_run)


def _run(arguments: argparse.Namespace) -> None:
    from dimstream_models.training.error_bars.adding import Wanted, add_error_bar
    from dimstream_models.training.error_bars.coverage import as_text
    from dimstream_models.training.error_bars.fitting import Effort

    target = arguments.out or arguments.bundle
    wanted = Wanted(
        seed=arguments.seed,
        frames=arguments.frames,
        held_back=arguments.held_back,
        effort=Effort(steps=arguments.steps),
        movies=tuple(arguments.movies),
    )
    bundle, rows = add_error_bar(arguments.bundle, target, wanted)
    print(f"{bundle.id} {bundle.sha256[:12]} in {target}\n")
    print(
        as_text(rows)
        if rows
        else "it was not compared with any truth: see `dimstream-train error-bar-check --movies`"
    )
