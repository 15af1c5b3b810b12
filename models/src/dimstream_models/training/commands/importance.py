"""`dimstream-train importance`: which settings matter in a search, and which of their values are best."""

from __future__ import annotations

import argparse
from pathlib import Path

from dimstream_models.training.commands import Commands


def add(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "importance", help="show which settings of a search matter, and which of their values are best"
    )
    parser.add_argument("study", type=Path, help="folder of a study of `search`")
    parser.add_argument("--out", type=Path, required=True, help="folder for the chart and the tables")
    parser.set_defaults(run_command=_run)


def _run(arguments: argparse.Namespace) -> None:
    from dimstream_models.training.search.importance import measure_importance, write_importance
    from dimstream_models.training.search.study import read_trials

    found = measure_importance(read_trials(arguments.study))
    write_importance(found, arguments.out)
    print(found.verdict)
    for knob in found.knobs:
        best = max(knob.values, key=lambda each: each.expected_score or 0.0)
        suits = f"{best.value} is best" if len(knob.values) > 1 else f"only {best.value} was tried"
        print(
            f"{knob.knob}: permutation {knob.permutation:.3f} ± {knob.permutation_spread:.3f}, impurity"
            f" {knob.impurity:.3f}; {suits}"
        )
    print(f"{arguments.out}: importance.png, importance.csv, suitability.csv")
