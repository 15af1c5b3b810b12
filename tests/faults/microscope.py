"""A program at the microscope: sends a movie with a spool, writes results down, may be killed.

``python -m faults.microscope FOLDER`` reads ``wishes.json`` there, leaves ``results.jsonl``,
``sends.jsonl`` and ``done``, and goes on where it was killed.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from dimstream_client import Client
from dimstream_client.errors import ConnectionLost, SpoolError, StreamError, Timeout
from dimstream_client.spool import Spool
from dimstream_client.stream import Stream
from faults.movies import Movie, said

_AGAIN_S = 0.05


@dataclass(frozen=True)
class Wishes:
    """What the program is to do.

    Parameters
    ----------
    frames : int or None
        None: until there is a file ``stop`` in the folder.
    spool : str or None
        Folder of the spool; by default ``spool`` next to the results.
    keeps : bool
        False: without a spool, so that sending waits for results and the program cannot go on when killed.
    """

    endpoint: str
    frames: int | None = None
    side: int = 64
    planes: int = 3
    seed: int = 1
    interval_s: float = 0.0
    timeout_s: float = 2.0
    save: bool = False
    maps: bool = False
    split_every: int = 0
    spool: str | None = None
    keeps: bool = True
    spool_bytes: int = 2**30
    reserve_bytes: int = 2**16
    memory_bytes: int = 2**22

    @property
    def movie(self) -> Movie:
        """What it sends."""
        return Movie(side=self.side, planes=self.planes, seed=self.seed)


def main(folder: Path) -> None:
    """Send everything and take every result."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s")
    wishes = Wishes(**json.loads((folder / "wishes.json").read_text()))
    if (folder / "done").exists():
        return
    written = _keep_whole_lines(folder / "results.jsonl")
    _log(folder, started_at=time.time())
    while True:
        with Client(wishes.endpoint, timeout_s=wishes.timeout_s) as client:
            try:
                stream = _open(client, wishes, folder, written)
            except (Timeout, ConnectionLost, StreamError) as error:
                if isinstance(error, StreamError) and not error.retryable:
                    raise
                logging.warning("not opened yet: %s", error)
                continue
            if stream is not None:
                _run(stream, wishes, folder)
        (folder / "done").touch()
        return


def _open(client: Client, wishes: Wishes, folder: Path, written: int) -> Stream | None:
    ways = {"maps": wishes.maps, "save": wishes.save, "split_every": wishes.split_every}
    shape = wishes.side, wishes.side
    if not wishes.keeps:
        return client.open(shape, "uint16", **ways)
    spool = Spool(
        wishes.spool or folder / "spool",
        max_bytes=wishes.spool_bytes,
        reserve_bytes=wishes.reserve_bytes,
        memory_bytes=wishes.memory_bytes,
    )
    try:
        if spool.resume_handle is not None:
            return client.resume(spool, settled=written)
        if written:  # the spool is removed when everything was dealt with
            return None
        return client.open(shape, "uint16", spool=spool, **ways)
    except BaseException:
        spool.close(done=False)
        raise


def _run(stream: Stream, wishes: Wishes, folder: Path) -> None:
    sender = threading.Thread(target=_send, args=(stream, wishes, folder), daemon=True)
    sender.start()
    with (folder / "results.jsonl").open("ab", buffering=0) as file:
        while (result := stream.take()) is not None:
            line = {**said(result), "at": time.time(), "backlog": stream.backlog}
            file.write(json.dumps(line).encode() + b"\n")
    sender.join()


def _send(stream: Stream, wishes: Wishes, folder: Path) -> None:
    try:
        worst_ms, seq = 0.0, stream.next_seq
        while not (folder / "stop").exists() and (wishes.frames is None or seq < wishes.frames):
            pixels = wishes.movie.frame(seq)
            begun = time.perf_counter()
            try:
                sent = stream.send(pixels, index=wishes.movie.index(seq), copy=False)
            except Timeout:  # without a spool: as fast as results are taken
                continue
            except SpoolError as error:  # the camera's own memory holds it for a while
                _log(folder, refused=seq, why=type(error).__name__, at=time.time())
                time.sleep(_AGAIN_S)
                continue
            finally:
                took_ms = (time.perf_counter() - begun) * 1000
                if took_ms > worst_ms:
                    worst_ms = took_ms
                    _log(folder, seq=seq, took_ms=took_ms)
            assert sent == seq
            seq += 1
            time.sleep(wishes.interval_s)
        stream.finish()
    except BaseException:
        logging.exception("the sender failed")
        os._exit(3)


def _log(folder: Path, **fields: object) -> None:
    with (folder / "sends.jsonl").open("a") as file:
        file.write(json.dumps(fields) + "\n")


def _keep_whole_lines(path: Path) -> int:
    content = path.read_bytes() if path.exists() else b""
    whole = content[: content.rfind(b"\n") + 1]
    path.write_bytes(whole)
    return whole.count(b"\n")


def run(words: list[str]) -> None:
    """Run it on the folder that is named."""
    main(Path(words[0]))


if __name__ == "__main__":
    run(sys.argv[1:])
