"""Everything that wants a card, in one run and one report: `make gpu`.

    PYTHONPATH=tests python -m gpu_run --out gpu

Each step has a time limit, so that all of it takes less than ten minutes. A step that fails does not hold up
the next ones; the report says what it wrote last. The exit code is 0 when all steps succeeded, 1 when one did
not, and 2 where there is no card.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

TAIL_LINES = 40
REPORT = "report.md"


@dataclass(frozen=True)
class Step:
    """A command, what it shows, and after how long it is ended."""

    name: str
    shows: str
    command: tuple[str, ...]
    limit_s: float


@dataclass(frozen=True)
class Outcome:
    """What became of a step."""

    step: Step
    seconds: float
    exit_code: int | None
    """None: it took too long."""
    output: str

    @property
    def succeeded(self) -> bool:
        return self.exit_code == 0

    @property
    def verdict(self) -> str:
        if self.exit_code is None:
            return f"ended after {self.step.limit_s:g} s"
        return "succeeded" if self.succeeded else f"FAILED, exit code {self.exit_code}"


def plan(out: Path) -> tuple[Step, ...]:
    """What is run on a card; the limits add up to nine and a half minutes."""
    scripts = Path(sys.executable).parent
    server, train = str(scripts / "dimstream-server"), str(scripts / "dimstream-train")
    pytest = (sys.executable, "-m", "pytest", "-m", "gpu", "-q", "-ra", "tests")
    routes = (
        server,
        "bench",
        "--device",
        "cuda:0",
        "--frames",
        "80",
        "--parts",
        "devices,routes,flags,memory",
    )
    training = (train, "bench", "--device", "cuda", "--out", str(out / "training"))
    return (
        Step("tests", "the card gives the CPU's pixels and flags, and nothing falls back", pytest, 210),
        Step(
            "bench",
            "frames/s and latency, each precision, share of the matrix peak",
            (*routes, "--out", str(out)),
            180,
        ),
        Step("training", "training steps in each precision, share of the matrix peak", training, 180),
    )


def card() -> str | None:
    """What `nvidia-smi` says of the cards; None where there is none."""
    if shutil.which("nvidia-smi") is None:
        return None
    query = (
        "nvidia-smi",
        "--query-gpu=name,driver_version,memory.total,clocks.max.sm",
        "--format=csv,noheader",
    )
    found = subprocess.run(query, capture_output=True, text=True, timeout=60, check=False)
    return found.stdout.strip() or None if found.returncode == 0 else None


def run(step: Step) -> Outcome:
    """Run a step to its end, or to its limit."""
    began = time.perf_counter()
    try:
        done = subprocess.run(
            step.command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=step.limit_s, check=False
        )
        code, output = done.returncode, done.stdout
    except subprocess.TimeoutExpired as error:
        code, output = None, error.stdout or b""
    except OSError as error:
        code, output = 127, str(error).encode()
    return Outcome(step, time.perf_counter() - began, code, output.decode("utf-8", "replace"))


def write_report(out: Path, cards: str, outcomes: Sequence[Outcome]) -> Path:
    """Write what is known so far, whole or not at all; return where."""
    rows = [
        f"| {one.step.name} | {one.step.shows} | {one.seconds:.0f} s | {one.verdict} |" for one in outcomes
    ]
    sections = [
        f"## {one.step.name}\n\n`{' '.join(one.step.command)}`\n\n```\n{_tail(one.output)}\n```"
        for one in outcomes
    ]
    head = f"# On a card\n\n{cards}\n\n| step | shows | took | |\n|---|---|---|---|\n" + "\n".join(rows)
    path = out / REPORT
    unfinished = path.with_suffix(".part")
    unfinished.write_text("\n\n".join([head, *sections]) + "\n", encoding="utf-8")
    unfinished.replace(path)
    return path


def _tail(output: str) -> str:
    """The last lines; of a line that was written over, as progress bars are, what stood there last."""
    lines = [line.rstrip("\r").rpartition("\r")[2].rstrip() for line in output.split("\n")]
    return "\n".join([line for line in lines if line][-TAIL_LINES:])


def run_all(out: Path, steps: Sequence[Step], cards: str) -> int:
    """Run every step, and write the report after each; return the exit code."""
    out.mkdir(parents=True, exist_ok=True)
    outcomes: list[Outcome] = []
    for step in steps:
        print(f"{step.name}: {step.shows} ...", flush=True)
        outcomes.append(run(step))
        path = write_report(out, cards, outcomes)
        print(f"{step.name}: {outcomes[-1].verdict}, {outcomes[-1].seconds:.0f} s; {path}", flush=True)
    return 0 if all(one.succeeded for one in outcomes) else 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Run everything; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="make gpu", description="Everything that wants a card, in one report."
    )
    parser.add_argument("--out", type=Path, default=Path("gpu"), metavar="FOLDER")
    out = parser.parse_args(arguments).out
    cards = card()
    if cards is None:
        print(
            "make gpu: expected an NVIDIA card, nvidia-smi shows none; run it on a machine that has one "
            "(docs/benchmarks.md)",
            file=sys.stderr,
        )
        return 2
    return run_all(out, plan(out), cards)


if __name__ == "__main__":
    sys.exit(main())
