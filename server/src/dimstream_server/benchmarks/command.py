"""`dimstream-server bench`: measures, prints a table, writes it and `bench.json` as it goes."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from dimstream_client.errors import DimstreamError
from dimstream_models.bundle import BundleError, read_bundle
from dimstream_models.shipped import find_bundle, shipped_bundle
from dimstream_server.benchmarks.errors import BenchmarkError
from dimstream_server.benchmarks.machine import describe_machine
from dimstream_server.benchmarks.measuring import Measuring
from dimstream_server.benchmarks.plan import FRAMES, PARTS, make_plan
from dimstream_server.benchmarks.report import Figures, as_table, write_figures
from dimstream_server.errors import ServerError
from dimstream_server.server_process import ServerProcessError

CANNOT_RUN = 2


def main(argv: Sequence[str]) -> int:
    """Run the benchmark; 0 when it gave figures, whether goals are met or not, 2 when it cannot run."""
    arguments = _parser().parse_args(argv)
    if not find_spec("tqdm"):
        return _say('this needs tqdm: pip install "dimstream-server[demo]"')
    try:
        shipped = read_bundle(arguments.bundle)
        arguments.out.mkdir(parents=True, exist_ok=True)
        plan = make_plan(arguments.frames, quick=arguments.quick)
        created = datetime.now(UTC).isoformat(timespec="seconds")
        figures = Figures(created, arguments.quick, arguments.parts, describe_machine(arguments.device))
        tell = partial(write_figures, arguments.out)
        measuring = Measuring(shipped, figures, plan, arguments.device, tell)
        measuring.measure()
    except (BundleError, BenchmarkError, ServerProcessError, ServerError, DimstreamError, OSError) as error:
        return _say(str(error))
    print(as_table(measuring.figures))
    print(f"\nwritten to {arguments.out}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="dimstream-server bench",
        description="Measure what the service adds to a bare run of its fused graph; see docs/benchmarks.md.",
    )
    add = parser.add_argument
    what = "the model to measure next to an identity (default: the one that ships)"
    add("--bundle", type=find_bundle, default=shipped_bundle(), metavar="PATH", help=what)
    add("--out", type=Path, default=Path("bench"), metavar="FOLDER", help="where bench.json and bench.txt go")
    add("--frames", type=_positive, default=FRAMES, metavar="N", help="frames of the identity on each route")
    parts = f"what to measure, of {','.join(PARTS)} (default: all)"
    add("--parts", type=_parts, default=PARTS, metavar="PART,...", help=parts)
    add("--device", default="cpu", help="as of the server (default: cpu)")
    add("--quick", action="store_true", help="only show that it runs")
    return parser


def _parts(text: str) -> tuple[str, ...]:
    named = text.split(",")
    for one in named:
        if one not in PARTS:
            raise argparse.ArgumentTypeError(f"expected parts of {','.join(PARTS)}, got {one!r}")
    return tuple(part for part in PARTS if part in named)


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected at least 1, got {value}")
    return value


def _say(text: str) -> int:
    print(f"dimstream-server bench: {text}", file=sys.stderr)
    return CANNOT_RUN
