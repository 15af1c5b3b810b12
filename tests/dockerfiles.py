"""Reads a Dockerfile."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Step:
    """One instruction, such as RUN, and all that follows it, on one line."""

    name: str
    text: str


def steps(path: Path) -> Iterator[Step]:
    """All instructions of a Dockerfile."""
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    for line in re.sub(r"\\\n\s*", " ", "\n".join(lines)).splitlines():
        if line.strip():
            name, _, text = line.partition(" ")
            yield Step(name, text.strip())


def stages(path: Path) -> dict[str, list[Step]]:
    """The instructions of each stage by its name; the last one is ``final``."""
    found: dict[str, list[Step]] = {"": []}
    current = ""
    for step in steps(path):
        if step.name == "FROM":
            current = step.text.rpartition(" AS ")[2] if " AS " in step.text else "final"
            found[current] = []
        found[current].append(step)
    return found
