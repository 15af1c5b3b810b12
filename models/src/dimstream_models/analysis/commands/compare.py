"""`dimstream-analyse compare`: cells of several conditions, compared by the paper's tests."""

from __future__ import annotations

import argparse
from pathlib import Path

from dimstream_models.analysis.commands import Commands
from dimstream_models.analysis.errors import CannotCompare


def add(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "compare", help="compare cells of several conditions: Mann-Whitney U tests with the paper's marks"
    )
    parser.add_argument(
        "--condition",
        action="append",
        nargs="+",
        required=True,
        metavar=("NAME", "FOLDER"),
        help=(
            "name of a condition and the folders of its cells, as `run` wrote them; give it once per "
            "condition"
        ),
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="folder for the two tables")
    parser.set_defaults(run_command=_run)


def _run(arguments: argparse.Namespace) -> None:
    from dimstream_models.analysis.experiment import (
        compare_conditions,
        comparison_text,
        read_cells,
        write_comparison,
    )

    conditions: dict[str, list[Path]] = {}
    for name, *folders in arguments.condition:
        if name in conditions or not folders:
            raise CannotCompare(f"expected each condition once, with folders of cells, got {name}")
        conditions[name] = [Path(folder) for folder in folders]
    cells = read_cells(conditions)
    comparisons = compare_conditions(cells)
    write_comparison(cells, comparisons, arguments.out)
    print(comparison_text(comparisons))
    print(f"\ncells.csv and comparison.csv (and .parquet) are in {arguments.out}")
