"""Reads a Dockerfile, and carries a stage of it out without Docker: in folders under one that is given."""

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_MOUNT = re.compile(r"^(--mount=\S+\s+)+")
_IGNORED = shutil.ignore_patterns("__pycache__", "*.egg-info", "tests")


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


@dataclass
class Shed:
    """Where a stage is carried out: the image's absolute paths lie under `root`.

    Parameters
    ----------
    context : Path
        The folder that COPY copies from.
    python_folder : str
        First in PATH, so that its ``python3`` is the image's.
    """

    root: Path
    context: Path
    python_folder: str
    places: tuple[str, ...]

    def moved(self, text: str) -> str:
        """`text` with the image's folders replaced by those under `root`."""
        for place in self.places:
            text = re.sub(rf"(?<![\w/]){place}(?=[/\s\"*]|$)", str(self.root) + place, text)
        return text

    def carry_out(self, stage: list[Step], environment: dict[str, str]) -> None:
        """COPY, ENV and RUN what needs no package manager of the system."""
        folder = self.root
        values = {**os.environ, **environment, "PATH": f"{self.python_folder}:/usr/bin:/bin"}
        values.pop("PYTHONPATH", None)
        for step in stage:
            match step.name:
                case "WORKDIR":
                    folder = self.root / step.text.lstrip("/")
                    folder.mkdir(parents=True, exist_ok=True)
                case "ENV":
                    values.update(word.split("=", 1) for word in shlex.split(self.moved(step.text)))
                case "COPY":
                    self._copy(step.text.split(), folder)
                case "RUN" if "apt-get" not in step.text:
                    command = self.moved(_MOUNT.sub("", step.text))
                    done = subprocess.run(
                        ["sh", "-ec", command],
                        cwd=folder,
                        env=values,
                        capture_output=True,
                        text=True,
                        check=False,
                    )
                    assert done.returncode == 0, (
                        f"RUN {command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
                    )

    def _copy(self, words: list[str], folder: Path) -> None:
        *sources, target = words
        for source in sources:
            origin = self.context / source
            if origin.is_dir():
                shutil.copytree(origin, folder / target, ignore=_IGNORED, dirs_exist_ok=True)
            else:
                place = folder / target
                shutil.copy(origin, place / origin.name if target.endswith("/") else place)
