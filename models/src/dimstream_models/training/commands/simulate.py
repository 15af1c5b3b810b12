"""`dimstream-train simulate`: writes measurement days of simulated pairs, to learn or to test with."""

from __future__ import annotations

import argparse
from pathlib import Path

from dimstream_models.training.commands import Commands


def add(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "simulate", help="write simulated measurement days: pairs, a signal movie, a dark movie"
    )
    parser.add_argument("--out", type=Path, required=True, help="a new folder")
    parser.add_argument("--days", type=int, default=3, help="measurement days (default: %(default)s)")
    parser.add_argument(
        "--fields", type=int, default=8, help="fields of view on each day (default: %(default)s)"
    )
    parser.add_argument("--side", type=int, default=304, help="side of an image, px (default: %(default)s)")
    parser.add_argument(
        "--dose",
        type=float,
        default=1.0,
        help="photons per pixel on a tubule at low dose (default: %(default)s)",
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.set_defaults(run_command=_run)


def _run(arguments: argparse.Namespace) -> None:
    from dimstream_models.training.settings import SimulationSettings
    from dimstream_models.training.simulation.experiment import simulate_experiment

    simulate_experiment(
        arguments.out,
        days=arguments.days,
        fields=arguments.fields,
        side_px=arguments.side,
        dose=arguments.dose,
        seed=arguments.seed,
        settings=SimulationSettings(),
    )
    print(f"{arguments.days} days of {arguments.fields} pairs, signal.tif and dark.tif in {arguments.out}")
