"""`dimstream-analyse follow` as a process beside a real server: its figures, and what it leaves alone."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from forked import Forked, forked
from live_viewers import viewing
from numpy.typing import NDArray

from dimstream_client import Client
from dimstream_client.keys import TOKEN, make_token, read_only_entry
from dimstream_client.messages import PlaneIndex
from dimstream_models.analysis.cli import main
from dimstream_models.er_figures import FIGURES

pytestmark = pytest.mark.slow

SIDE = 96
PIXEL_UM = 0.02
TIMEOUT_S = 60
IMPORTED = ("dimstream_models.analysis.following", "dimstream_models.analysis.network_segmenter")


def er_frame(seq: int) -> NDArray[np.uint16]:
    """Counts of a lattice of tubules around a sheet that grows, one wall of which comes and goes."""
    er = np.zeros((SIDE, SIDE), bool)
    for at in (16, 48, 80):
        er[at - 2 : at + 3] = er[:, at - 2 : at + 3] = True
    er[20:45, 46:51] &= bool(seq % 2)
    er[56:76, 56 : 70 + seq] = True
    return np.random.default_rng(seq).poisson(1 + 30.0 * er).astype(np.uint16)


class Worker:
    """The command in a process of its own."""

    def __init__(self, process: Forked, log: Path) -> None:
        self.process, self._log = process, log

    @property
    def said(self) -> str:
        return self._log.read_text()

    def end(self) -> str:
        """Wait until it ends by itself; what it says at last."""
        assert self.process.wait(TIMEOUT_S) == 0, self.said
        return self._log.with_suffix(".out").read_text()

    def stop(self) -> str:
        """Ask it to end; what it says at last."""
        self.process.terminate()
        return self.end()


@pytest.fixture
def follow(tmp_path: Path) -> Iterator[Callable[..., Worker]]:
    """`follow(server, *options)`: a worker of that server."""
    workers: list[Worker] = []

    def start(server: Any, *options: str) -> Worker:
        log = tmp_path / f"worker-{len(workers)}.log"
        words = ["follow", "--server", server.addresses.http, "--nice", "0", *options]
        process = forked(*IMPORTED).start(
            "dimstream_models.analysis.cli:main", words, out=log.with_suffix(".out"), errors=log
        )
        workers.append(Worker(process, log))
        return workers[-1]

    yield start
    for worker in workers:
        worker.process.kill()
        worker.process.wait(TIMEOUT_S)


def until(condition: Callable[[], Any], what: str) -> Any:
    """What this gives once it is true."""
    deadline = time.monotonic() + TIMEOUT_S
    while not (found := condition()):
        assert time.monotonic() < deadline, what
        time.sleep(0.02)
    return found


@contextmanager
def microscope(server: Any, **options: Any) -> Iterator[tuple[Any, Callable[[int], None]]]:
    """A stream, and what has so many more of its frames denoised."""
    with Client(server.addresses.zmq, name="microscope-3") as client:
        stream = client.open((SIDE, SIDE), "uint16", pixel_size_um=PIXEL_UM, **options)
        seqs = iter(range(1_000_000))

        def send(count: int) -> None:
            for _ in range(count):
                stream.send(er_frame(next(seqs)))
                assert stream.take(timeout_s=TIMEOUT_S) is not None

        yield stream, send


def analysed(server: Any, stream: str, *, frames: int = 1, token: str = "") -> dict[str, Any]:
    """What the live view says of the analysis of a stream, once it has had figures of so many frames."""
    with viewing(server.addresses.http, token=token) as viewer:

        def of(header: dict[str, Any]) -> list[dict[str, Any]]:
            of_stream = [one for one in header.get("streams", ()) if one["stream"] == stream]
            found = [one["analysis"] for one in of_stream if one["analysis"] is not None]
            return [one for one in found if one["frames"] >= frames]

        header, _ = viewer.until(of)
    return of(header)[0]


def test_figures_are_those_of_the_recording_analysed_afterwards(
    start_server: Any, follow: Callable[..., Worker], tmp_path: Path
) -> None:
    recordings = tmp_path / "recordings"
    server = start_server("identity", recording={"folder": str(recordings)})
    with microscope(server, save=True) as (stream, send):
        worker = follow(server, "--stream", stream.id)
        for count in range(1, 5):  # one by one, so that it has time for each
            send(1)
            last = analysed(server, stream.id, frames=count)
            assert last["seq"] == count - 1
            assert last["analysis"].startswith("NetworkSegmenter(")
        stream.close()
        out = worker.end()  # as the stream has ended
    assert f"stream {stream.id} of microscope-3: 4 of 4 frames analysed" in out
    (folder,) = recordings.iterdir()
    take = ["--take", "ok", "unjudged", "suspect"]
    done = ["run", str(folder), *take, "--out", str(tmp_path / "out"), "--workers", "1"]
    assert main(done) == 0
    live, offline = pd.read_csv(folder / "analysis.csv"), pd.read_csv(tmp_path / "out" / "frames.csv")
    columns = [figure.column(scaled=True) for figure in FIGURES.values()]
    pd.testing.assert_frame_equal(live[columns], offline[columns], check_dtype=False, rtol=1e-12)
    assert live.seq.tolist() == [0, 1, 2, 3]
    assert live.flag.tolist() == offline.flag.tolist()
    assert live.foreground.nunique() == 4  # frames differ, so equal figures mean something


def test_it_takes_the_newest_and_the_streams_go_on_when_it_is_killed(
    start_server: Any, follow: Callable[..., Worker]
) -> None:
    server = start_server("identity")
    with microscope(server) as (stream, send), microscope(server) as (other, send_other):
        first = follow(server)
        send(1)
        send_other(1)
        analysed(server, stream.id)
        analysed(server, other.id)
        first.process.kill()
        first.process.wait(TIMEOUT_S)
        send(3)
        assert analysed(server, stream.id)["seq"] == 0
        second = follow(server, "--nice", "1")  # no more: it would get nothing on a busy machine
        last = analysed(server, stream.id, frames=2)
        assert last["seq"] == 3
        assert os.getpriority(os.PRIO_PROCESS, second.process.pid) == os.getpriority(os.PRIO_PROCESS, 0) + 1
        send(40)
        while last["seq"] != 43:
            last = analysed(server, stream.id, frames=last["frames"] + 1)
        assert last["frames"] < 44
        said = second.stop()
        found = re.search(rf"stream {stream.id} of microscope-3: (\d+) of (\d+) frames analysed", said)
        assert found, said
        assert 2 <= int(found[1]) < int(found[2]) <= 44  # of those that it had heard of


def test_it_waits_for_a_server_that_is_away_and_follows_one_plane(
    start_server: Any, follow: Callable[..., Worker], tmp_path: Path
) -> None:
    make_token(tmp_path / "tokens", "script")
    path = make_token(tmp_path / "analyses", "er")
    token = read_only_entry(path, TOKEN).value
    tokens = {"tokens": str(tmp_path / "tokens"), "analysis_tokens": str(path)}
    first = start_server("identity", http=tokens)
    address = first.addresses.http.removeprefix("http://")
    worker = follow(first, "--plane", "0", "1", "0", "--token-file", str(path))
    until(lambda: "watching http" in worker.said, "it did not connect")
    first.begin_stop()
    first.wait_stopped()
    until(lambda: "trying again" in worker.said, "it did not notice")
    server = start_server("identity", http={"address": address, **tokens})
    with Client(server.addresses.zmq, name="stack") as client:
        stream = client.open((SIDE, SIDE), "uint16")
        for seq in range(4):
            stream.send(er_frame(seq), index=PlaneIndex(t=seq // 2, c=0, z=seq % 2, p=0))
            assert stream.take(timeout_s=TIMEOUT_S) is not None
        last = analysed(server, stream.id, token=token)
        while last["seq"] != 3:
            last = analysed(server, stream.id, frames=last["frames"] + 1, token=token)
        with viewing(server.addresses.http, token=token) as viewer:
            viewer.watch(stream=stream.id, er=["gaps"])
            _, arrays = viewer.of_kind("er")
        assert set(arrays["seq"].astype(int)) <= {1, 3}
    worker.stop()


def test_who_is_not_let_in_is_told_what_is_wanted(
    start_server: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_token(tmp_path / "tokens", "script")
    server = start_server("identity", http={"tokens": str(tmp_path / "tokens")})
    known = ["follow", "--server", server.addresses.http, "--nice", "0"]
    empty = tmp_path / "empty.token"
    empty.touch()
    for more, said in (([], "--token-file"), (["--token-file", str(empty)], "expected one line")):
        assert main([*known, *more]) == 2
        assert said in capsys.readouterr().err


@pytest.mark.parametrize("server", ["ftp://x:1", "127.0.0.1:8570", "http://:0"])
def test_an_address_that_is_none_is_refused(server: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["follow", "--server", server, "--nice", "0"]) == 2
    assert "expected http://HOST:PORT" in capsys.readouterr().err
