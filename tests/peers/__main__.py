"""`make peers`: dimstream and other servers in turns, on the same frames, graph and threads; a table.

    PYTHONPATH=tests python -m peers --out peers

The exit code is 0 when there are figures, 1 when a peer failed in the middle, 2 when it cannot run.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from dimstream_server.benchmarks.errors import BenchmarkError
from dimstream_server.benchmarks.machine import describe_machine
from peers.contenders import CONTENDERS, Contender
from peers.environments import NotInstalled, python_of, versions_in
from peers.measuring import LAP_FRAMES, measure
from peers.running import OUR_PYTHON, PeerFailed
from peers.tables import NetworkFigures, write_tables

FAILED, CANNOT_RUN = 1, 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Install, measure network after network, write; return the exit code."""
    asked = _parser().parse_args(arguments)
    asked.out.mkdir(parents=True, exist_ok=True)
    machine = describe_machine("cpu")
    pythons, versions, left_out = _installed(asked.peers, asked.environments)
    tables: list[NetworkFigures] = []
    try:
        for network in asked.networks:
            tables.append(measure(network, pythons, left_out, asked.rounds, LAP_FRAMES[network]))
            print(write_tables(asked.out, machine, versions, tables), flush=True)
    except (BenchmarkError, PeerFailed) as error:
        print(f"make peers: {error}", file=sys.stderr)
        return FAILED
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="make peers", description=__doc__.splitlines()[0])
    names = [one.name for one in CONTENDERS]
    add = parser.add_argument
    add("--out", type=Path, default=Path("peers"), metavar="FOLDER")
    add("--environments", type=Path, default=Path(".venv-peers"), metavar="FOLDER")
    add("--rounds", type=int, default=10, metavar="N", help="laps of each way")
    add("--networks", nargs="+", choices=tuple(LAP_FRAMES), default=list(LAP_FRAMES))
    add("--peers", nargs="+", choices=names, default=names, help="who takes part")
    return parser


def _installed(
    names: Sequence[str], folder: Path
) -> tuple[dict[Contender, Path], dict[str, str], dict[str, str]]:
    """Python of each contender, versions to be shown, and why others take no part."""
    pythons: dict[Contender, Path] = {}
    versions: dict[str, str] = {}
    left_out: dict[str, str] = {}
    for one in (contender for contender in CONTENDERS if contender.name in names):
        try:
            pythons[one] = OUR_PYTHON if one.environment is None else python_of(one.environment, folder)
        except NotInstalled as error:
            left_out[one.title] = f"cannot be installed here: {error}"
            continue
        if one.environment is not None:
            versions |= versions_in(one.environment, pythons[one])
    return pythons, versions, left_out


if __name__ == "__main__":
    sys.exit(main())
