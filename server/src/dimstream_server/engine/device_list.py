"""The requested devices of an engine: which ones, their names, and how they share the cores."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from dimstream_server.engine.protocol import EngineDevice
from dimstream_server.errors import DeviceUnavailable
from dimstream_server.pipeline.device_name import Device, parse_device


def places_of(devices: Sequence[str]) -> tuple[Device, ...]:
    """Return the devices of a setting; "cpu" may appear more than once.

    Raises
    ------
    DeviceUnavailable
        When there is none, one is unknown, a CUDA device appears twice, or precisions differ.
    """
    places = tuple(map(parse_device, devices))
    if not places:
        raise DeviceUnavailable("expected at least one device, got none; name one, such as 'cpu'")
    if len(precisions := sorted({where.precision for where in places})) > 1:
        raise DeviceUnavailable(
            f"expected devices of one precision, got {' and '.join(precisions)}, because thresholds hold "
            "for one precision: give all devices the same one, or start one server per precision"
        )
    counts = Counter(places)
    twice = [where.name for where in counts if counts[where] > 1 and where.cuda is not None]
    if twice:
        raise DeviceUnavailable(f"expected each CUDA device once, got {twice[0]} more than once")
    return places


def names_of(places: Sequence[Device]) -> list[str]:
    """Return their names; devices that appear more than once have a number: cpu#1, cpu#2."""
    counts, seen, names = Counter(places), Counter[Device](), list[str]()
    for where in places:
        seen[where] += 1
        names.append(where.name if counts[where] == 1 else f"{where.name}#{seen[where]}")
    return names


def kind_of(where: Device) -> str:
    """Return the kind of a device; devices of one kind give the same pixels in about the same time."""
    return replace(where, cuda=None if where.cuda is None else 0).name


def described(places: Sequence[Device], runtime: str) -> EngineDevice:
    """Return one description of all devices: their names, and their precision."""
    return EngineDevice(",".join(names_of(places)), places[0].precision, runtime)


def shared_threads(places: Sequence[Device]) -> int | None:
    """Return the CPU threads of one run, so that CPU devices share the cores; None: one per core."""
    on_cpu = sum(where.cuda is None for where in places)
    return None if on_cpu <= 1 else max(1, len(os.sched_getaffinity(0)) // on_cpu)
