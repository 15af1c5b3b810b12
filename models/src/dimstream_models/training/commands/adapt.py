"""`dimstream-train adapt`: a bundle for the user's own sample, from its movie alone."""

from __future__ import annotations

import argparse
from pathlib import Path

from dimstream_models.shipped import find_bundle
from dimstream_models.training.commands import Commands, positive, print_warnings


def add(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "adapt", help="fit a bundle to your own movies of photon counts, without clean images, if it helps"
    )
    parser.add_argument("bundle", type=find_bundle, help="to begin with; it stays as it is")
    parser.add_argument("movies", type=Path, nargs="+", metavar="MOVIE", help="of one sample, in order")
    parser.add_argument("--out", type=Path, required=True, help="folder of the new bundle")
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--minutes", type=positive, default=3.0, help="of training (default: 3)")
    length.add_argument(
        "--steps", type=int, help="of training, instead of minutes: the same on every machine"
    )
    parser.add_argument("--seed", type=int, default=0, help="of everything random (default: 0)")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N (default: cpu)")
    parser.set_defaults(run_command=_run)


def _run(arguments: argparse.Namespace) -> None:
    from dimstream_models.training.adapting.adaptation import Wanted, adapt

    wanted = Wanted(
        minutes=arguments.minutes, steps=arguments.steps, seed=arguments.seed, device=arguments.device
    )
    try:
        made = adapt(arguments.bundle, arguments.movies, arguments.out, wanted)
    except KeyboardInterrupt:
        print(f"the same command goes on with {arguments.out}.run")
        raise
    print(f"{made.bundle.id} {made.bundle.sha256[:12]} in {arguments.out}, after {made.steps} steps")
    print("against the bundle that it began with, on frames and photons that never trained:")
    for line in made.decision.lines():
        print(line)
    print_warnings(arguments.out)
