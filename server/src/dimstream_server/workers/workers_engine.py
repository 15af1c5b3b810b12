"""The engine of a gateway: the `Engine` protocol, implemented by workers that denoise."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from functools import partial
from typing import Any, Final, Protocol

from dimstream_client.keys import CurveKeys
from dimstream_models.bundle import Bundle
from dimstream_server.engine.loading import model_info
from dimstream_server.engine.protocol import (
    DeviceReport,
    EngineDevice,
    EngineLimits,
    EngineResult,
    FrameTask,
    InForce,
    ModelInfo,
    PreparedModel,
    StreamSpec,
)
from dimstream_server.engine.quotas import Quotas, check_frame, check_spec
from dimstream_server.engine.resume_state import Counts, ResumeState
from dimstream_server.engine.served_models import ServedModels
from dimstream_server.engine.stream_state import CloseStream, Gap, Job
from dimstream_server.errors import BadUpdate, DeviceUnavailable, ServerBusy
from dimstream_server.workers.gateway_thread import GatewayThread, describe
from dimstream_server.workers.placed_stream import PlacedStream

_SLACK_BYTES: Final = 2**20
_LARGEST_ITEM: Final = 4  # bytes of a pixel


class Cluster(Protocol):
    """Starts workers in a cluster, in addition to named ones."""

    def trouble(self) -> str | None:
        """Why some workers are not running; None if all are."""

    def resize(self, count: int) -> None:
        """Set the number of workers."""

    def close(self) -> None:
        """Stop all workers."""


class WorkersEngine:
    """Gives each stream to a worker, and to another one when it is lost, without losing frames or changing
    pixels.

    Of each stream, it keeps the unanswered frames, which the limits bound, and the last raw frame of each
    plane.

    Parameters
    ----------
    bundles : iterable of Bundle
        Bundles to serve; a worker gets a stream if it serves the same weights with the same id.
    workers : tuple of str
        ZeroMQ endpoints of the workers, ``tcp://HOST:PORT``.
    keys : CurveKeys, optional
        Without keys, nothing is encrypted.
    silence_s : float
        A worker that sends nothing for this time is lost.

    Attributes
    ----------
    cluster : Cluster or None
        Starts workers in addition to named ones; it is closed when the engine has stopped.

    Raises
    ------
    DuplicateModel
    """

    def __init__(
        self,
        bundles: Iterable[Bundle],
        workers: tuple[str, ...],
        *,
        limits: EngineLimits | None = None,
        keys: CurveKeys | None = None,
        silence_s: float = 10.0,
    ) -> None:
        self._limits = limits or EngineLimits()
        self._quotas = Quotas(self._limits, keeps_frames=True)
        self._models = ServedModels(bundles, self._quotas)
        self._trouble: str | None = None
        self._lock = threading.Lock()  # guards the quotas, and keeps commands in the order of acceptance
        largest = _LARGEST_ITEM * self._limits.frame_pixels + _SLACK_BYTES
        self._thread = GatewayThread(self, keys=keys, largest_bytes=largest, silence_s=silence_s)
        self._streams = self._thread.streams
        self._addresses: tuple[str, ...] = ()
        self._placed: tuple[str, ...] = ()
        self.cluster: Cluster | None = None
        self.set_workers(workers)
        self._thread.start()

    # --- workers

    @property
    def addresses(self) -> tuple[str, ...]:
        """Endpoints of the named workers."""
        return self._addresses

    def set_workers(self, addresses: tuple[str, ...]) -> None:
        """Use these workers from now on; streams of others move between two frames."""
        with self._lock:
            self._addresses = addresses
            self._use_workers()

    def set_placed(self, addresses: tuple[str, ...]) -> None:
        """The same for workers that the cluster has started, in addition to named ones."""
        with self._lock:
            self._placed = addresses
            self._use_workers()

    def _use_workers(self) -> None:
        if not self._quotas.stopped:
            addresses = tuple(dict.fromkeys((*self._addresses, *self._placed)))
            self._thread.post(partial(self._thread.set_workers, addresses))

    def workers(self) -> list[dict[str, Any]]:
        """Return the descriptions of all workers for operators."""
        return [describe(worker, len(worker.placed)) for worker in self._thread.workers]

    def shortage(self) -> str | None:
        """Return which models no worker serves now, and why; None if there is a worker for each."""
        usable = [worker for worker in self._thread.workers if worker.is_up and not worker.is_leaving]
        lacking = [
            info.id
            for info in self._models.infos.values()
            if not any(worker.models.get(info.id) == info.sha256 for worker in usable)
        ]
        if not lacking:
            return None
        reasons = [f"{worker.address}: {worker.trouble}" for worker in self._thread.workers]
        if self.cluster is not None and (trouble := self.cluster.trouble()) is not None:
            reasons.append(trouble)
        return f"no worker serves {', '.join(lacking)}; {'; '.join(reasons) or 'there are no workers'}"

    def lost(self) -> str | None:
        """Return which workers cannot be used while others work, and how many streams are waiting; None if
        all work."""
        workers = self._thread.workers
        lost = [f"{worker.address}: {worker.trouble}" for worker in workers if worker.trouble is not None]
        said = [f"{len(lost)} of {len(workers)} workers are lost: {'; '.join(lost)}"] if lost else []
        if waiting := self._streams.waiting_on():
            devices = ", ".join(sorted({device for device in waiting if device is not None}))
            began = f", begun on {devices}" if devices else ""
            said.append(f"{len(waiting)} streams are waiting for a suitable worker{began}")
        return "; ".join(said) or None

    # --- the engine

    def device(self) -> EngineDevice:
        """The device on which it runs."""
        return EngineDevice("workers", "as the workers", "dimstream gateway")

    def devices(self) -> tuple[DeviceReport, ...]:
        """Return the state of each worker."""
        return tuple(
            DeviceReport(
                worker.address,
                worker.trouble,
                streams=len(placed := tuple(worker.placed)),
                queued=sum(stream.sent for stream in placed),
                answered=worker.answered,
            )
            for worker in self._thread.workers
        )

    def models(self) -> Mapping[str, ModelInfo]:
        """The served models, by id."""
        return self._models.infos

    def prepare(self, bundle: Bundle) -> Future[PreparedModel]:
        """Find a worker that serves a bundle; see `Engine.prepare`."""
        prepared: Future[PreparedModel] = Future()
        prepared.set_running_or_notify_cancel()
        info, found = model_info(bundle), Future[bool]()

        def done(outcome: Future[bool]) -> None:
            if outcome.result():
                prepared.set_result(PreparedModel(info, {}))
            else:
                prepared.set_exception(
                    DeviceUnavailable(
                        f"no worker serves {info.id} with sha256 {info.sha256}; load it at the workers first"
                    )
                )

        found.add_done_callback(done)
        with self._lock:
            self._quotas.check_serving()
            self._thread.post(partial(self._thread.find_model, info.id, info.sha256, found))
        return prepared

    def serve(self, prepared: PreparedModel) -> ModelInfo:
        """Serve a prepared model; see `Engine.serve`."""
        info = prepared.info
        with self._lock:
            self._models.add(info)
        return info

    def withdraw(self, model: str) -> None:
        """Stop serving a model; see `Engine.withdraw`."""
        with self._lock:
            self._models.remove(model)

    def open(self, spec: StreamSpec, resume_state: ResumeState | None = None) -> str:
        """Open a stream, and return its id; see `Engine.open`.

        Raises
        ------
        ServerBusy
            When no worker serves its model now and it is new; a resumed stream waits for a worker.
        """
        info = self._models.find(spec.model)
        parts = check_spec(spec, info.bundle, self._limits)
        if resume_state is None and not self._is_served(info):
            raise ServerBusy(f"{self.shortage() or 'no worker is there'}; try again later")
        with self._lock:
            stream = self._quotas.open(spec, resume_state, parts=parts)
            in_force = InForce(0, info, info.thresholds)
            placed = PlacedStream.begin(stream, spec, in_force, resume_state)
            self._thread.post(partial(self._streams.open, placed))
        return stream

    def _is_served(self, info: ModelInfo) -> bool:
        return any(worker.models.get(info.id) == info.sha256 for worker in self._thread.workers)

    def restore_reference(self, stream: str, task: FrameTask) -> None:
        """Denoise the last frame of a plane again; see `Engine.restore_reference`."""
        with self._lock:
            spec = self._quotas.spec(stream)
        check_frame(task, spec)
        with self._lock:
            self._quotas.restore_reference(stream, task)
            self._thread.post(partial(self._streams.restore, stream, task))

    def submit(self, stream: str, task: FrameTask) -> Future[EngineResult]:
        """Return the future result of one frame; see `Engine.submit`."""
        accepted_at = time.perf_counter()
        with self._lock:
            spec = self._quotas.spec(stream)
        check_frame(task, spec)
        job = Job(task, accepted_at, Future())
        with self._lock:
            self._quotas.accept(stream, task)
            self._thread.post(partial(self._streams.append, stream, job))
        return job.future

    def skip(self, stream: str, seq_from: int, seq_to: int) -> None:
        """Record a gap; see `Engine.skip`."""
        with self._lock:
            self._quotas.check_open(stream)
            self._thread.post(partial(self._streams.append, stream, Gap(seq_from, seq_to)))

    def update(
        self,
        stream: str,
        from_seq: int,
        model: str | None = None,
        thresholds: Mapping[str, float] | None = None,
    ) -> Future[InForce]:
        """Change model or thresholds from a frame on; see `Engine.update`."""
        if model is None and thresholds is None:
            raise BadUpdate("expected a model, thresholds or both in an update, got neither")
        future: Future[InForce] = Future()
        future.set_running_or_notify_cancel()  # frames may depend on it, so it cannot be cancelled
        with self._lock:
            self._quotas.check_open(stream)
            info = None if model is None else self._models.find(model)
            if info is not None:
                parts = check_spec(self._quotas.spec(stream), info.bundle, self._limits)
                self._quotas.check_parts(stream, parts, info.id)
                self._quotas.uses(stream, info.id)
            self._thread.post(partial(self._streams.change, stream, from_seq, info, thresholds, future))
        return future

    def close(self, stream: str) -> Future[Counts]:
        """Close a stream; see `Engine.close`."""
        future: Future[Counts] = Future()
        with self._lock:
            self._quotas.closing(stream)
            self._thread.post(partial(self._streams.append, stream, CloseStream(future)))
        return future

    def drain(self) -> Future[None]:
        """Answer all accepted frames, then stop; see `Engine.drain`."""
        future: Future[None] = Future()
        future.set_running_or_notify_cancel()
        with self._lock:
            self._quotas.draining = True
            if self._quotas.stopped:
                future.set_result(None)
            else:
                self._thread.post(partial(self._thread.drain, future))
        return future

    def queue_length(self) -> int:
        """Number of frames that were accepted but not yet answered."""
        return self._quotas.queued

    def trouble(self) -> str | None:
        """Why frames are no longer answered; see `Engine.trouble`."""
        return self._trouble

    # --- called by the gateway's thread

    def answered(self, stream: str) -> None:
        """One accepted frame will be answered now."""
        with self._lock:
            self._quotas.answered(stream)

    def closed(self, stream: str) -> None:
        """A stream has ended."""
        with self._lock:
            self._quotas.closed(stream)

    def left(self, stream: str, model: str) -> None:
        """A stream no longer uses a model."""
        with self._lock:
            self._quotas.left(stream, model)

    def may_stop(self) -> bool:
        """Whether no command is waiting; after True, no more commands are accepted."""
        with self._lock:
            self._quotas.stopped = not self._thread.has_commands
            return self._quotas.stopped

    def broken(self, error: BaseException) -> None:
        """The thread has failed."""
        with self._lock:
            self._quotas.draining = self._quotas.stopped = True
            self._trouble = f"the gateway's thread died ({error!r}); its error is in the log: restart it"

    def stopped(self) -> None:
        """The thread has ended."""
        if self.cluster is not None:
            self.cluster.close()
