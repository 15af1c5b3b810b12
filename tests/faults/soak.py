"""`make soak`: the paper's run through a real server, and whether anything grows while it lasts.

5,480 frames of 600x600 in two planes, as fast as they go, without a spool; or with ``--hours``, for so long,
one each 0.66 s (an hour is the paper's run), with a spool. Leaves ``soak.csv``, ``soak.png``, ``soak.json``.
Exit status 0: every frame was answered once and in order, and memory, files, threads and queues grew by less
than 1 %.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from dimstream_models.shipped import shipped_bundle
from faults.growth import Sample, draw, growths, sample_process, write_csv
from faults.processes import Program, Server

FRAMES, SIDE, PLANES = 5480, 600, 2
COLUMNS = (
    *(f"{name}_{what}" for name in ("server", "client") for what in ("memory_mib", "files", "threads")),
    "server_queue",
    "client_backlog",
    "journal_kib",
)
_MOST_SAMPLES_S = 60.0


def sample(server: Server, program: Program, begun: float) -> Sample:
    """Everything, now.

    Raises
    ------
    OSError
        One of them is gone.
    """
    with urllib.request.urlopen(f"{server.http}/metrics", timeout=60) as answer:
        queue = re.search(rb"^dimstream_queue_frames (\S+)", answer.read(), re.MULTILINE)
    assert queue is not None
    last = program.last()
    return {
        "t_s": time.monotonic() - begun,
        "frames": last.get("seq", -1) + 1,
        **sample_process(server.pid, "server"),
        **sample_process(program.pid, "client"),
        "server_queue": float(queue[1]),
        "client_backlog": last.get("backlog", 0),
        "journal_kib": sum(path.stat().st_size for path in server.state.iterdir()) / 1024,
    }


def run(
    folder: Path, *, bundle: Path, frames: int, side: int, interval_s: float, keeps: bool, every_s: float
) -> tuple[list[Sample], bool]:
    """Stream and sample; return the samples and whether each frame was answered once, in order."""
    samples: list[Sample] = []
    begun = time.monotonic()
    program_folder, wishes = folder / "program", {"frames": frames, "side": side, "planes": PLANES}
    with (
        Server(bundle, folder / "server") as server,
        Program(
            program_folder,
            endpoint=server.endpoint,
            interval_s=interval_s,
            keeps=keeps,
            timeout_s=30,
            **wishes,
        ) as program,
    ):
        due = time.monotonic()
        while not program.has_ended:
            with suppress(OSError):  # it has just ended
                samples.append(sample(server, program, begun))
                _tell(samples[-1], frames)
            due = max(due + every_s, time.monotonic())
            while time.monotonic() < due and not program.has_ended:
                time.sleep(0.05)
        if program.wait(1) != 0:
            raise SystemExit(f"the program failed:\n{program.log[-2000:]}")
        in_order = [line["seq"] for line in program.lines()] == list(range(frames))
        assert server.terminate() == 0, server.log[-2000:]
    return samples, in_order


def report(
    samples: Sequence[Sample], out: Path, *, in_order: bool, frames: int, columns: Sequence[str] = COLUMNS
) -> bool:
    """Leave the files, print the table; return whether all is well."""
    out.mkdir(parents=True, exist_ok=True)
    write_csv(out / "soak.csv", samples)
    took_s = samples[-1]["t_s"]
    found = growths(samples, columns)
    title = f"{frames} frames in {took_s / 60:.1f} min; shaded: warm-up"
    draw(out / "soak.png", samples, columns, title=title)
    well = in_order and all(growth.is_well for growth in found)
    (out / "soak.json").write_text(
        json.dumps(
            {"frames": frames, "took_s": took_s, "in_order": in_order, "well": well}
            | {"growth": [asdict(growth) | {"share": growth.share} for growth in found]},
            indent=1,
        )
    )
    print(f"{'':22} {'at first':>10} {'at last':>10} {'largest':>10} {'growth':>10}")
    print("\n".join(map(str, found)))
    print(f"{title.partition(';')[0]}; every frame answered once and in order: {in_order}")
    return well


def _tell(latest: Sample, frames: int) -> None:
    memory = f"server {latest['server_memory_mib']:.0f} MiB, client {latest['client_memory_mib']:.0f} MiB"
    print(f"{latest['t_s']:8.0f} s  {latest['frames']:.0f}/{frames} frames  {memory}", flush=True)


def main(argv: Sequence[str]) -> int:
    """Run and return the exit status."""
    parser = argparse.ArgumentParser(prog="make soak", description=__doc__)
    parser.add_argument("--frames", type=int, default=FRAMES)
    parser.add_argument("--side", type=int, default=SIDE, help="of a frame, pixels")
    parser.add_argument("--hours", type=float, default=0.0, help="last so long, a frame each 0.66 s")
    parser.add_argument("--sample", type=float, default=5.0, help="seconds between samples")
    parser.add_argument("--bundle", type=Path, default=shipped_bundle())
    parser.add_argument("--out", type=Path, default=Path("soak"))
    wishes = parser.parse_args(argv)
    is_slow = wishes.hours > 0
    frames = round(FRAMES * wishes.hours) if is_slow else wishes.frames
    with tempfile.TemporaryDirectory(prefix="dimstream-soak-", ignore_cleanup_errors=True) as folder:
        samples, in_order = run(
            Path(folder),
            bundle=wishes.bundle,
            frames=frames,
            side=wishes.side,
            interval_s=3600 / FRAMES if is_slow else 0.0,
            keeps=is_slow,
            every_s=min(_MOST_SAMPLES_S, wishes.sample * max(1.0, wishes.hours)),
        )
    return 0 if report(samples, wishes.out, in_order=in_order, frames=frames) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
