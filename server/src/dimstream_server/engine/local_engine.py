"""The engine of one device in this process."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from importlib.metadata import version
from types import MappingProxyType
from typing import Final

from dimstream_models.bundle import Bundle
from dimstream_server.engine.commands import Append, ChangeStream, Drain, OpenStream, ReplaceModel
from dimstream_server.engine.device_thread import DeviceThread
from dimstream_server.engine.loading import LoadedModel, Loader, ModelKey, model_info
from dimstream_server.engine.protocol import (
    EngineDevice,
    EngineLimits,
    EngineResult,
    FrameTask,
    InDtype,
    InForce,
    ModelInfo,
    OutDtype,
    PreparedModel,
    StreamSpec,
)
from dimstream_server.engine.quotas import Quotas, check_frame, check_spec
from dimstream_server.engine.resume_state import Counts, ResumeState
from dimstream_server.engine.stream_state import CloseStream, Gap, Job, RestoreReference
from dimstream_server.errors import BadUpdate, Draining, ModelInUse, UnknownModel
from dimstream_server.pipeline.device import parse_device
from dimstream_server.pipeline.device_probe import probe
from dimstream_server.pipeline.runtime import check_installation

PAIRS_AT_START: Final[tuple[tuple[InDtype, OutDtype], ...]] = (("uint16", "uint16"),)


class LocalEngine:
    """The `Engine` protocol on one device: one thread owns everything that changes.

    All bundles have reproduced their test tensors and are warmed up when the constructor returns.

    Parameters
    ----------
    bundles : iterable of Bundle
        To serve; their ids differ.
    device : str
        See `dimstream_server.pipeline.device`; there is no fall-back.
    threads : int or None
        CPU threads of one run; None: one for each core.
    pairs_at_start
        Pixel types (in, out) that are composed before the first stream; others when a stream wants them.

    Raises
    ------
    RuntimeInstallation, DeviceUnavailable, DuplicateModel, UnsupportedNetwork, TestTensorMismatch
    """

    def __init__(
        self,
        bundles: Iterable[Bundle],
        *,
        device: str = "cpu",
        limits: EngineLimits | None = None,
        threads: int | None = None,
        pairs_at_start: Iterable[tuple[InDtype, OutDtype]] = PAIRS_AT_START,
    ) -> None:
        runtime = check_installation()
        where = parse_device(device)
        self._device = EngineDevice(where.name, where.precision, f"{runtime} {version(runtime)}")
        probe(where)
        loader = Loader(bundles, where, threads=threads)
        loader.check_test_tensors()
        self._loader = loader
        self._infos = MappingProxyType(loader.infos())  # replaced as a whole: other threads read it
        self._pairs = tuple(pairs_at_start)
        self._limits = limits or EngineLimits()
        self._quotas = Quotas(self._limits)
        self._trouble: str | None = None
        self._lock = (
            threading.Lock()
        )  # over the quotas, and so that commands are queued as they were accepted
        keys = [ModelKey(model, *pair) for model in self._infos for pair in self._pairs]
        ready = {key: loader.load(key) for key in keys}
        self._thread = DeviceThread(loader, ready, self)
        self._thread.start()

    def device(self) -> EngineDevice:
        """What it runs on."""
        return self._device

    def models(self) -> Mapping[str, ModelInfo]:
        """Bundles that are served, by id."""
        return self._infos

    def prepare(self, bundle: Bundle) -> Future[PreparedModel]:
        """Make a bundle ready to be served; see `Engine.prepare`."""
        prepared: Future[PreparedModel] = Future()
        prepared.set_running_or_notify_cancel()

        def done(outcome: Future[dict[ModelKey, LoadedModel]]) -> None:
            if outcome.cancelled():
                prepared.set_exception(Draining("the server is stopping and loads nothing more"))
            elif (error := outcome.exception()) is not None:
                prepared.set_exception(error)
            else:
                prepared.set_result(PreparedModel(model_info(bundle), outcome.result()))

        with self._lock:
            self._quotas.check_serving()
            outcome = self._loader.prepare_aside(bundle, self._pairs)
        outcome.add_done_callback(done)
        return prepared

    def serve(self, prepared: PreparedModel) -> ModelInfo:
        """Serve a prepared model; see `Engine.serve`."""
        info = prepared.info
        with self._lock:
            self._refuse_in_use(info.id)
            self._loader.put(info.bundle)
            self._infos = MappingProxyType({**self._infos, info.id: info})
            self._thread.commands.put(ReplaceModel(info.id, prepared.ready))
        return info

    def withdraw(self, model: str) -> None:
        """Serve a model no more; see `Engine.withdraw`."""
        with self._lock:
            self._info(model)
            self._refuse_in_use(model)
            if len(self._infos) == 1:
                raise ModelInUse(f"{model} is the only model that is served; load another one first")
            self._loader.drop(model)
            self._infos = MappingProxyType({id: info for id, info in self._infos.items() if id != model})
            self._thread.commands.put(ReplaceModel(model, {}))

    def _refuse_in_use(self, model: str) -> None:
        self._quotas.check_serving()
        if users := self._quotas.users(model):
            raise ModelInUse(
                f"{users} streams or requests use {model}, or will; change their model, or wait for their end"
            )
        if self._quotas.loading[model]:
            raise ModelInUse(f"{model} is being made ready for a stream that has just ended; try again")

    def open(self, spec: StreamSpec, resume_state: ResumeState | None = None) -> str:
        """Id of a new stream; see `Engine.open`."""
        with self._lock:
            info = self._info(spec.model)
            parts = check_spec(spec, info.bundle, self._limits)
            stream = self._quotas.open(spec, resume_state, parts=parts)
            self._thread.commands.put(OpenStream(stream, spec, info, resume_state))
        return stream

    def restore_reference(self, stream: str, task: FrameTask) -> None:
        """Bring the last frame of a plane again; see `Engine.restore_reference`."""
        with self._lock:
            spec = self._quotas.spec(stream)
        check_frame(task, spec)
        with self._lock:
            self._quotas.restore_reference(stream, task)
            self._thread.commands.put(Append(stream, RestoreReference(task)))

    def submit(self, stream: str, task: FrameTask) -> Future[EngineResult]:
        """Result of one frame; see `Engine.submit`. Cancelled before its turn, it is not denoised."""
        accepted_at = time.perf_counter()
        with self._lock:
            spec = self._quotas.spec(stream)
        check_frame(task, spec)
        job = Job(task, accepted_at, Future())
        with self._lock:
            self._quotas.accept(stream, task)
            self._thread.commands.put(Append(stream, job))
        return job.future

    def skip(self, stream: str, seq_from: int, seq_to: int) -> None:
        """Take note of a gap; see `Engine.skip`."""
        with self._lock:
            self._quotas.check_open(stream)
            self._thread.commands.put(Append(stream, Gap(seq_from, seq_to)))

    def update(
        self,
        stream: str,
        from_seq: int,
        model: str | None = None,
        thresholds: Mapping[str, float] | None = None,
    ) -> Future[InForce]:
        """Change model or thresholds from a frame on; see `Engine.update`."""
        if model is None and thresholds is None:
            raise BadUpdate("an update names a model, thresholds or both; it named neither")
        future: Future[InForce] = Future()
        future.set_running_or_notify_cancel()  # too late to take back: frames may depend on it
        with self._lock:
            self._quotas.check_open(stream)
            info = None if model is None else self._info(model)
            if info is not None:
                parts = check_spec(self._quotas.spec(stream), info.bundle, self._limits)
                self._quotas.check_parts(stream, parts, info.id)
                self._quotas.uses(stream, info.id)
            self._thread.commands.put(ChangeStream(stream, from_seq, info, thresholds, future))
        return future

    def close(self, stream: str) -> Future[Counts]:
        """Take no more frames of a stream; see `Engine.close`."""
        future: Future[Counts] = Future()
        with self._lock:
            self._quotas.closing(stream)
            self._thread.commands.put(Append(stream, CloseStream(future)))
        return future

    def drain(self) -> Future[None]:
        """Answer everything that was accepted, then stop; see `Engine.drain`."""
        future: Future[None] = Future()
        future.set_running_or_notify_cancel()
        with self._lock:
            self._quotas.draining = True
            if self._quotas.stopped:
                future.set_result(None)
            else:
                self._thread.commands.put(Drain(future))
        return future

    def queue_length(self) -> int:
        """Frames accepted and not yet answered."""
        return self._quotas.queued

    def trouble(self) -> str | None:
        """Why nothing more will be answered; see `Engine.trouble`."""
        return self._trouble

    def answered(self, stream: str) -> None:
        """Called by the device thread."""
        with self._lock:
            self._quotas.answered(stream)

    def closed(self, stream: str) -> None:
        """Called by the device thread."""
        with self._lock:
            self._quotas.closed(stream)

    def left(self, stream: str, model: str) -> None:
        """Called by the device thread."""
        with self._lock:
            self._quotas.left(stream, model)

    def loading(self, model: str, count: int) -> None:
        """Called by the device thread."""
        with self._lock:
            self._quotas.loading[model] += count

    def may_stop(self) -> bool:
        """Called by the device thread."""
        with self._lock:
            self._quotas.stopped = self._thread.commands.empty()
            return self._quotas.stopped

    def broken(self) -> None:
        """Called by the device thread."""
        with self._lock:
            self._quotas.draining = self._quotas.stopped = True
            self._trouble = "the device thread died; its error is in the log: restart the server"

    def _info(self, model: str) -> ModelInfo:
        info = self._infos.get(model)
        if info is None:
            raise UnknownModel(
                f"no model {model[:100]!r} is served; served are {', '.join(sorted(self._infos))}"
            )
        return info
