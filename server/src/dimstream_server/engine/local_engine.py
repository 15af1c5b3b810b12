"""The engine on the devices of this process."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from importlib.metadata import version
from typing import Final

from dimstream_models.bundle import Bundle
from dimstream_server.engine.device_list import described, names_of, places_of, shared_threads
from dimstream_server.engine.device_thread import DeviceThread
from dimstream_server.engine.devices import Devices
from dimstream_server.engine.frame_memory import check_memory
from dimstream_server.engine.loading import (
    LoadedModel,
    Loader,
    ModelKey,
    bundles_by_id,
    check_networks,
    prepared_on_all,
)
from dimstream_server.engine.protocol import (
    DeviceReport,
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
from dimstream_server.engine.served_models import ServedModels
from dimstream_server.engine.stream_state import CloseStream, Gap, Job, RestoreReference, StreamState
from dimstream_server.engine.thread_commands import Append, ChangeStream, OpenStream
from dimstream_server.errors import BadUpdate
from dimstream_server.pipeline.device_check import DeviceCheck
from dimstream_server.pipeline.device_name import Device
from dimstream_server.pipeline.device_probe import is_emulated, probe
from dimstream_server.pipeline.runtime import check_installation

PAIRS_AT_START: Final[tuple[tuple[InDtype, OutDtype], ...]] = (("uint16", "uint16"),)


class LocalEngine:
    """The `Engine` protocol on one or several devices; one thread per device owns everything that changes
    there.

    When the constructor returns, all bundles have reproduced their test tensors and are warmed up.

    Parameters
    ----------
    bundles : iterable of Bundle
        Bundles to serve, with different ids.
    devices : sequence of str
        See `dimstream_server.pipeline.device_name`; there is no fallback. A CPU may appear more than once.
    threads : int or None
        CPU threads of one run; None: the cores, shared by the devices.
    pairs_at_start
        Pixel types (in, out) whose models are loaded at the start; others are loaded when a stream needs
        them.
    keep_warm_s : float or None
        Seconds without work after which a device with streams denoises an empty frame; None: never.

    Raises
    ------
    RuntimeInstallation, DeviceUnavailable, DuplicateModel, UnsupportedNetwork, TestTensorMismatch
    """

    def __init__(
        self,
        bundles: Iterable[Bundle],
        *,
        devices: Sequence[str] = ("cpu",),
        limits: EngineLimits | None = None,
        threads: int | None = None,
        pairs_at_start: Iterable[tuple[InDtype, OutDtype]] = PAIRS_AT_START,
        keep_warm_s: float | None = None,
    ) -> None:
        runtime = check_installation()
        places = places_of(devices)
        self._precision = places[0].precision
        served = bundles_by_id(bundle.in_precision(self._precision) for bundle in bundles)
        for where in dict.fromkeys(places):
            probe(where)
            for bundle in served.values():
                check_networks(bundle, where)
        self._device = described(places, _versions(places, runtime))
        self._pairs = tuple(pairs_at_start)
        self._limits = limits or EngineLimits()
        self._quotas = Quotas(self._limits, keeps_frames=len(places) > 1)
        self._models = ServedModels(served.values(), self._quotas)
        self._trouble: str | None = None
        # guards the quotas and devices, and keeps commands in the order of acceptance
        self._lock = threading.Lock()
        threads = threads or shared_threads(places)
        loaders = [Loader(served.values(), where, threads=threads) for where in places]
        self._devices = Devices(
            [
                DeviceThread(
                    *(number, name, loader, DeviceCheck(where), self._ready(loader), self),
                    moves=len(places) > 1,
                    keep_warm_s=keep_warm_s,
                )
                for number, (name, where, loader) in enumerate(
                    zip(names_of(places), places, loaders, strict=True)
                )
            ]
        )
        self._devices.start()

    def _ready(self, loader: Loader) -> dict[ModelKey, LoadedModel]:
        keys = [ModelKey(model, *pair) for model in self._models.infos for pair in self._pairs]
        return {key: loader.load(key) for key in keys}

    def device(self) -> EngineDevice:
        """The device on which it runs."""
        return self._device

    def models(self) -> Mapping[str, ModelInfo]:
        """The served models, by id."""
        return self._models.infos

    def prepare(self, bundle: Bundle) -> Future[PreparedModel]:
        """Load a bundle for serving; see `Engine.prepare`."""
        bundle = bundle.in_precision(self._precision)
        with self._lock:
            self._quotas.check_serving()
            living = self._devices.living
            parts = {one.name: one.loader.prepare_aside(bundle, self._pairs) for one in living}
        return prepared_on_all(bundle, parts)

    def serve(self, prepared: PreparedModel) -> ModelInfo:
        """Serve a prepared model; see `Engine.serve`."""
        info = prepared.info
        with self._lock:
            self._models.add(info)
            self._devices.serve(info.bundle, prepared.ready)
        return info

    def withdraw(self, model: str) -> None:
        """Stop serving a model; see `Engine.withdraw`."""
        with self._lock:
            self._models.remove(model)
            self._devices.withdraw(model)

    def open(self, spec: StreamSpec, resume_state: ResumeState | None = None) -> str:
        """Open a stream, and return its id; see `Engine.open`."""
        with self._lock:
            info = self._models.find(spec.model)
            parts = check_spec(spec, info.bundle, self._limits)
            check_memory(spec, parts, info, self._limits)
            stream = self._quotas.open(spec, resume_state, parts=parts)
            command = OpenStream(stream, spec, info, resume_state)
            self._devices.open(command, pixels=spec.shape[0] * spec.shape[1] * parts**2)
        return stream

    def restore_reference(self, stream: str, task: FrameTask) -> None:
        """Denoise the last frame of a plane again; see `Engine.restore_reference`."""
        with self._lock:
            spec = self._quotas.spec(stream)
        check_frame(task, spec)
        with self._lock:
            self._quotas.restore_reference(stream, task)
            self._devices.put(Append(stream, RestoreReference(task)))

    def submit(self, stream: str, task: FrameTask) -> Future[EngineResult]:
        """Return the future result of one frame; see `Engine.submit`. If it is cancelled in time, the frame
        is not denoised."""
        accepted_at = time.perf_counter()
        with self._lock:
            spec = self._quotas.spec(stream)
        check_frame(task, spec)
        job = Job(task, accepted_at, Future())
        with self._lock:
            self._quotas.accept(stream, task)
            self._devices.put(Append(stream, job))
        return job.future

    def skip(self, stream: str, seq_from: int, seq_to: int) -> None:
        """Record a gap; see `Engine.skip`."""
        with self._lock:
            self._quotas.check_open(stream)
            self._devices.put(Append(stream, Gap(seq_from, seq_to)))

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
                spec = self._quotas.spec(stream)
                parts = check_spec(spec, info.bundle, self._limits)
                check_memory(spec, parts, info, self._limits)
                self._quotas.check_parts(stream, parts, info.id)
                self._quotas.uses(stream, info.id)
            self._devices.put(ChangeStream(stream, from_seq, info, thresholds, future))
        return future

    def close(self, stream: str) -> Future[Counts]:
        """Close a stream; see `Engine.close`."""
        future: Future[Counts] = Future()
        with self._lock:
            self._quotas.closing(stream)
            self._devices.put(Append(stream, CloseStream(future)))
        return future

    def drain(self) -> Future[None]:
        """Answer all accepted frames, then stop; see `Engine.drain`."""
        with self._lock:
            self._quotas.draining = True
            if not self._quotas.stopped:
                return self._devices.drain()
        stopped: Future[None] = Future()
        stopped.set_result(None)
        return stopped

    def queue_length(self) -> int:
        """Number of frames that were accepted but not yet answered."""
        return self._quotas.queued

    def trouble(self) -> str | None:
        """Why frames are no longer answered; see `Engine.trouble`."""
        return self._trouble

    def devices(self) -> tuple[DeviceReport, ...]:
        """Return the state of each device; see `Engine.devices`."""
        with self._lock:
            return tuple(
                DeviceReport(
                    thread.name,
                    self._devices.trouble.get(number),
                    streams=len(streams := self._devices.streams_on(number)),
                    queued=self._quotas.queued_of(streams),
                    answered=self._devices.answered[number],
                )
                for number, thread in enumerate(self._devices.threads)
            )

    def answered(self, stream: str) -> None:
        """Called by a device thread."""
        with self._lock:
            self._quotas.answered(stream)
            self._devices.answered_of(stream)

    def closed(self, stream: str) -> None:
        """Called by a device thread."""
        with self._lock:
            self._quotas.closed(stream)
            self._devices.closed(stream)

    def left(self, stream: str, model: str) -> None:
        """Called by a device thread."""
        with self._lock:
            self._quotas.left(stream, model)

    def loading(self, model: str, count: int) -> None:
        """Called by a device thread."""
        with self._lock:
            self._quotas.loading[model] += count

    def may_stop(self, device: int) -> bool:
        """Called by a device thread."""
        with self._lock:
            self._quotas.stopped = self._devices.may_stop(device)
            return self._quotas.stopped

    def lost(self, device: int, why: str, streams: Iterable[StreamState]) -> bool:
        """Called by a device thread that ends."""
        with self._lock:
            if self._devices.lose(device, why, streams):
                return True
            self._quotas.draining = self._quotas.stopped = True
            others = "; no other device is left" if len(self._devices.threads) > 1 else ""
            self._trouble = f"{why}{others}: restart the server"
            return False


def _versions(places: Iterable[Device], runtime: str) -> str:
    """Return the runtime of the networks, and that of the other operators if it is different."""
    used = dict.fromkeys([*(runtime if one.bracket == one else one.runtime for one in places), runtime])
    emulated = dict.fromkeys(f"{one.precision} is emulated" for one in places if is_emulated(one))
    return ", ".join([*(f"{name} {version(name)}" for name in used), *emulated])
