"""`make chaos`: many random faults over one run, whose results must be those of an undisturbed run.

A server that records, a program at the microscope with a spool, and a network between them; faults come one
behind the other, at random moments, also while the last is still being recovered from. Exit status 0: every
frame was answered exactly once, in order, with the same pixels, SSIM, flag and reason, and is recorded.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from dimstream_models.shipped import shipped_bundle
from faults.disks import Disk, NoDisk, small_disk
from faults.movies import Comparison, Movie, compare
from faults.processes import Program, Server
from faults.proxy import Proxy
from faults.recordings import check_recording
from faults.stray import half_a_frame

_MIB = 2**20
_PATIENCE_S = 600.0
_PLANES, _WINDOW = 3, 8


@dataclass
class World:
    """Everything that can fail."""

    server: Server
    program: Program
    network: Proxy
    chance: random.Random
    spool_disk: Disk | None = None
    journal_disk: Disk | None = None
    strays: list[Any] = field(default_factory=list)

    def pause(self, least_s: float, most_s: float) -> None:
        """Let a random time pass."""
        time.sleep(self.chance.uniform(least_s, most_s))

    def wait_for(self, more: int) -> None:
        """Wait until so many more results were written down."""
        wanted, deadline = self.program.count() + more, time.monotonic() + _PATIENCE_S
        while self.program.count() < wanted:
            if self.program.has_ended:
                raise SystemExit(f"the program ended by itself:\n{self.program.log[-2000:]}")
            if time.monotonic() > deadline:
                raise SystemExit(f"no result for {_PATIENCE_S:g} s:\n{self.server.log[-2000:]}")
            time.sleep(0.02)


def server_killed(world: World) -> None:
    """kill -9 of the server."""
    world.server.kill()
    world.server.start()


def server_frozen(world: World) -> None:
    """SIGSTOP of the server, then SIGCONT."""
    world.server.freeze()
    world.pause(0.2, 5)
    world.server.thaw()


def server_stopped(world: World) -> None:
    """SIGTERM of the server."""
    world.server.terminate()
    world.server.start()


def server_away(world: World) -> None:
    """kill -9 of the server, which comes back after some seconds."""
    world.server.kill()
    world.pause(3, 12)
    world.server.start()


def client_killed(world: World) -> None:
    """kill -9 of the client's program."""
    world.program.kill()
    world.program.start()


def both_killed(world: World) -> None:
    """kill -9 of both, in either order."""
    for each in world.chance.sample([world.server, world.program], 2):
        each.kill()
        world.pause(0, 0.1)
    world.server.begin()
    world.program.start()
    world.server.wait()


def network_cut(world: World) -> None:
    """Connections end, others are refused."""
    world.network.cut()
    world.pause(0.2, 5)
    world.network.mend()


def network_silent(world: World) -> None:
    """Nothing arrives and nobody is told."""
    world.network.hold()
    world.pause(0.2, 6)
    world.network.mend()


def network_reset(world: World) -> None:
    """All connections are reset, once or more."""
    for _ in range(world.chance.choice([1, 1, 2, 5])):
        world.network.reset()
        world.pause(0, 0.3)


def network_late(world: World) -> None:
    """A delay of 50 to 500 ms each way."""
    world.network.delay_s = world.chance.uniform(0.05, 0.5)
    world.pause(1, 4)
    world.network.mend()


def network_slow(world: World) -> None:
    """1 Mbit/s each way."""
    world.network.bytes_per_s = 125_000
    world.pause(1, 4)
    world.network.mend()


def cut_and_killed(world: World) -> None:
    """The server is killed while the network is cut."""
    world.network.cut()
    world.server.kill()
    world.server.start()
    world.network.mend()


def half_frame(world: World) -> None:
    """A stranger sends half a frame and then nothing for the rest of the run."""
    world.strays.append(half_a_frame(world.server.endpoint))


def spool_full(world: World) -> None:
    """The disk of the spool is full."""
    assert world.spool_disk is not None
    world.spool_disk.keep_full(world.chance.uniform(0.2, 3))


def journal_full(world: World) -> None:
    """The disk of the journal is full."""
    assert world.journal_disk is not None
    world.journal_disk.keep_full(world.chance.uniform(0.2, 3))
    # Planes whose records were not kept would be unjudged after a kill, as is promised: let them come again,
    # behind results that were on their way already.
    world.wait_for(2 * _WINDOW + 2 * _PLANES)


Fault = Callable[[World], None]
FAULTS: tuple[Fault, ...] = (
    server_killed,
    server_frozen,
    server_stopped,
    server_away,
    client_killed,
    both_killed,
    network_cut,
    network_silent,
    network_reset,
    network_late,
    network_slow,
    cut_and_killed,
    half_frame,
)
ON_DISKS: tuple[Fault, ...] = (spool_full, journal_full)


@dataclass(frozen=True)
class Report:
    """What a run came to.

    Parameters
    ----------
    faults, outages_s
        Of each kind: how often, and the longest time without a result that such a fault was part of.
    """

    seed: int
    faults: dict[str, int]
    outages_s: dict[str, float]
    comparison: Comparison
    recording: dict[str, Any]
    flags: dict[str, int]
    longest_outage_s: float
    longest_backlog: int
    worst_send_ms: float
    spool_refusals: int
    journal_failures: int
    took_s: float
    left_out: str | None

    @property
    def is_well(self) -> bool:
        """Whether nothing was lost, doubled, moved or changed."""
        return self.comparison.is_identical and not self.recording["wrong"]


def run(
    folder: Path,
    *,
    bundle: Path,
    faults: int,
    seed: int,
    side: int,
    interval_s: float,
    say: Callable[[str], None],
) -> Report:
    """Do it."""
    begun = time.monotonic()
    chance, left_out = random.Random(seed), None
    done: list[tuple[str, float, float]] = []
    with ExitStack() as stack:
        disks: tuple[Disk | None, Disk | None] = (None, None)
        try:
            disks = (
                stack.enter_context(small_disk(folder / "spool-disk", 256 * _MIB)),
                stack.enter_context(small_disk(folder / "journal-disk", 8 * _MIB)),
            )
        except NoDisk as error:
            left_out = f"full disks: {error}"
        kinds = FAULTS + (ON_DISKS if left_out is None else ())
        server = stack.enter_context(
            Server(bundle, folder / "server", state=folder / "journal-disk", record=folder / "recordings",
                   settings={"zmq": {"silence_s": 5.0}})
        )  # fmt: skip
        network = stack.enter_context(Proxy(int(server.endpoint.rpartition(":")[2])))
        wishes = {"side": side, "planes": _PLANES, "maps": True, "split_every": 5, "save": True}
        program = Program(
            folder / "program",
            endpoint=network.endpoint,
            interval_s=interval_s,
            spool=str(folder / "spool-disk" / "spool"),
            **wishes,
        )
        world = World(server, stack.enter_context(program), network, chance, *disks)
        world.wait_for(2 * _PLANES)
        for number in range(faults):
            fault = chance.choice(kinds)
            say(f"{number + 1:4d}/{faults}  {program.count():6d} results  {fault.__doc__}")
            at = time.time()
            fault(world)
            done.append((fault.__name__, at, time.time()))
            world.wait_for(chance.choice([0, 0, 1, 5, 20]))
            world.pause(0, 0.5)
        program.stop()
        say("the last frames ...")
        status = program.wait(_PATIENCE_S)
        if status != 0:
            raise SystemExit(f"the program ended with status {status}:\n{program.log[-2000:]}")
        lines, log = program.lines(), server.log
        server.terminate()
        say(f"the same {len(lines)} frames without faults ...")
        undisturbed = _undisturbed(folder / "undisturbed", bundle, len(lines), wishes)
    movie = Movie(side=side, planes=_PLANES)
    sends = program.lines("sends.jsonl")
    times = [line["at"] for line in lines]
    return Report(
        seed=seed,
        faults={kind.__name__: sum(name == kind.__name__ for name, _, _ in done) for kind in kinds},
        outages_s={kind.__name__: _outage_s(kind.__name__, done, times) for kind in kinds},
        comparison=compare(undisturbed, lines),
        recording=check_recording(folder / "recordings", movie, undisturbed),
        flags={
            flag: sum(line["flag"] == flag for line in undisturbed) for flag in ("ok", "suspect", "unjudged")
        },
        longest_outage_s=max(after - before for before, after in pairwise(times)),
        longest_backlog=max(line["backlog"] for line in lines),
        worst_send_ms=max(line.get("took_ms", 0.0) for line in sends),
        spool_refusals=sum("refused" in line for line in sends),
        journal_failures=log.count("event=journal_failed"),
        took_s=time.monotonic() - begun,
        left_out=left_out,
    )


def _outage_s(kind: str, done: Sequence[tuple[str, float, float]], times: Sequence[float]) -> float:
    gaps = list(pairwise(times))
    return max(
        (
            after - before
            for name, begun, ended in done
            if name == kind
            for before, after in gaps
            if after >= begun and before <= ended
        ),
        default=0.0,
    )


def _undisturbed(folder: Path, bundle: Path, frames: int, wishes: dict[str, Any]) -> list[dict[str, Any]]:
    with Server(bundle, folder / "server", record=folder / "recordings") as server:
        with Program(folder / "program", endpoint=server.endpoint, frames=frames, **wishes) as program:
            assert program.wait(_PATIENCE_S) == 0, program.log[-2000:]
        server.terminate()
        return program.lines()


def table(report: Report) -> str:
    """The report for a terminal."""
    numbers = asdict(report.comparison) | {
        name: getattr(report, name)
        for name in (
            "longest_outage_s",
            "longest_backlog",
            "worst_send_ms",
            "spool_refusals",
            "journal_failures",
        )
    }
    rows: list[tuple[str, Any]] = [("fault", "times (longest outage, s)")]
    rows += [(name, f"{times:4d} {report.outages_s[name]:10.1f}") for name, times in report.faults.items()]
    rows += [("", "")]
    rows += [(name, f"{value:.1f}" if isinstance(value, float) else value) for name, value in numbers.items()]
    rows += [(f"recording: {name}", value) for name, value in report.recording.items()]
    rows += [(f"frames {flag}", value) for flag, value in report.flags.items()]
    lines = [f"{name:32} {value!s:>10}" for name, value in rows]
    if report.left_out:
        lines.append(f"left out: {report.left_out}")
    return "\n".join([*lines, "IDENTICAL to the undisturbed run" if report.is_well else "NOT as undisturbed"])


def main(argv: Sequence[str]) -> int:
    """Run and return the exit status."""
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("--faults", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--side", type=int, default=128, help="of a frame, pixels")
    parser.add_argument("--interval", type=float, default=0.1, help="seconds between frames")
    parser.add_argument("--bundle", type=Path, default=shipped_bundle())
    parser.add_argument("--out", type=Path, help="folder of chaos.json")
    wishes = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="dimstream-chaos-", ignore_cleanup_errors=True) as folder:
        report = run(
            Path(folder),
            bundle=wishes.bundle,
            faults=wishes.faults,
            seed=wishes.seed,
            side=wishes.side,
            interval_s=wishes.interval,
            say=lambda text: print(text, flush=True),
        )
    print(table(report))
    if wishes.out is not None:
        wishes.out.mkdir(parents=True, exist_ok=True)
        (wishes.out / "chaos.json").write_text(json.dumps(asdict(report), indent=1) + "\n")
    return 0 if report.is_well else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
