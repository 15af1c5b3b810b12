"""`dimstream-train forecast`: the accuracy of the forecasts, on simulated movies of bleaching samples."""

from __future__ import annotations

import argparse
from pathlib import Path

from dimstream_models.shipped import find_bundle
from dimstream_models.training.commands import Commands


def add(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "forecast", help="measure the accuracy of forecasts of when a plane becomes suspect"
    )
    parser.add_argument("bundle", type=find_bundle, help="bundle: folder or zip")
    parser.add_argument("--out", type=Path, required=True, metavar="REPORT", help="folder for the report")
    parser.add_argument("--seed", type=int, default=20, help="seed of the movies (default: %(default)s)")
    parser.add_argument(
        "--movies",
        type=int,
        default=8,
        metavar="N",
        help="movies of each bleaching law, half of them from each simulator (default: %(default)s)",
    )
    parser.set_defaults(run_command=_run)


def _run(arguments: argparse.Namespace) -> None:
    from dimstream_models.bundle import read_bundle
    from dimstream_models.training.evaluation.writing import make_folder
    from dimstream_models.training.forecasting.forecast_errors import foresee
    from dimstream_models.training.forecasting.report import write_report

    bundle = read_bundle(arguments.bundle)
    make_folder(arguments.out)
    movies = foresee(bundle, arguments.out, movies=arguments.movies, seed=arguments.seed)
    print(f"{bundle.id} {bundle.sha256[:12]}, seed {arguments.seed}\n")
    print(write_report(movies, arguments.out))
    print(f"\nforecast.txt, forecast.json, forecast.png and movies.jsonl are in {arguments.out}")
