"""The devices of an engine: where each stream is, and where it continues when its device is lost."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future

from dimstream_models.bundle import Bundle
from dimstream_server.engine.device_thread import DeviceThread
from dimstream_server.engine.loading import LoadedModel, ModelKey
from dimstream_server.engine.placement import Placement
from dimstream_server.engine.stream_state import StreamState
from dimstream_server.engine.thread_commands import (
    Adopt,
    Command,
    Drain,
    LookAgain,
    OpenStream,
    ReplaceModel,
    StreamCommand,
)

log = logging.getLogger(__name__)


class Devices:
    """The threads of all devices. Every method is called with the engine's lock held, and none blocks."""

    def __init__(self, threads: Sequence[DeviceThread]) -> None:
        self.threads = tuple(threads)
        self.trouble: dict[int, str] = {}
        """Why devices are lost."""
        self.answered = [0] * len(self.threads)
        """Frames that each device has answered."""
        self._placement = Placement(len(self.threads))
        self._drained: set[int] = set()  # devices that have no work left
        self._stopped = False

    def start(self) -> None:
        """Start all threads."""
        for thread in self.threads:
            thread.start()

    @property
    def living(self) -> tuple[DeviceThread, ...]:
        """Devices that were not lost."""
        return tuple(self.threads[number] for number in self._placement.living)

    def streams_on(self, device: int) -> list[str]:
        """Streams of a device."""
        return self._placement.streams_on(device)

    def open(self, command: OpenStream, *, pixels: int) -> None:
        """Place a stream whose frames have this number of pixels in the model's input."""
        self._place(command, pixels, batch=command.spec.priority == "batch")

    def put(self, command: StreamCommand) -> None:
        """Send a command to the device of its stream."""
        self._put(self._placement.device_of(command.stream), command)

    def serve(self, bundle: Bundle, ready: Mapping[str, Mapping[ModelKey, LoadedModel]]) -> None:
        """Serve a bundle that was loaded on each device, by device name."""
        for number in self._placement.living:
            thread = self.threads[number]
            thread.loader.put(bundle)
            self._put(number, ReplaceModel(bundle.id, ready.get(thread.name, {})))

    def withdraw(self, model: str) -> None:
        """Stop serving a model."""
        for number in self._placement.living:
            self.threads[number].loader.drop(model)
            self._put(number, ReplaceModel(model, {}))

    def answered_of(self, stream: str) -> None:
        """Count one answered frame of a stream."""
        self.answered[self._placement.device_of(stream)] += 1

    def closed(self, stream: str) -> None:
        """Forget a stream that has ended."""
        self._placement.end(stream)

    def drain(self) -> Future[None]:
        """Return a future that is done when all devices have finished their work and stopped."""
        parts: list[Future[None]] = []
        for number in self._placement.living:
            parts.append(Future())
            self._put(number, Drain(parts[-1]))
        return _all_of(parts)

    def may_stop(self, device: int) -> bool:
        """Whether all devices may stop. Streams of a lost device may still move to others."""
        if not self._stopped:
            self._drained.add(device)
            living = self._placement.living
            if not all(one in self._drained and self.threads[one].commands.empty() for one in living):
                return False
            self._stopped = True
            for one in living:
                self.threads[one].commands.put(LookAgain())
        return True

    def lose(self, device: int, why: str, streams: Iterable[StreamState]) -> bool:
        """Continue the streams of a lost device on other devices; False if there is no other device."""
        self._placement.lose(device)
        self.trouble[device] = why
        if not self._placement.living:
            return False
        moved = [state.moved() for state in streams]
        log.error(
            "a device is lost, its streams continue on others event=device_lost device=%s streams=%d "
            "devices_left=%d reason=%r",
            *(self.threads[device].name, len(moved), len(self._placement.living), why),
        )
        for state in moved:
            self._place(Adopt(state), state.pixels, device, batch=state.share.batch)
        commands = self.threads[device].commands
        while not commands.empty():  # only a loader still puts something there
            self._pass_on(commands.get(), device)
        return True

    def _pass_on(self, command: Command, device: int) -> None:
        """Pass on a command that was waiting for a lost device; commands keep their order."""
        if isinstance(command, Drain):
            command.future.set_result(None)
        elif isinstance(command, OpenStream | Adopt):
            placed, stream = self._placement, command.stream
            self._place(command, placed.pixels_of(stream), device, batch=placed.is_batch(stream))
        elif isinstance(command, StreamCommand) and command.stream in self._placement:
            self.put(command)

    def _place(
        self, command: OpenStream | Adopt, pixels: int, before: int | None = None, *, batch: bool
    ) -> None:
        """Place a stream; after a device was lost, preferably on one of the same kind, to get the same
        pixels."""
        kind = None if before is None else self.threads[before].kind
        alike = [number for number in self._placement.living if self.threads[number].kind == kind]
        device = self._placement.place(
            command.stream, pixels, s_per_pixel=self._speeds(), batch=batch, among=alike
        )
        self._put(device, command)

    def _speeds(self) -> list[float]:
        """Seconds per pixel of each device; the same value for all devices of one kind."""
        kinds = [thread.kind for thread in self.threads]
        speeds = {
            kind: min(thread.s_per_pixel for thread in self.threads if thread.kind == kind) for kind in kinds
        }
        return [speeds[kind] for kind in kinds]

    def _put(self, device: int, command: Command) -> None:
        self._drained.discard(device)
        self.threads[device].commands.put(command)


def _all_of(parts: Sequence[Future[None]]) -> Future[None]:
    """Return a future that is done when all parts are; it raises the error of any part."""
    whole: Future[None] = Future()
    whole.set_running_or_notify_cancel()

    def look(_: Future[None]) -> None:
        if whole.done() or not all(part.done() for part in parts):
            return
        error = next((part.exception() for part in parts if part.exception() is not None), None)
        if error is None:
            whole.set_result(None)
        else:
            whole.set_exception(error)

    for part in parts:
        part.add_done_callback(look)
    return whole
