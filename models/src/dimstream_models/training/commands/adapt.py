"""`dimstream-train adapt`: adapts a bundle to the user's own sample, from movies of it."""

from __future__ import annotations

import argparse
from pathlib import Path

from dimstream_models.shipped import find_bundle
from dimstream_models.training.commands import Commands, positive, print_warnings


def add(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "adapt",
        help="adapt a bundle to your own movies of photon counts, without clean images, if this improves it",
    )
    parser.add_argument("bundle", type=find_bundle, help="bundle to start from; it is not changed")
    parser.add_argument(
        "movies", type=Path, nargs="+", metavar="MOVIE", help="movies of one sample, in order"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the new bundle")
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--minutes", type=positive, default=3.0, help="training time (default: 3)")
    length.add_argument(
        "--steps", type=int, help="training steps, instead of minutes: the same on every machine"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of everything random (default: 0)")
    parser.add_argument("--device", default="cpu", help="device: cpu, cuda or cuda:N (default: cpu)")
    parser.set_defaults(run_command=_run)


def _run(arguments: argparse.Namespace) -> None:
    from dimstream_models.training.adapting.adaptation import Wanted, adapt

    wanted = Wanted(
        minutes=arguments.minutes, steps=arguments.steps, seed=arguments.seed, device=arguments.device
    )
    try:
        made = adapt(arguments.bundle, arguments.movies, arguments.out, wanted)
    except KeyboardInterrupt:
        print(f"give the same command to continue {arguments.out}.run")
        raise
    print(f"{made.bundle.id} {made.bundle.sha256[:12]} in {arguments.out}, after {made.steps} steps")
    print("compared with the initial bundle, on frames and photons that were not used for training:")
    for line in made.decision.lines():
        print(line)
    print_warnings(arguments.out)
