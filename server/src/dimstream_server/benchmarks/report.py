"""The figures next to their goals: a table to read and a JSON file to compare."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

from dimstream_server.benchmarks.batch import STREAMS, BatchFigures
from dimstream_server.benchmarks.device_speed import DeviceFigures, DevicesFigures
from dimstream_server.benchmarks.durability import DURABLE, RECORDED, DurabilityFigures
from dimstream_server.benchmarks.flag_cost import FlagFigures
from dimstream_server.benchmarks.following import FollowingFigures
from dimstream_server.benchmarks.gateway import GatewayFigures
from dimstream_server.benchmarks.interleaved import RouteFigures, Spread
from dimstream_server.benchmarks.machine import Machine
from dimstream_server.benchmarks.memory import MemoryFigures
from dimstream_server.benchmarks.model import BARE, HTTP, ZMQ_1, ZMQ_8, ModelFigures
from dimstream_server.benchmarks.plan import MEAN_COUNTS, SEED, SHAPE
from dimstream_server.benchmarks.viewing import ViewingFigures

FORMAT_VERSION: Final = 2
JSON_NAME: Final = "bench.json"
TABLE_NAME: Final = "bench.txt"
TITLES: Final = {
    "bare": "bare session.run",
    "zmq_1": "ZeroMQ, window 1",
    "zmq_1_crc32": "ZeroMQ, window 1, crc32",
    "zmq_8": "ZeroMQ, window 8",
    "zmq_8_crc32": "ZeroMQ, window 8, crc32",
    "http": "HTTP, NPY",
}
HEAD: Final = ("route", "latency ms", "quartiles", "added ms", "quartiles", "outside", "frames/s", "of bare")
MODELS: Final = {"identity": "identity network (only the bracket is left)", "shipped": "shipped network"}
MAX_ADDED_ZMQ_MS: Final = 1.5
MAX_ADDED_HTTP_MS: Final = 3.0
MIN_RATIO: Final = 0.95
MAX_GROWTH_PERCENT: Final = 2.0
MAX_FLAGS_RATIO: Final = 1.1
MAX_SPLIT_RATIO: Final = 1.05
MAX_GATEWAY_MS: Final = 2.0
MIN_DURABLE_RATIO: Final = 0.95
MAX_DURABLE_MS: Final = 1.0
MIN_RECORDED_RATIO: Final = 0.9
MIN_WATCHED_RATIO: Final = 0.98
OPENVINO: Final = "openvino:cpu"
BFLOAT16: Final = "openvino:cpu@bf16"
MIN_ROUNDING_SPEED: Final = 2.0
MIN_SHARE_OF_PEAK: Final = 0.65
MIN_BATCH_RATIO: Final = 1.0


@dataclass(frozen=True, slots=True)
class Figures:
    """What one run has measured so far.

    Parameters
    ----------
    parts : tuple of str
        That are to be measured, of `plan.PARTS`.
    models, viewing : dict
        By the keys of `MODELS`, each once it is known.
    memory : MemoryFigures or None
        None before it is known, and where it cannot be read.
    left_out : dict
        Parts that cannot be measured here, and why.
    """

    created: str
    quick: bool
    parts: tuple[str, ...]
    machine: Machine
    models: dict[str, ModelFigures] = field(default_factory=dict)
    memory: MemoryFigures | None = None
    flags: FlagFigures | None = None
    durability: dict[str, DurabilityFigures] = field(default_factory=dict)
    viewing: dict[str, ViewingFigures] = field(default_factory=dict)
    devices: DevicesFigures | None = None
    batch: BatchFigures | None = None
    gateway: GatewayFigures | None = None
    following: FollowingFigures | None = None
    left_out: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Goal:
    """A bound and what was measured; `value` and `met` are None where it was not, or cannot be measured."""

    name: str
    bound: str
    limit: float
    value: float | None
    met: bool | None


def check_goals(figures: Figures) -> list[Goal]:
    """The service's goals, met or not; `value` is None of what was not measured, or not yet."""
    identity, shipped = (figures.models.get(key) for key in MODELS)
    durable, recorded = (figures.durability.get(kind) for kind in (DURABLE, RECORDED))
    watched, flags = figures.viewing.get("shipped"), figures.flags
    rounding, exact = (_device(figures.devices, name) for name in (BFLOAT16, OPENVINO))
    batch = _median(figures.batch, "throughput_ratio")
    growth = None if figures.memory is None else figures.memory.growth_percent
    return [
        _at_most("ZeroMQ adds, window 1, ms", MAX_ADDED_ZMQ_MS, _added(identity, ZMQ_1)),
        _at_most("HTTP adds, ms", MAX_ADDED_HTTP_MS, _added(identity, HTTP)),
        _at_least("shipped network, window 8, of bare", MIN_RATIO, _ratio(shipped, ZMQ_8)),
        _at_most("memory grows, %", MAX_GROWTH_PERCENT, growth),
        _at_most("default flags, of the model's time", MAX_FLAGS_RATIO, _median(flags, "default_ratio")),
        _at_least("durable, of plain throughput", MIN_DURABLE_RATIO, _median(durable, "throughput_ratio")),
        _at_most("durable adds, ms", MAX_DURABLE_MS, _median(durable, "added_ms")),
        _at_least("recorded, of plain throughput", MIN_RECORDED_RATIO, _median(recorded, "throughput_ratio")),
        _at_least("watched by six, of alone", MIN_WATCHED_RATIO, _median(watched, "throughput_ratio")),
        _at_most("split-photon check, of two inferences", MAX_SPLIT_RATIO, _median(flags, "split_ratio")),
        _at_least("bfloat16, of the speed of cpu", MIN_ROUNDING_SPEED, _median(rounding, "speed")),
        _at_least("openvino:cpu, of the matrix peak", MIN_SHARE_OF_PEAK, _share(exact)),
        _at_least("batch work, of a loop of session.run", MIN_BATCH_RATIO, batch),
        _at_most("a gateway adds, ms", MAX_GATEWAY_MS, _median(figures.gateway, "added_ms")),
    ]


def as_table(figures: Figures) -> str:
    """The figures as aligned text."""
    machine = figures.machine
    load = "" if machine.load_before is None else f", load before {machine.load_before:.1f}"
    lines = [f"{machine.cpu}, {machine.cores} cores, {machine.device}, {machine.system}{load}"]
    for section in _sections(figures):
        lines += ["", *section]
    lines += ["", "goals", *_aligned([_goal_row(goal) for goal in check_goals(figures)])]
    if figures.quick:
        lines += ["", "--quick shows that it runs; its figures mean nothing"]
    elif machine.load_before is not None and machine.load_before > 0.5:
        lines += ["", "the machine was busy before: measure again when it is not"]
    return "\n".join(lines)


def write_figures(folder: Path, figures: Figures) -> None:
    """Write `bench.json`, the goals among the figures, and the table; each is whole at any time."""
    document = {
        "format_version": FORMAT_VERSION,
        "frame": {"shape": list(SHAPE), "dtype": "uint16", "mean_counts": MEAN_COUNTS, "seed": SEED},
        **asdict(figures),
        "goals": [asdict(goal) for goal in check_goals(figures)],
    }
    _replace(folder / JSON_NAME, json.dumps(document, indent=2, allow_nan=False))
    _replace(folder / TABLE_NAME, as_table(figures))


def _replace(path: Path, text: str) -> None:
    new = path.with_suffix(".part")
    new.write_text(text + "\n", encoding="utf-8")
    os.replace(new, path)


def _sections(figures: Figures) -> Iterator[list[str]]:
    for key, title in MODELS.items():
        if key in figures.models:
            yield list(_model_lines(title, figures.models[key]))
    if figures.memory is not None:
        memory = figures.memory
        yield [f"memory over {memory.frames} frames: {memory.growth_percent:+.2f} % after the warm-up"]
    if figures.flags is not None:
        yield list(_flag_lines(figures.flags))
    if figures.devices is not None:
        yield list(_device_lines(figures.devices))
    if figures.batch is not None:
        yield list(_batch_lines(figures.batch))
    if figures.durability:
        yield list(_durability_lines(figures.durability))
    if figures.viewing:
        yield list(_viewing_lines(figures.viewing))
    if figures.gateway is not None:
        yield list(_gateway_lines(figures.gateway))
    if figures.following is not None:
        yield list(_following_lines(figures.following))
    if figures.left_out:
        yield [f"without {part}: {why}" for part, why in figures.left_out.items()]


def _device(found: DevicesFigures | None, name: str) -> DeviceFigures | None:
    """Of a device that multiplies in its precision by itself."""
    one = None if found is None else found.devices.get(name)
    return None if one is None or one.emulated else one


def _share(one: DeviceFigures | None) -> float | None:
    return None if one is None or one.share_of_peak is None else one.share_of_peak.median


def _device_lines(found: DevicesFigures) -> Iterator[str]:
    yield "devices, shipped network: a frame, speed by that of cpu, share of a matrix product's arithmetic"
    rows: list[tuple[str, ...]] = []
    for name, one in found.devices.items():
        share = one.share_of_peak
        rows.append(
            (
                name + (" (emulated)" if one.emulated else ""),
                f"{one.frame_ms.median:.1f} ms",
                f"{one.speed.median:.2f} ({_quartiles(one.speed)})",
                "" if share is None else f"{share.median:.2f} ({_quartiles(share)})",
                f"of {one.peak_gflop_per_s.median:.0f} Gflop/s",
            )
        )
    yield from _aligned(rows)
    yield from (f"without {name}: {why}" for name, why in found.left_out.items())


def _batch_lines(found: BatchFigures) -> Iterator[str]:
    ratio = found.throughput_ratio
    yield f"batch work, shipped network: {STREAMS} streams through a server on {', '.join(found.devices)}"
    yield (
        f"{found.frame_ms.median:.1f} ms a frame, {ratio.median:.3f} ({_quartiles(ratio)}) of the frames/s"
        " of a loop of session.run"
    )


def _median(found: object | None, name: str) -> float | None:
    """Of one of its spreads; None when nothing was found."""
    return None if found is None else float(getattr(found, name).median)


def _added(model: ModelFigures | None, route: str) -> float | None:
    added = None if model is None else model.routes[route].added_ms
    return None if added is None else added.median


def _ratio(model: ModelFigures | None, route: str) -> float | None:
    ratio = None if model is None else model.routes[route].throughput_ratio
    return None if ratio is None else ratio.median


def _at_most(name: str, limit: float, value: float | None) -> Goal:
    return Goal(name, "at most", limit, value, None if value is None else value <= limit)


def _at_least(name: str, limit: float, value: float | None) -> Goal:
    return Goal(name, "at least", limit, value, None if value is None else value >= limit)


def _model_lines(title: str, model: ModelFigures) -> Iterator[str]:
    plan = model.plan
    yield f"{title}: {plan.rounds} rounds of {plan.lap_frames} frames, {SHAPE[0]} x {SHAPE[1]} uint16"
    yield from _aligned([HEAD, *(_route_row(*route) for route in model.routes.items())])
    start = model.start_up_s
    peak = "cannot be read here" if model.peak_rss_mib is None else f"{model.peak_rss_mib:.0f} MiB"
    yield f"start-up {start.median:.2f} s ({_quartiles(start)}, {start.n} starts); peak memory {peak}"


def _durability_lines(kept: dict[str, DurabilityFigures]) -> Iterator[str]:
    yield "identity, so that no frame is lost: window 8, and what is added with window 1"
    rows: list[tuple[str, ...]] = [
        (kind, f"{one.frame_ms.median:.2f} ms a frame", f"{one.throughput_ratio.median:.3f} of plain",
         f"{one.added_ms.median:+.2f} ms ({_quartiles(one.added_ms)})")
        for kind, one in kept.items()
    ]  # fmt: skip
    yield from _aligned(rows)


def _viewing_lines(watched: dict[str, ViewingFigures]) -> Iterator[str]:
    yield "five viewers that read and one that never does, window 8"
    rows: list[tuple[str, ...]] = [
        (key, f"{one.frame_ms.median:.2f} ms a frame alone",
         f"{one.throughput_ratio.median:.3f} ({_quartiles(one.throughput_ratio)}) of it watched",
         "" if one.cpu_ratio is None else f"{one.cpu_ratio:.3f} by processor time",
         f"{one.shown} frames shown")
        for key, one in watched.items()
    ]  # fmt: skip
    yield from _aligned(rows)


def _gateway_lines(found: GatewayFigures) -> Iterator[str]:
    yield "identity, straight to a server, and through a gateway to it"
    yield (
        f"{found.direct_ms.median:.2f} and {found.gateway_ms.median:.2f} ms with window 1: it adds"
        f" {found.added_ms.median:.2f} ms ({_quartiles(found.added_ms)})"
    )
    ratio = found.throughput_ratio
    yield f"{ratio.median:.3f} ({_quartiles(ratio)}) of the throughput with window 8"


def _following_lines(found: FollowingFigures) -> Iterator[str]:
    yield "dimstream-analyse follow beside the shipped network, window 8"
    yield f"{found.frame_ms.median:.1f} ms a frame while nothing is analysed"
    rows: list[tuple[str, ...]] = [
        (segmenter, f"{one.throughput_ratio.median:.3f} ({_quartiles(one.throughput_ratio)}) of it followed",
         "" if one.server_cpu_ratio is None else f"{one.server_cpu_ratio:.3f} by the server's processor time",
         f"{one.analysed_per_s:.2f} frames/s analysed",
         "" if one.analysis_cpu_s is None else f"{one.analysis_cpu_s:.2f} s of a processor each")
        for segmenter, one in found.followed.items()
    ]  # fmt: skip
    yield from _aligned(rows)


def _flag_lines(flags: FlagFigures) -> Iterator[str]:
    default, split = flags.default_ratio, flags.split_ratio
    yield f"flags, shipped network: the model alone {flags.model_ms.median:.1f} ms a frame"
    yield (
        f"with the default flags {flags.default_ms.median:.1f} ms, {default.median:.3f}"
        f" ({_quartiles(default)}) times as much"
    )
    yield (
        f"with the split-photon check {flags.split_ms.median:.1f} ms, which adds {split.median:.3f}"
        f" ({_quartiles(split)}) of two inferences"
    )


def _route_row(name: str, route: RouteFigures) -> tuple[str, ...]:
    added, ratio = route.added_ms, route.throughput_ratio
    return (
        TITLES[name],
        f"{route.latency_ms.median:.2f}",
        _quartiles(route.latency_ms),
        "" if added is None else f"{added.median:.2f}",
        "" if added is None else _quartiles(added),
        "" if route.outside_ms is None else f"{route.outside_ms.median:.2f}",
        f"{route.frames_per_s:.1f}",
        "1" if ratio is None and name == BARE else "" if ratio is None else f"{ratio.median:.3f}",
    )


def _goal_row(goal: Goal) -> tuple[str, ...]:
    value = "not measured" if goal.value is None else f"{goal.value:.3f}"
    verdict = {True: "met", False: "NOT MET", None: "unknown"}[goal.met]
    return (goal.name, f"{goal.bound} {goal.limit:g}", value, verdict)


def _quartiles(spread: Spread) -> str:
    return f"{spread.low:.2f} - {spread.high:.2f}"


def _aligned(rows: list[tuple[str, ...]]) -> list[str]:
    """Rows as lines: the first column to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    sides: list[Callable[[str, int], str]] = [str.ljust, *[str.rjust] * (len(widths) - 1)]
    return [
        "  ".join(side(cell, width) for side, cell, width in zip(sides, row, widths, strict=True)).rstrip()
        for row in rows
    ]
