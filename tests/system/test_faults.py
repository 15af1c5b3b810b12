"""Whatever fails: each frame is answered exactly once, in order, as without faults (see `make chaos`)."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import zmq
from faults.bundles import write_tiny_bundle
from faults.disks import Disk, NoDisk, read_only, small_disk
from faults.movies import Movie, compare, said
from faults.networks import HOSTS, NoNetworks, Wire, two_networks, within
from faults.processes import Program, Server
from faults.proxy import Proxy
from faults.recordings import check_recording
from faults.stray import half_a_frame

from dimstream_client import Client
from dimstream_client.errors import ConnectionLost, StreamError, Timeout
from dimstream_client.messages import Credit, Error, Frame, Open, Opened
from dimstream_client.stream import Stream
from dimstream_client.wire import decode, encode

pytestmark = pytest.mark.slow

FRAMES = 120
WAYS = {"maps": True, "split_every": 4}
PATIENCE_S = 60
MIB = 2**20
Answers = list[dict[str, Any]]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny")


@pytest.fixture(scope="module")
def server(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(bundle, tmp_path_factory.mktemp("server"), settings={"zmq": {"silence_s": 2.0}}) as server:
        yield server


@pytest.fixture(scope="module")
def undisturbed(server: Server) -> Answers:
    answers = stream(server.endpoint, Movie())
    assert {each["flag"] for each in answers} == {"ok", "suspect", "unjudged"}, "such a movie proves nothing"
    return answers


@pytest.fixture
def has() -> Iterator[Callable[[AbstractContextManager[Any]], Any]]:
    """Enter what not every machine can have, or skip and say why."""
    with ExitStack() as stack:

        def enter(wanted: AbstractContextManager[Any]) -> Any:
            try:
                return stack.enter_context(wanted)
            except (NoDisk, NoNetworks) as error:
                pytest.skip(f"this machine cannot make this fault: {error}")

        yield enter


def stream(
    endpoint: str,
    movie: Movie,
    at: dict[int, Callable[[], object]] | None = None,
    *,
    frames: int = FRAMES,
    **ways: Any,
) -> Answers:
    """Stream a movie; do something once so many results have come."""
    answers: Answers = []
    with Client(endpoint, timeout_s=1.5) as client:
        sent = ((movie.frame(seq), movie.index(seq)) for seq in range(frames))
        for result in client.stream(sent, **WAYS, **ways):
            answers.append(said(result))
            if at and len(answers) in at:
                at[len(answers)]()
    return answers


def same(undisturbed: Answers, answers: Answers) -> None:
    comparison = compare(undisturbed, answers)
    assert comparison.is_identical, comparison


def killed(*processes: Server | Program) -> Callable[[], None]:
    def act() -> None:
        for each in processes:
            each.kill()
        for each in processes:
            each.start()

    return act


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"not true within {PATIENCE_S} s"
        time.sleep(0.01)


# --- processes


def test_a_server_that_is_killed_frozen_and_stopped(server: Server, undisturbed: Answers) -> None:
    def freeze() -> None:
        server.freeze()
        time.sleep(2.5)
        server.thaw()

    def stop() -> None:
        assert server.terminate() == 0
        server.start()

    at = {1: killed(server), 40: freeze, 70: stop, 71: killed(server)}
    same(undisturbed, stream(server.endpoint, Movie(), at))


def test_a_program_that_is_killed_alone_and_with_its_server(
    server: Server, undisturbed: Answers, tmp_path: Path
) -> None:
    program = Program(tmp_path, endpoint=server.endpoint, frames=FRAMES, interval_s=0.01, **WAYS)
    with program:
        for results in (1, 30, 31, 75):
            until(lambda results=results: program.count() >= results)
            killed(program)() if results < 75 else killed(server, program)()
        assert program.wait(PATIENCE_S) == 0, program.log
    same(undisturbed, program.lines())
    assert not (tmp_path / "spool").exists()


def test_a_program_that_is_killed_at_its_very_end(
    server: Server, undisturbed: Answers, tmp_path: Path
) -> None:
    with Program(tmp_path, endpoint=server.endpoint, frames=FRAMES, **WAYS) as program:
        until(lambda: program.count() == FRAMES)
        killed(program)()
        assert program.wait(PATIENCE_S) == 0, program.log
    same(undisturbed, program.lines())


def test_a_program_that_comes_before_its_server(bundle: Path, tmp_path: Path) -> None:
    server, spool, movie = Server(bundle, tmp_path / "server"), tmp_path / "spool", Movie()

    def patiently(make: Callable[[], Stream]) -> Stream:
        for _ in range(3):
            with pytest.raises((Timeout, ConnectionLost)):
                make()
        server.start()
        while True:
            with contextlib.suppress(Timeout, ConnectionLost):
                return make()

    with ExitStack() as stack:
        stack.push(server.__exit__)
        with Client(server.endpoint, timeout_s=0.3) as client:
            opened = patiently(lambda: client.open((64, 64), "uint16", spool=spool))
            for seq in range(3):
                opened.send(movie.frame(seq))
        server.kill()
        with Client(server.endpoint, timeout_s=0.3) as client:
            resumed = patiently(lambda: client.resume(spool))
            assert resumed.next_seq == 3
            resumed.finish()
            assert [result.seq for result in resumed.results()] == [0, 1, 2]


# --- networks


def test_a_network_that_is_cut_silent_reset_late_and_slow(server: Server, undisturbed: Answers) -> None:
    with Proxy(int(server.endpoint.rpartition(":")[2])) as network:

        def cut() -> None:
            network.cut()
            time.sleep(1)
            network.mend()

        def silent() -> None:  # for longer than the client waits
            network.hold()
            time.sleep(3)
            network.mend()

        def late() -> None:
            network.delay_s = 0.2

        def slow() -> None:
            network.mend()
            network.bytes_per_s = 125_000

        at = {10: cut, 30: silent, 50: network.reset, 51: network.reset, 60: late, 70: slow, 95: network.mend}
        same(undisturbed, stream(network.endpoint, Movie(), at))


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="needs root for network namespaces")
def test_a_network_that_loses_packets(
    bundle: Path, undisturbed: Answers, tmp_path: Path, has: Callable[..., Any]
) -> None:
    wire: Wire
    wire, names = has(two_networks(seed=7))
    settings = {"server": {"insecure_lan": True}}
    with Server(bundle, tmp_path, host=HOSTS[0], settings=settings, within=within(names[0])) as server:
        wishes = {"endpoint": server.endpoint, "frames": FRAMES, "interval_s": 0.02, "timeout_s": 1.5, **WAYS}
        program = Program(tmp_path / "program", within=within(names[1]), **wishes)
        wire.loss = 0.03
        with program:
            until(lambda: program.count() >= 30)
            wire.loss, wire.delay_s = 0.0, 0.1
            until(lambda: program.count() >= 50)
            wire.is_cut = True
            time.sleep(2.5)
            wire.mend()
            until(lambda: program.count() >= 70)
            wire.bytes_per_s = 125_000
            until(lambda: program.count() >= 90)
            wire.mend()
            assert program.wait(PATIENCE_S) == 0, program.log
    assert wire.lost > 3
    same(undisturbed, program.lines())


# --- disks


@dataclass
class FailingDisk:
    folder: Path
    fail: Callable[[], object]
    mend: Callable[[], object]


def failing_disk(how: str, folder: Path, has: Callable[..., Any], nbytes: int) -> FailingDisk:
    """A folder whose disk can be made full, or read-only; the test is skipped where that cannot be."""
    if how == "full":
        disk: Disk = has(small_disk(folder / "disk", nbytes))
        return FailingDisk(disk.folder, disk.fill, disk.free)
    where, broken = folder / "disk", has(ExitStack())
    where.mkdir()
    try:
        with read_only(where):
            pass
    except NoDisk as error:
        pytest.skip(f"this machine cannot make this fault: {error}")
    return FailingDisk(where, lambda: broken.enter_context(read_only(where)), broken.close)


def test_a_spool_whose_disk_is_full_then_read_only(
    server: Server, undisturbed: Answers, tmp_path: Path, has: Callable[..., Any]
) -> None:
    disk: Disk = has(small_disk(tmp_path / "disk", 16 * MIB))
    spool = disk.folder / "spool"
    wishes = {"frames": FRAMES, "interval_s": 0.02, "spool": str(spool), **WAYS}
    with Program(tmp_path / "program", endpoint=server.endpoint, **wishes) as program:
        until(lambda: program.count() >= 20)
        disk.keep_full(1)
        until(lambda: program.count() >= 60)
        with read_only(spool):
            time.sleep(0.5)
        assert program.wait(PATIENCE_S) == 0, program.log
    same(undisturbed, program.lines())
    told = {line["why"] for line in program.lines("sends.jsonl") if "why" in line}
    assert told == {"SpoolFull", "SpoolError"}


@pytest.mark.parametrize("how", ["full", "read-only"])
def test_a_journal_whose_disk_fails_hinders_no_frame(
    how: str, bundle: Path, undisturbed: Answers, tmp_path: Path, has: Callable[..., Any]
) -> None:
    disk = failing_disk(how, tmp_path, has, MIB)
    with Server(bundle, tmp_path / "server", state=disk.folder) as server:
        at = {20: disk.fail, 70: disk.mend, 100: killed(server)}
        same(undisturbed, stream(server.endpoint, Movie(), at))
        assert "event=journal_failed" in server.log
        assert "event=journal_well" in server.log


def readiness(server: Server) -> dict[str, str]:
    """What /readyz says of each check; of disks what was found within the last second."""
    try:
        with urllib.request.urlopen(f"{server.http}/readyz", timeout=20) as answer:
            return dict(json.load(answer)["checks"])
    except urllib.error.HTTPError as refused:
        with refused:
            return dict(json.load(refused)["checks"])


def delete_all(state: Path) -> None:
    for path in state.iterdir():
        path.unlink()


def delete_the_write_ahead_file(state: Path) -> None:
    (state / "journal.sqlite-wal").unlink()


def put_another_file_there(state: Path) -> None:
    other = state / "other"
    other.write_bytes(b"a backup, perhaps")
    other.replace(state / "journal.sqlite")


def delete_the_folder(state: Path) -> None:
    shutil.rmtree(state)


def move_the_folder_away(state: Path) -> None:
    state.rename(state.with_name("moved"))


@pytest.mark.parametrize(
    "tamper",
    [
        delete_all,
        *(
            pytest.param(tamper, marks=pytest.mark.slow)
            for tamper in (
                delete_the_write_ahead_file,
                put_another_file_there,
                delete_the_folder,
                move_the_folder_away,
            )
        ),
    ],
    ids=lambda tamper: tamper.__name__,
)
def test_a_journal_whose_files_are_taken_away_is_written_anew(
    tamper: Callable[[Path], None], bundle: Path, undisturbed: Answers, tmp_path: Path
) -> None:
    with Server(bundle, tmp_path / "server") as server:

        def take_away() -> None:
            tamper(server.state)
            until(lambda: "event=journal_well" in server.log)
            until(lambda: readiness(server)["journal"] == "ok" == readiness(server)["disk"])

        def start_a_second() -> None:
            second = Server(bundle, tmp_path / "second", state=server.state)
            second.begin()
            assert second.status(PATIENCE_S) == 2
            assert "another server uses it" in second.log

        at = {30: take_away, 40: start_a_second, 60: killed(server)}
        same(undisturbed, stream(server.endpoint, Movie(), at))
        assert "was deleted or replaced by another program" in server.log


def test_a_folder_that_another_server_took_meanwhile_is_left_to_it(bundle: Path, tmp_path: Path) -> None:
    with Server(bundle, tmp_path / "server") as server:
        os.kill(server.pid, signal.SIGSTOP)  # so that it does not look
        shutil.rmtree(server.state)
        with Server(bundle, tmp_path / "second", state=server.state) as second:
            os.kill(server.pid, signal.SIGCONT)
            until(lambda: "event=journal_failed" in server.log)
            until(lambda: "another server has" in readiness(server)["journal"])
            assert len(stream(second.endpoint, Movie(), frames=20)) == 20
        until(lambda: "event=journal_well" in server.log)


def test_a_stream_goes_on_while_the_journal_cannot_be_written(
    bundle: Path, undisturbed: Answers, tmp_path: Path, has: Callable[..., Any]
) -> None:
    disk: Disk = has(small_disk(tmp_path / "disk", MIB))
    with (
        Server(bundle, tmp_path / "server", state=disk.folder) as server,
        Proxy(int(server.endpoint.rpartition(":")[2])) as network,
    ):

        def lose_results() -> None:  # that the journal knows already, and has no room to forget
            network.hold()
            time.sleep(1)
            disk.fill()
            network.reset()
            network.mend()

        same(undisturbed, stream(network.endpoint, Movie(), {40: lose_results, 80: disk.free}))


def test_a_journal_that_was_full_when_the_server_died_costs_a_judgement_and_no_frame(
    bundle: Path, undisturbed: Answers, tmp_path: Path, has: Callable[..., Any]
) -> None:
    disk: Disk = has(small_disk(tmp_path / "disk", MIB))
    with Server(bundle, tmp_path / "server", state=disk.folder) as server:

        def die() -> None:
            server.kill()
            disk.free()
            server.start()

        answers = stream(server.endpoint, Movie(), {20: disk.fill, 70: die})
    comparison = compare(undisturbed, answers)
    assert (comparison.answered, comparison.duplicates, comparison.out_of_order) == (FRAMES, 0, 0)
    assert comparison.differing_pixels == 0
    changed = [
        after for before, after in zip(undisturbed, answers, strict=True) if before["ssim"] != after["ssim"]
    ]
    assert 1 <= len(changed) <= Movie().planes
    assert {each["flag"] for each in changed} == {"unjudged"}


@pytest.mark.parametrize("how", ["full", "read-only"])
def test_a_recording_whose_disk_fails_stops_and_the_stream_goes_on(
    how: str, bundle: Path, undisturbed: Answers, tmp_path: Path, has: Callable[..., Any]
) -> None:
    disk = failing_disk(how, tmp_path, has, 24 * MIB)
    settings = {"recording": {"reserve_bytes": 16 * MIB, "warn_bytes": 16 * MIB}}
    with Server(bundle, tmp_path / "server", record=disk.folder, settings=settings) as server:
        same(undisturbed, stream(server.endpoint, Movie(), {30: disk.fail}, save=True))
        assert "event=recording_stopped" in server.log
    disk.mend()
    (recording,) = (each for each in disk.folder.iterdir() if each.is_dir())
    lines = [json.loads(line) for line in (recording / "frames.jsonl").read_text().splitlines()]
    frames = [line["seq"] for line in lines if "event" not in line]
    assert frames == list(range(len(frames)))
    assert 22 <= len(frames) < FRAMES


def test_a_recording_is_whole_after_kills(bundle: Path, undisturbed: Answers, tmp_path: Path) -> None:
    folder = tmp_path / "recordings"
    with Server(bundle, tmp_path / "server", record=folder) as server:
        same(undisturbed, stream(server.endpoint, Movie(), {50: killed(server)}, save=True))
    assert check_recording(folder, Movie(), undisturbed) == {"frames": FRAMES, "wrong": []}


# --- models


def test_a_bundle_that_is_removed_and_replaced(bundle: Path, undisturbed: Answers, tmp_path: Path) -> None:
    served = shutil.copytree(bundle, tmp_path / "served")
    with Server(served, tmp_path / "server") as server:

        def removed() -> None:
            shutil.rmtree(served)
            server.kill()
            server.begin()
            assert server.status(PATIENCE_S) == 2
            shutil.copytree(bundle, served)
            server.start()

        def replaced() -> None:  # other weights under the same name must not go on with the stream
            shutil.rmtree(served)
            write_tiny_bundle(served, "sharper")
            server.kill()
            server.start()
            until(lambda: "code=unknown_model" in server.log)
            shutil.rmtree(served)
            shutil.copytree(bundle, served)
            server.kill()
            server.start()

        at = {
            20: lambda: shutil.move(served, f"{served}-away"),
            40: lambda: shutil.move(f"{served}-away", served),
        }
        same(undisturbed, stream(server.endpoint, Movie(), {**at, 50: removed, 90: replaced}))


@pytest.mark.parametrize("kind", ["raising", "nan"])
def test_a_model_that_fails_in_the_middle(kind: str, bundle: Path, tmp_path: Path) -> None:
    movie = Movie(marked=(40, 41, 77))
    with Server(write_tiny_bundle(tmp_path / "bundle", kind), tmp_path / "server") as server:
        without_faults = stream(server.endpoint, movie)
        failed = [each["seq"] for each in without_faults if each["status"] == "failed"]
        assert failed == [40, 41, 77]
        same(without_faults, stream(server.endpoint, movie, {42: killed(server)}))


# --- clocks


def test_clocks_that_are_set(bundle: Path, undisturbed: Answers, tmp_path: Path) -> None:
    offset = tmp_path / "offset"
    offset.write_text("0")
    (tmp_path / "sitecustomize.py").write_text(
        "import pathlib, time\n"
        "true, offset = time.time, pathlib.Path(__file__).with_name('offset')\n"
        "time.time = lambda: true() + float(offset.read_text() or 0)\n"
    )
    settings = {"zmq": {"lease_s": 60.0, "silence_s": 1.0}}
    within = ["env", f"PYTHONPATH={tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"]
    with Server(bundle, tmp_path / "server", settings=settings, within=within) as server:

        def step(seconds: float) -> Callable[[], None]:
            def act() -> None:
                unfinished = tmp_path / "unfinished"
                unfinished.write_text(str(seconds))
                unfinished.replace(offset)
                time.sleep(1.2)

            return act

        at = {20: step(90_000), 40: killed(server), 60: step(-90_000), 100: step(0)}
        same(undisturbed, stream(server.endpoint, Movie(), at))
        assert "event=lease_ended" not in server.log


# --- many, and strangers


def test_twenty_clients_one_of_which_never_reads(server: Server, undisturbed: Answers) -> None:
    with zmq.Context() as context, context.socket(zmq.DEALER) as deaf:
        deaf.setsockopt(zmq.LINGER, 0)
        deaf.connect(server.endpoint)
        deaf.send_multipart(encode(Open(client="deaf", shape=(512, 512), dtype="uint16")))
        opened = decode(deaf.recv_multipart(), max_payload_bytes=0)
        assert isinstance(opened, Opened)
        for seq in range(opened.limit):
            deaf.send_multipart(encode(Frame(opened.stream, seq, Movie(side=512).frame(seq))))
        with ThreadPoolExecutor(19) as pool:
            runs = [pool.submit(stream, server.endpoint, Movie(), frames=50) for _ in range(19)]
            for run in runs:
                same(undisturbed[:50], run.result())


def test_a_client_that_opens_ten_thousand_streams(server: Server, undisturbed: Answers) -> None:
    told: list[str] = []

    def open_them() -> None:
        with zmq.Context() as context, context.socket(zmq.DEALER) as greedy:
            for option in (zmq.SNDHWM, zmq.RCVHWM, zmq.LINGER):
                greedy.setsockopt(option, 0)
            greedy.connect(server.endpoint)
            for _ in range(10_000):
                greedy.send_multipart(encode(Open(client="greedy", shape=(64, 64), dtype="uint16")))
            while len(told) < 10_000 and greedy.poll(60_000):
                answer = decode(greedy.recv_multipart(), max_payload_bytes=0)
                if not isinstance(answer, Credit):
                    told.append(answer.code if isinstance(answer, Error) else answer.TYPE)

    same(undisturbed, stream(server.endpoint, Movie(), {20: open_them}))
    assert set(told) <= {"OPENED", "too_many_streams", "server_busy"}
    assert len(told) == 10_000
    assert told.count("OPENED") < 64

    def is_there_room() -> bool:
        try:
            with Client(server.endpoint) as client:
                client.open((64, 64), "uint16").close()
        except StreamError as error:
            if error.code not in ("too_many_streams", "server_busy"):
                raise
            return False
        return True

    until(is_there_room)  # the greedy one is gone, which the server finds out


def test_half_a_frame_and_then_silence(server: Server, undisturbed: Answers) -> None:
    strangers: list[Any] = []

    def come() -> None:
        strangers.extend(half_a_frame(server.endpoint) for _ in range(20))

    same(undisturbed, stream(server.endpoint, Movie(), {10: come}))
    for stranger in strangers:
        stranger.close()
