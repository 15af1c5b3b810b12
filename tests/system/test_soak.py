"""The soak's sampler and its verdict: what grows is found, what does not is not blamed."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import pytest
from faults.bundles import write_tiny_bundle
from faults.growth import Sample, growths, sample_process
from faults.soak import COLUMNS, report, run

pytestmark = pytest.mark.slow

LEAKING = """
import sys, threading, time
held = []
print(flush=True)
for _ in sys.stdin:
    for turn in range(5):
        if "memory" in sys.argv:
            held.append(bytearray(b"x" * 200_000))
        if "files" in sys.argv:
            held.append(open(__file__))
        if "threads" in sys.argv:
            threading.Thread(target=time.sleep, args=(100,), daemon=True).start()
    print(flush=True)
"""

COLUMN = {"memory": "it_memory_mib", "files": "it_files", "threads": "it_threads"}


@pytest.mark.parametrize("what", ["memory", "files", "threads", "nothing"])
def test_a_process_that_leaks_is_found(what: str, tmp_path: Path) -> None:
    (tmp_path / "leaking.py").write_text(LEAKING)
    samples: list[Sample] = []
    command, pipe = [sys.executable, tmp_path / "leaking.py", what], subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, bufsize=0) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for _ in range(30):
            process.stdout.readline()
            samples.append(sample_process(process.pid, "it"))
            process.stdin.write(b"\n")
        process.kill()
    found = [growth.column for growth in growths(samples, list(samples[0])) if not growth.is_well]
    assert COLUMN[what] in found if what in COLUMN else not found


@pytest.mark.parametrize(
    ("column", "before", "after", "is_well"),
    [
        ("server_memory_mib", 200.0, 201.9, True),
        ("server_memory_mib", 200.0, 202.1, False),
        ("server_memory_mib", 200.0, 150.0, True),
        ("server_threads", 9.0, 10.0, False),
        ("server_queue", 0.0, 1.0, True),
        ("client_backlog", 16.0, 40.0, False),
    ],
)
def test_less_than_one_percent_is_no_growth(column: str, before: float, after: float, is_well: bool) -> None:
    samples = [{column: 1e6}] * 20 + [{column: before}] * 40 + [{column: after}] * 40
    (growth,) = growths(samples, [column])
    assert (growth.before, growth.after, growth.is_well) == (before, after, is_well)


def test_too_few_samples_give_no_verdict() -> None:
    with pytest.raises(ValueError, match="at least 10 samples"):
        growths([{"server_files": 1.0}] * 3, ["server_files"])


def test_a_small_soak_leaves_its_figures(tmp_path: Path) -> None:
    bundle = write_tiny_bundle(tmp_path / "bundle")
    samples, in_order = run(
        tmp_path / "run", bundle=bundle, frames=200, side=64, interval_s=0.01, keeps=True, every_s=0.1
    )
    assert in_order
    report(samples, tmp_path / "out", in_order=in_order, frames=200)
    with (tmp_path / "out" / "soak.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(samples) >= 10
    assert set(rows[0]) == {"t_s", "frames", *COLUMNS}
    assert float(rows[-1]["server_memory_mib"]) > 20
    assert (tmp_path / "out" / "soak.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "out" / "soak.json").exists()
