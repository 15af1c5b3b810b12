"""`dimstream-server bench`: measures, prints a table, writes `bench.json`."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path

from dimstream_client.errors import DimstreamError
from dimstream_models.bundle import Bundle, BundleError, read_bundle
from dimstream_models.shipped import shipped_bundle
from dimstream_server.benchmarks import durability, viewing
from dimstream_server.benchmarks.errors import BenchmarkError
from dimstream_server.benchmarks.flag_cost import measure_flags
from dimstream_server.benchmarks.identity_bundle import write_identity_bundle
from dimstream_server.benchmarks.machine import describe_machine
from dimstream_server.benchmarks.model import ModelFigures, frames_of, measure_model
from dimstream_server.benchmarks.plan import FRAMES, Plan, make_plan
from dimstream_server.benchmarks.report import Figures, as_table, write_json
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
        figures = measure(shipped, plan, device=arguments.device, quick=arguments.quick)
    except (BundleError, BenchmarkError, ServerProcessError, ServerError, DimstreamError, OSError) as error:
        return _say(str(error))
    path = arguments.out / "bench.json"
    write_json(figures, path)
    print(as_table(figures))
    print(f"\nwritten to {path}")
    return 0


def measure(shipped: Bundle, plan: Plan, *, device: str, quick: bool) -> Figures:
    """Figures of an identity made for the purpose and of the bundle `shipped`, one after the other.

    Raises
    ------
    BenchmarkError, BundleError, ServerProcessError, dimstream_server.errors.ServerError,
    dimstream_client.errors.DimstreamError
    """
    from tqdm import tqdm

    machine = describe_machine(device)
    created = datetime.now(UTC).isoformat(timespec="seconds")
    models: dict[str, ModelFigures] = {}
    with tempfile.TemporaryDirectory() as scratch:
        identity = write_identity_bundle(Path(scratch) / "identity", like=shipped)
        for key, bundle, part in (("identity", identity, plan.identity), ("shipped", shipped, plan.shipped)):
            with tqdm(total=frames_of(part), desc=key, unit="frame") as bar:
                models[key] = measure_model(bundle, part, device, bar.update)
        rounds = plan.durability_rounds
        with tqdm(total=durability.frames_of(rounds), desc="durability", unit="frame") as bar:
            kept = durability.measure_durability(identity, rounds, device, bar.update)
        watched = {}
        for key, rounds in plan.viewing_rounds.items():
            bundle = {"identity": identity, "shipped": shipped}[key]
            with tqdm(total=viewing.frames_of(rounds), desc=f"viewers, {key}", unit="frame") as bar:
                watched[key] = viewing.measure_viewing(bundle, rounds, device, bar.update)
        with tqdm(total=plan.flag_rounds * plan.flag_frames * 3, desc="flags", unit="frame") as bar:
            flags = measure_flags(shipped, plan.flag_rounds, plan.flag_frames, device, bar.update)
    return Figures(created, quick, machine, models, flags, kept, watched)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="dimstream-server bench",
        description="Measure what the service adds to a bare run of its fused graph; see docs/benchmarks.md.",
    )
    add = parser.add_argument
    what = "the model to measure next to an identity (default: the one that ships)"
    add("--bundle", type=Path, default=shipped_bundle(), metavar="PATH", help=what)
    add("--out", type=Path, default=Path("bench"), metavar="FOLDER", help="where bench.json goes")
    add("--frames", type=_positive, default=FRAMES, metavar="N", help="frames of the identity on each route")
    add("--device", default="cpu", help="cpu or cuda:N")
    add("--quick", action="store_true", help="only show that it runs")
    return parser


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected at least 1, got {value}")
    return value


def _say(text: str) -> int:
    print(f"dimstream-server bench: {text}", file=sys.stderr)
    return CANNOT_RUN
