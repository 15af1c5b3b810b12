"""`dimstream-train error-bar-check`: how many true values are within a bundle's error bars."""

from __future__ import annotations

import argparse
from pathlib import Path

from dimstream_models.shipped import find_bundle
from dimstream_models.training.commands import Commands


def add(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "error-bar-check",
        help="measure how many true values are within a bundle's error bars, in bins of dose",
    )
    parser.add_argument("bundle", type=find_bundle, help="bundle with an error bar: folder or zip")
    parser.add_argument("--out", type=Path, required=True, help="folder for the tables and the picture")
    parser.add_argument(
        "--movies",
        type=Path,
        nargs="+",
        default=[],
        metavar="MOVIE",
        help="recorded movies, checked with photons set aside",
    )
    parser.add_argument(
        "--frames", type=int, default=300, help="simulated frames of each simulator (default: %(default)s)"
    )
    parser.add_argument(
        "--seed", type=int, default=1, help="seed of frames and photons (default: %(default)s)"
    )
    parser.set_defaults(run_command=_run)


def _run(arguments: argparse.Namespace) -> None:
    from dimstream_models.bundle import read_bundle
    from dimstream_models.training.error_bars.checking import check_error_bars

    bundle = read_bundle(arguments.bundle)
    found = check_error_bars(
        bundle, arguments.out, recorded=arguments.movies, frames=arguments.frames, seed=arguments.seed
    )
    print(f"{bundle.id} {bundle.sha256[:12]}, seed {arguments.seed}\n")
    print(found.text)
    print(f"\nerror_bars.txt, .csv, .json and .png are in {arguments.out}")
