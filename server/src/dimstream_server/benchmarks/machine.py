"""On what the figures were measured."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Final

from dimstream_server.pipeline.runtime import check_installation

DISTRIBUTIONS: Final = (
    "dimstream-client",
    "dimstream-models",
    "dimstream-server",
    "fastapi",
    "numpy",
    "onnx",
    "pyzmq",
    "uvicorn",
    "uvloop",
)


@dataclass(frozen=True, slots=True)
class Machine:
    """CPU, system and versions.

    Parameters
    ----------
    load_before : float or None
        Processes that wanted a core in the minute before; others' work makes the figures worse.
    """

    cpu: str
    cores: int
    memory_gib: float | None
    system: str
    python: str
    device: str
    load_before: float | None
    versions: dict[str, str]


def describe_machine(device: str) -> Machine:
    """This machine, now."""
    names = (*(name for name in DISTRIBUTIONS if _is_installed(name)), check_installation())
    return Machine(
        cpu=_proc_value("/proc/cpuinfo", "model name") or platform.processor() or platform.machine(),
        cores=_usable_cores(),
        memory_gib=_memory_gib(),
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        python=platform.python_version(),
        device=device,
        load_before=os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        versions={name: metadata.version(name) for name in names},
    )


def _usable_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _is_installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:  # uvloop on Windows
        return False
    return True


def _memory_gib() -> float | None:
    total = _proc_value("/proc/meminfo", "MemTotal")
    return None if total is None else round(int(total.split()[0]) / 2**20, 1)


def _proc_value(path: str, key: str) -> str | None:
    """Value of the first line ``key : value``; None where the system has no such file or line."""
    file = Path(path)
    lines = file.read_text().splitlines() if file.exists() else []
    pairs = (line.partition(":") for line in lines)
    return next((value.strip() for name, _, value in pairs if name.strip() == key), None)
