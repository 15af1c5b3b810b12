"""`dimstream-train bench`: speed and memory of training and of image metrics on this machine."""

from __future__ import annotations

import argparse
from pathlib import Path

from dimstream_models.training.commands import Commands


def add(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser("bench", help="measure the speed and memory of training on this machine")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FOLDER", help="folder for results.json and results.md"
    )
    parser.add_argument("--device", default="cpu", help="device: cpu, cuda or cuda:N (default: cpu)")
    parser.add_argument("--quick", action="store_true", help="only check that the command runs")
    parser.set_defaults(run_command=_run)


def _run(arguments: argparse.Namespace) -> None:
    from dimstream_models.training.benchmarks.measuring import measure
    from dimstream_models.training.benchmarks.report import TABLE, as_markdown, write_results
    from dimstream_models.training.fitting.device import require_device

    results = measure(require_device(arguments.device), quick=arguments.quick)
    write_results(results, arguments.out)
    print(as_markdown(results))
    print(f"written to {arguments.out / TABLE}, with full results next to it")
