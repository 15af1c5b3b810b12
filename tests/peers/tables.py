"""The figures as Markdown and as JSON; each file is replaced as a whole."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from dimstream_server.benchmarks.interleaved import RouteFigures, Spread
from dimstream_server.benchmarks.machine import Machine

JSON_NAME, TABLE_NAME = "peers.json", "peers.md"
_HEAD = (
    "| server and client | latency ms | added ms (quartiles) | frames/s, 6 in flight | of bare (quartiles) |"
)


@dataclass(frozen=True)
class NetworkFigures:
    """What was measured with one network.

    Parameters
    ----------
    titles : dict
        Of those who took part, by the name of their route with one frame in flight.
    routes : dict
        With several frames in flight the name ends with their number.
    left_out : dict
        Titles of the others, and why.
    """

    network: str
    rounds: int
    lap_frames: int
    titles: dict[str, str]
    routes: dict[str, RouteFigures]
    left_out: dict[str, str]


def write_tables(
    out: Path, machine: Machine, versions: dict[str, str], tables: Sequence[NetworkFigures]
) -> str:
    """Write both files; return the newest table."""
    document = {"machine": asdict(machine), "peers": versions, "networks": [asdict(one) for one in tables]}
    texts = ["\n".join(_lines(one)) for one in tables]
    load = "unknown" if machine.load_before is None else f"{machine.load_before:.1f}"
    ours = {name: machine.versions[name] for name in ("dimstream-server", "onnxruntime", "numpy")}
    named = ", ".join(f"{name} {version}" for name, version in (ours | versions).items())
    head = f"{machine.cpu}, {machine.cores} cores, load before {load}; {named}"
    _replace(out / JSON_NAME, json.dumps(document, indent=2, allow_nan=False))
    _replace(out / TABLE_NAME, "\n\n".join([head, *texts]))
    return texts[-1]


def _lines(found: NetworkFigures) -> Iterator[str]:
    yield f"**{found.network}**, {found.rounds} rounds of {found.lap_frames} frames of 600 x 600 uint16\n"
    yield _HEAD
    yield "|---|---|---|---|---|"
    for name, title in found.titles.items():
        one = found.routes[name]
        many = next((route for key, route in found.routes.items() if key.startswith(f"{name}_")), one)
        ratio = "1" if many.throughput_ratio is None else _spread(many.throughput_ratio)
        added = "" if one.added_ms is None else _spread(one.added_ms)
        yield f"| {title} | {one.latency_ms.median:.1f} | {added} | {many.frames_per_s:.1f} | {ratio} |"
    for title, why in found.left_out.items():
        yield f"| {title} | {why} | | | |"


def _spread(spread: Spread) -> str:
    return f"{spread.median:.2f} ({spread.low:.2f} to {spread.high:.2f})"


def _replace(path: Path, text: str) -> None:
    new = path.with_suffix(".part")
    new.write_text(text + "\n", encoding="utf-8")
    new.replace(path)
