"""The devices that an engine is asked to have: which, what they are called, and how they share the cores."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from dimstream_server.engine.protocol import EngineDevice
from dimstream_server.errors import DeviceUnavailable
from dimstream_server.pipeline.device_name import Device, parse_device


def places_of(devices: Sequence[str]) -> tuple[Device, ...]:
    """Devices of a setting; "cpu" may come more than once.

    Raises
    ------
    DeviceUnavailable
        There is none, one is not known, a CUDA device comes twice, or precisions differ.
    """
    places = tuple(map(parse_device, devices))
    if not places:
        raise DeviceUnavailable("expected at least one device, got none; name one, such as 'cpu'")
    if len(precisions := sorted({where.precision for where in places})) > 1:
        raise DeviceUnavailable(
            f"expected devices of one precision, got {' and '.join(precisions)}: frames are judged by "
            "thresholds of one; name devices alike, or start one server for each precision"
        )
    counts = Counter(places)
    twice = [where.name for where in counts if counts[where] > 1 and where.cuda is not None]
    if twice:
        raise DeviceUnavailable(f"expected each CUDA device once, got {twice[0]} more than once")
    return places


def names_of(places: Sequence[Device]) -> list[str]:
    """What they are called; those that come more than once have a number: cpu#1, cpu#2."""
    counts, seen, names = Counter(places), Counter[Device](), list[str]()
    for where in places:
        seen[where] += 1
        names.append(where.name if counts[where] == 1 else f"{where.name}#{seen[where]}")
    return names


def kind_of(where: Device) -> str:
    """What devices have in common that give the same pixels in the same time, as far as can be known."""
    return replace(where, cuda=None if where.cuda is None else 0).name


def described(places: Sequence[Device], runtime: str) -> EngineDevice:
    """All as one: their names, and their precision."""
    return EngineDevice(",".join(names_of(places)), places[0].precision, runtime)


def shared_threads(places: Sequence[Device]) -> int | None:
    """CPU threads of one run, so that CPU devices share the cores; None: one for each core."""
    on_cpu = sum(where.cuda is None for where in places)
    return None if on_cpu <= 1 else max(1, len(os.sched_getaffinity(0)) // on_cpu)
