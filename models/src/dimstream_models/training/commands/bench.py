"""`dimstream-train bench`: how fast training and its figures of merit are here, and what memory they need."""

from __future__ import annotations

import argparse
from pathlib import Path

from dimstream_models.training.commands import Commands


def add(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser("bench", help="measure how fast training is here, and what memory it needs")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FOLDER", help="where results.json and results.md go"
    )
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N (default: cpu)")
    parser.add_argument("--quick", action="store_true", help="only show that it runs")
    parser.set_defaults(run_command=_run)


def _run(arguments: argparse.Namespace) -> None:
    from dimstream_models.training.benchmarks.measuring import measure
    from dimstream_models.training.benchmarks.report import TABLE, as_markdown, write_results
    from dimstream_models.training.fitting.device import require_device

    results = measure(require_device(arguments.device), quick=arguments.quick)
    write_results(results, arguments.out)
    print(as_markdown(results))
    print(f"written to {arguments.out / TABLE} and, in full, next to it")
