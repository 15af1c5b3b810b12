"""`dimstream-train audit`: tests a bundle's flags, on simulated movies with known truth and on recorded
ones."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

from dimstream_models.shipped import find_bundle
from dimstream_models.training.commands import Commands


def add(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "audit",
        help="measure the accuracy of a bundle's flags, on movies of two simulators and on recorded movies",
    )
    parser.add_argument("bundle", type=find_bundle, help="bundle: folder or zip")
    parser.add_argument(
        "--signal", type=Path, nargs="+", default=[], metavar="MOVIE", help="recorded movies of a sample"
    )
    parser.add_argument(
        "--dark", type=Path, nargs="+", default=[], metavar="MOVIE", help="recorded movies without a sample"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="REPORT", help="folder for the report")
    parser.add_argument(
        "--seed", type=int, default=0, help="seed of the simulated movies (default: %(default)s)"
    )
    parser.add_argument(
        "--movies",
        type=int,
        default=2,
        metavar="N",
        help="movies of each condition and simulator (default: %(default)s)",
    )
    parser.add_argument(
        "--split-every",
        type=int,
        default=4,
        metavar="N",
        help="split the photons of every N-th frame; 0: never (default: %(default)s)",
    )
    parser.add_argument("--quick", action="store_true", help="only check that the command runs")
    parser.set_defaults(run_command=_run)


def _run(arguments: argparse.Namespace) -> None:
    from dimstream_models.bundle import read_bundle
    from dimstream_models.training.audit.auditing import AuditSettings, run_audit
    from dimstream_models.training.audit.goals import goals
    from dimstream_models.training.audit.writing import REPORT, write_audit
    from dimstream_models.training.evaluation.writing import make_folder

    settings = AuditSettings(
        seed=arguments.seed,
        movies=arguments.movies,
        split_every=arguments.split_every,
        quick=arguments.quick,
    )
    bundle = read_bundle(arguments.bundle)
    make_folder(arguments.out)
    audit = run_audit(bundle, settings, signal=arguments.signal, dark=arguments.dark)
    figures = write_audit(audit, arguments.out, command=_command(arguments))
    for goal in goals(figures, with_split=bundle.thresholds.split is not None):
        measured = "no data to measure it" if goal.value is None else f"{goal.value:.4g}"
        words = {None: "", True: ": reached", False: ": not reached"}[goal.reached]
        print(f"{goal.name}, {goal.bound}: {measured}{words}")
    print(arguments.out / REPORT)


def _command(arguments: argparse.Namespace) -> str:
    """Return the command line that repeats the audit."""
    parts = ["dimstream-train", "audit", str(arguments.bundle)]
    for name in ("signal", "dark"):
        if files := getattr(arguments, name):
            parts += [f"--{name}", *map(str, files)]
    parts += ["--out", str(arguments.out), "--seed", str(arguments.seed), "--movies", str(arguments.movies)]
    parts += ["--split-every", str(arguments.split_every), *["--quick"] * arguments.quick]
    return shlex.join(parts)
