"""The thread of a gateway: it owns the connections to the workers, and the state of all streams."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, Final, Protocol

import zmq

from dimstream_client.errors import DimstreamError
from dimstream_client.keys import CurveKeys
from dimstream_client.messages import Close, Error, Message, Open, Opened
from dimstream_server.engine.protocol import ModelInfo
from dimstream_server.errors import ServerError
from dimstream_server.workers.placed_stream import CLIENT
from dimstream_server.workers.streams_at_workers import StreamsAtWorkers
from dimstream_server.workers.worker import Link, Worker

POLL_MS: Final = 100
PROBE_S: Final = 2.0  # interval of asking a worker whether it now serves a model
_PROBE_SIDE: Final = 64  # px
_log = logging.getLogger(__name__)


class EngineCallbacks(Protocol):
    """Callbacks of the thread; each call comes from that thread only."""

    def answered(self, stream: str) -> None:
        """One accepted frame will be answered now."""

    def closed(self, stream: str) -> None:
        """A stream has ended."""

    def left(self, stream: str, model: str) -> None:
        """A stream no longer uses a model, or will no longer change to it."""

    def models(self) -> Mapping[str, ModelInfo]:
        """The served models, by id."""

    def may_stop(self) -> bool:
        """Whether no command is waiting; after True, no more commands are accepted."""

    def broken(self, error: BaseException) -> None:
        """The thread ends because of an error."""

    def stopped(self) -> None:
        """The thread ends; nothing more is sent to workers."""


class GatewayThread:
    """Processes commands and messages of workers, and supervises the workers.

    Parameters
    ----------
    keys : CurveKeys, optional
        Without keys, nothing is encrypted.
    """

    def __init__(
        self, callbacks: EngineCallbacks, *, keys: CurveKeys | None, largest_bytes: int, silence_s: float
    ) -> None:
        self._callbacks = callbacks
        self._commands: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._context = zmq.Context()
        self._link = Link(self._context, keys, largest_bytes, silence_s)
        self._wake_sender = self._context.socket(zmq.PAIR)
        self._wake_receiver = self._context.socket(zmq.PAIR)
        self._wake_sender.bind("inproc://wake-up")
        self._wake_receiver.connect("inproc://wake-up")
        self._wake_lock = threading.Lock()
        self._is_woken = False
        self.workers: tuple[Worker, ...] = ()
        """It is never changed but replaced, so that any thread may read it."""
        self.streams = StreamsAtWorkers(callbacks, lambda: self.workers)
        self._drains: list[Future[None]] = []
        self._looked_at = 0.0
        self._named: frozenset[str] = frozenset()  # addresses of the workers that were not removed
        self._thread = threading.Thread(target=self._run, name="dimstream-gateway", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    @property
    def has_commands(self) -> bool:
        """Whether a command was posted but not done."""
        return not self._commands.empty()

    def post(self, command: Callable[[], None]) -> None:
        """Post a command to the thread, from any thread, in order."""
        self._commands.put(command)
        with self._wake_lock:
            if not self._is_woken:
                self._is_woken = True
                self._wake_sender.send(b"")

    # --- commands; on the thread

    def set_workers(self, addresses: tuple[str, ...]) -> None:
        """Use these workers from now on; streams of others move after their frames there are answered."""
        known = {worker.address: worker for worker in self.workers}
        for address, worker in known.items():
            if address not in addresses:
                worker.is_leaving = True
                worker.trouble = "it was removed; its streams are moving"
                for stream in self.streams.of(worker):
                    self.streams.leave(stream)
        added = [Worker(address, self._link) for address in addresses if address not in known]
        for address in addresses:
            if address in known and known[address].is_leaving:
                known[address].is_leaving = False
                known[address].trouble = None if known[address].is_up else "it has not answered yet"
        self.workers = (*self.workers, *added)
        self._looked_at = 0.0
        self._named = frozenset(addresses)

    def find_model(self, model: str, sha256: str, future: Future[bool]) -> None:
        """Ask all workers for a model; the future returns whether one serves it."""
        asked = [worker for worker in self.workers if worker.is_up and not worker.is_leaving]
        left = len(asked)

        def probed(worker: Worker) -> None:
            nonlocal left
            left -= 1
            if not future.done() and (worker.models.get(model) == sha256 or not left):
                future.set_result(worker.models.get(model) == sha256)

        if not asked:
            future.set_result(False)
        for worker in asked:
            self._probe(worker, model, partial(probed, worker))

    def drain(self, future: Future[None]) -> None:
        """Stop after everything is answered."""
        self._drains.append(future)

    # --- the thread

    def _run(self) -> None:
        try:
            while not (self._drains and self.streams.is_idle and self._callbacks.may_stop()):
                self._turn()
        except BaseException as error:
            self._callbacks.broken(error)
            self.streams.abandon(ServerError(f"the gateway's thread died: {error!r}; restart the gateway"))
            raise
        finally:
            self._end()
            self._callbacks.stopped()
        for future in self._drains:
            future.set_result(None)

    def _turn(self) -> None:
        poller = zmq.Poller()
        poller.register(self._wake_receiver, zmq.POLLIN)
        for worker in self.workers:
            for socket in worker.sockets:
                poller.register(socket, zmq.POLLIN)
        poller.poll(POLL_MS)
        self._run_commands()
        now = time.monotonic()
        for worker in self.workers:
            self._receive(worker, now)
            lost = worker.look(now)
            if lost is not None:
                self._lose(worker, lost, now)
        if now - self._looked_at > POLL_MS / 1000:
            self._looked_at = now
            self._look_after(now)

    def _run_commands(self) -> None:
        with self._wake_lock:
            if self._is_woken:
                self._wake_receiver.recv()
                self._is_woken = False
        while True:
            try:
                command = self._commands.get_nowait()
            except Empty:
                return
            command()

    def _receive(self, worker: Worker, now: float) -> None:
        was_up = worker.is_up
        while True:
            try:
                message = worker.receive(now)
            except DimstreamError as error:
                self._lose(worker, f"it sent an invalid message: {error.detail}", now)
                return
            if message is None:
                break
            self._take(worker, message)
        if worker.is_up and not was_up:
            _log.info("a worker answers event=worker_up worker=%s", worker.address)
            self._probe_all(worker, now)

    def _take(self, worker: Worker, message: Message) -> None:
        if isinstance(message, Error) and message.code == "draining":
            worker.is_leaving, worker.trouble = True, "it is stopping"
            for stream in self.streams.of(worker):
                self.streams.move(stream, "its worker is stopping")
            return
        self.streams.take(worker, message)

    def _lose(self, worker: Worker, why: str, now: float) -> None:
        if worker.is_up or worker.trouble != why:
            _log.warning("a worker is lost event=worker_lost worker=%s reason=%r", worker.address, why)
        was_leaving = worker.address not in self._named
        worker.hang_up(now)
        self.streams.forget(worker)
        worker.trouble, worker.is_leaving = why, was_leaving
        for stream in self.streams.of(worker):
            self.streams.move(stream, f"its worker {worker.address} is lost: {why}")

    def _look_after(self, now: float) -> None:
        """Drop removed workers without streams, ask again for models, and place streams."""
        gone = [one for one in self.workers if one.address not in self._named and not one.placed]
        for worker in gone:
            worker.hang_up(now)
        if gone:
            self.workers = tuple(worker for worker in self.workers if worker not in gone)
        for worker in self.workers:
            if worker.is_up and now - worker.probed_at > PROBE_S:
                self._probe_all(worker, now)
        self.streams.place_waiting(now)

    def _probe_all(self, worker: Worker, now: float) -> None:
        worker.probed_at = now
        for info in self._callbacks.models().values():
            if worker.models.get(info.id) != info.sha256:
                self._probe(worker, info.id, self._probed)

    def _probed(self) -> None:
        """Check whether streams should move, because a worker may serve more than before."""
        self.streams.place_waiting(time.monotonic())
        self.streams.spread()

    def _probe(self, worker: Worker, model: str, then: Callable[[], object]) -> None:
        """Check whether a worker serves a model, with a stream without frames."""

        def answer(answered: Opened | Error) -> None:
            if isinstance(answered, Opened):
                worker.say(Close(answered.stream))
            why_not = _why_not_served(answered, self._callbacks.models().get(model))
            if why_not is None and isinstance(answered, Opened):
                worker.models[model] = answered.model.sha256
                worker.trouble = worker.trouble if worker.is_leaving else None
            else:
                worker.lacks(model, why_not or "")
            then()

        ask = Open(CLIENT, (_PROBE_SIDE, _PROBE_SIDE), "uint16", model=model, deliver="flags", window=1)
        worker.ask(ask, answer)

    def _end(self) -> None:
        with contextlib.suppress(Exception):
            for worker in self.workers:
                worker.hang_up(0.0)
        with self._wake_lock:
            self._is_woken = True  # nothing is sent any more
        self._context.destroy(linger=0)


def _why_not_served(answered: Opened | Error, info: ModelInfo | None) -> str | None:
    """Return why a worker cannot have streams of a model; None if it can. Without `info`, any weights are
    accepted."""
    if isinstance(answered, Error):
        return answered.detail
    if info is None:
        return None
    if answered.model.sha256 != info.sha256:
        return f"expected weights with sha256 {info.sha256}, but it has {answered.model.sha256}"
    if answered.thresholds != info.thresholds:
        return (
            f"expected thresholds {info.thresholds}, but it has {answered.thresholds}: let it run the same "
            "bundle with the same precision"
        )
    return None


def describe(worker: Worker, streams: int) -> dict[str, Any]:
    """Return the description of a worker for operators."""
    return {
        "address": worker.address,
        "is_up": worker.is_up,
        "is_leaving": worker.is_leaving,
        "streams": streams,
        "models": sorted(worker.models),
        "device": worker.device,
        "trouble": worker.trouble,
    }
