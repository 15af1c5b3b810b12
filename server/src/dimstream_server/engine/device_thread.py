"""The thread of one device: it owns the sessions, the queues and the state of all its streams."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import replace
from queue import Empty, SimpleQueue
from typing import Protocol

from dimstream_server.engine.device_list import kind_of
from dimstream_server.engine.device_models import DeviceModels, ModelCallbacks
from dimstream_server.engine.frame_denoising import answer, fall_back, restore_reference
from dimstream_server.engine.keep_warm import KeepWarm
from dimstream_server.engine.live_before_batch import Turns
from dimstream_server.engine.loading import LoadedModel, Loader, ModelKey
from dimstream_server.engine.pending_futures import break_all, of_command, of_stream
from dimstream_server.engine.protocol import EngineResult
from dimstream_server.engine.raw_frame_thread import RawFrameThread
from dimstream_server.engine.stream_state import (
    CloseStream,
    Gap,
    Item,
    Job,
    RestoreReference,
    StreamState,
)
from dimstream_server.engine.thread_commands import (
    Adopt,
    Append,
    ChangeStream,
    Command,
    Drain,
    Loaded,
    LookAgain,
    OpenStream,
    ReplaceModel,
)
from dimstream_server.errors import DeviceLost, FrameFailed, ServerError
from dimstream_server.pipeline.device_check import DeviceCheck

_FIRST_GUESS_S = 1e-7  # per pixel, before a frame was measured
_LEARNING = 0.02


class EngineCallbacks(ModelCallbacks, Protocol):
    """Callbacks of a device thread; each call comes from a device thread only."""

    def answered(self, stream: str) -> None:
        """One accepted frame will be answered now."""

    def closed(self, stream: str) -> None:
        """A stream has ended."""

    def may_stop(self, device: int) -> bool:
        """Whether no command is waiting, on this or other devices; after True, no more commands are
        accepted."""

    def lost(self, device: int, why: str, streams: Iterable[StreamState]) -> bool:
        """The thread ends and processes no more commands. Return whether another device continues its
        streams."""


class DeviceThread:
    """Processes its commands, and gives streams turns of one frame each, in fair shares of its time.

    Parameters
    ----------
    number : int
        Number of its device, from 0.
    name : str
        Name of its device, for people.
    ready : mapping
        Models at the start.
    moves : bool
        Whether its streams may continue on another device: then it keeps the last raw frame of each plane.
    keep_warm_s : float or None
        Seconds without work after which it denoises an empty frame while streams are open; None: never.
    """

    def __init__(
        self,
        number: int,
        name: str,
        loader: Loader,
        check: DeviceCheck,
        ready: Mapping[ModelKey, LoadedModel],
        callbacks: EngineCallbacks,
        *,
        moves: bool = False,
        keep_warm_s: float | None = None,
    ) -> None:
        self.name = name
        self.kind = kind_of(loader.device)
        self.loader = loader
        self.commands: SimpleQueue[Command] = SimpleQueue()
        self._number = number
        self._check = check
        self._moves = moves
        self.warm = KeepWarm(keep_warm_s)
        self._working_on: StreamState | None = None
        self._beside = RawFrameThread()
        self._callbacks = callbacks
        self._models = DeviceModels(loader, ready, callbacks, self.commands.put)
        self._streams: dict[str, StreamState] = {}
        self._turns = Turns()
        self.s_per_pixel = _FIRST_GUESS_S
        """Measured; any thread may read it."""
        self._drains: list[Future[None]] = []
        self._thread = threading.Thread(target=self._work, name=f"dimstream-device-{name}", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def _work(self) -> None:
        try:
            while not self._is_drained():
                self._take_commands()
                self._fall_back_where_late(None)
                if not self._turns:
                    self.warm.run_when_due(time.perf_counter())
                if (stream := self._turns.take(time.perf_counter())) is not None:
                    self._fall_back_where_late(self._streams[stream])
                    self._measure_turn(self._streams[stream])
        except DeviceLost as error:
            self._leave(str(error))
        except BaseException:
            self._leave("the device thread died; its error is in the log")
            raise
        finally:
            self.loader.stop()
            self._beside.stop()
        self._end_drains()

    def _end_drains(self) -> None:
        for future in self._drains:
            if not future.done():
                future.set_result(None)

    def _leave(self, why: str) -> None:
        """Pass the streams to another device or, without another device, fail all pending futures."""
        working_on = self._working_on
        if working_on is not None and working_on.waiting and isinstance(working_on.waiting[0], Job):
            job = working_on.waiting[0]
            working_on.waiting[0] = replace(job, lost=job.lost + 1)
        self._models.give_up()
        if self._callbacks.lost(self._number, why, self._streams.values()):
            self._end_drains()
        else:
            self._abandon(ServerError(f"{why}; restart the server"))

    def _is_drained(self) -> bool:
        if not self._drains or self._turns or self._models.is_loading:
            return False
        if any(state.waiting for state in self._streams.values()):
            return False
        return self._callbacks.may_stop(self._number)

    def _take_commands(self) -> None:
        """Run all waiting commands; if there is no turn to take, wait for the first command."""
        now = time.perf_counter()
        waits = [self._turns.wait_s(now), self.warm.wait_s(now), *(due - now for due in self._deadlines())]
        wait_s = min((max(0.0, each) for each in waits if each is not None), default=None)
        if wait_s != 0:
            with contextlib.suppress(Empty):
                self._run_command(self.commands.get(timeout=wait_s))
        while not self.commands.empty():  # only this thread takes commands
            self._run_command(self.commands.get())

    def _run_command(self, command: Command) -> None:
        match command:
            case Append(stream=stream, item=item):
                self._append(self._streams[stream], item)
            case OpenStream(stream=stream, spec=spec, model=info, resume_state=resume_state):
                state = StreamState.begin(stream, spec, info, resume_state)
                state.last_frames = {} if self._moves else None
                self._streams[stream] = state
                self._models.want(state.key(state.in_force))
            case Adopt(state=state):
                self._adopt(state)
            case ChangeStream():
                self._models.change(self._streams[command.stream], command)
            case Loaded(key=key, model=model):
                self._models.came(key, model)
                self._go_on()
            case ReplaceModel(model=replaced, ready=ready):
                self._models.replace(replaced, ready)
                self.warm.forget()
            case Drain(future=future):
                self._drains.append(future)
            case LookAgain():
                pass

    def _adopt(self, state: StreamState) -> None:
        self._streams[state.id] = state
        for key in (state.key(state.in_force), *(state.key(one.in_force) for one in state.updates)):
            self._models.want(key)
        self._models.settle_all(state)
        self._give_turn(state)

    def _go_on(self) -> None:
        """Continue streams that may have waited for a model."""
        for state in self._streams.values():
            self._models.settle_all(state)
            self._give_turn(state)

    def _append(self, state: StreamState, item: Item) -> None:
        state.waiting.append(item)
        if isinstance(item, Job):
            interval_s = state.spec.frame_interval_s
            self._turns.came(state.id, state.share, item.accepted_at, t=item.task.t, interval_s=interval_s)
        self._give_turn(state)

    def _give_turn(self, state: StreamState) -> None:
        """Let a stream wait for a turn if it has a frame; items that take no time need no turn."""
        self._work_off_at_once(state)
        if state.waiting:
            self._turns.want(state.id, state.share, seconds=self._expected_s(state))

    def _expected_s(self, state: StreamState) -> float:
        return state.turn_s or state.pixels * self.s_per_pixel

    def _deadlines(self) -> Iterator[float]:
        """Latest times at which waiting frames must begin to meet their deadlines."""
        for state in self._streams.values():
            if state.spec.deadline_ms is None or not state.waiting:
                continue
            job = state.waiting[0]
            if isinstance(job, Job) and job.task.seq not in state.decided:
                yield job.accepted_at + state.spec.deadline_ms / 1e3 - self._expected_s(state)

    def _fall_back_where_late(self, first: StreamState | None) -> None:
        """Answer frames that would miss their deadline with the raw frame; begin with the stream `first`."""
        begins = time.perf_counter() + (0.0 if first is None else self._expected_s(first))
        for state in list(self._streams.values()):
            if state.spec.deadline_ms is None or state is first:
                continue
            while state.waiting and isinstance(job := state.waiting[0], Job):
                if not state.is_late(job, begins + self._expected_s(state)):
                    break
                self._fall_back(state, job)

    def _fall_back(self, state: StreamState, job: Job) -> None:
        self._models.model_for(state, job.task.seq)  # afterwards, an update that is due is in use
        wanted = job.future.running() or job.future.set_running_or_notify_cancel()
        self._answered(state, job, fall_back(state, job, device=self.loader.device.name) if wanted else None)
        self._work_off_at_once(state)

    def _measure_turn(self, state: StreamState) -> None:
        """Take a turn, and charge its time to the stream."""
        began = time.perf_counter()
        worked = self._take_turn(state)
        seconds = time.perf_counter() - began
        if worked:
            state.turn_s = seconds
            # A low guess is corrected after one turn; a high one would make a new stream wait.
            measured = seconds / state.pixels
            self.s_per_pixel = min(measured, self.s_per_pixel + _LEARNING * (measured - self.s_per_pixel))
        self._turns.used(state.id, state.share, seconds)
        if state.id not in self._streams:
            self._turns.forget(state.id)
        elif worked:
            self._give_turn(state)

    def _take_turn(self, state: StreamState) -> bool:
        """Process a stream's queue up to and including one frame; False if nothing could be processed."""
        self._work_off_at_once(state)
        if not state.waiting:
            return False
        item = state.waiting[0]
        assert isinstance(item, Job | RestoreReference)
        return self._work_off(state, item)

    def _work_off_at_once(self, state: StreamState) -> None:
        """Process the items before the next frame."""
        while state.waiting and not isinstance(item := state.waiting[0], Job | RestoreReference):
            state.waiting.popleft()
            if isinstance(item, Gap):
                state.tally["skipped"] += item.seq_to - item.seq_from + 1
            else:
                self._end(state, item)

    def _work_off(self, state: StreamState, item: Job | RestoreReference) -> bool:
        """Process a frame; False if its model is still being loaded."""
        model = self._models.model_for(state, item.task.seq)
        if model is None:
            return False
        self._working_on = state
        if isinstance(item, Job):
            self._answer(state, item, model)
        else:
            restore_reference(state, item.task, model, self._refuse_when_lost)
            state.waiting.popleft()
            state.settled(item.task, None)
        self._working_on = None
        if isinstance(model, LoadedModel):
            shape = (state.parts * state.spec.shape[0], state.parts * state.spec.shape[1])
            self.warm.worked(time.perf_counter(), model.fused, shape, state.spec.model_dtype)
        return True

    def _answer(self, state: StreamState, job: Job, model: LoadedModel | Exception) -> None:
        # If it comes from a lost device, its future is already running.
        wanted = job.future.running() or job.future.set_running_or_notify_cancel()
        self._answered(state, job, self._result(state, job, model) if wanted else None)

    def _answered(self, state: StreamState, job: Job, result: EngineResult | None) -> None:
        state.waiting.popleft()
        if result is not None:
            state.settled(job.task, result.plane)
        self._callbacks.answered(state.id)
        if result is not None:
            job.future.set_result(result)

    def _result(self, state: StreamState, job: Job, model: LoadedModel | Exception) -> EngineResult:
        return answer(state, job, model, self._beside, self._refuse_when_lost, device=self.loader.device.name)

    def _refuse_when_lost(self, failed: FrameFailed) -> None:
        """Raise DeviceLost if the failure was not caused by the frame."""
        if (why := self._check.why_lost()) is not None:
            raise DeviceLost(f"device {self.name} is lost: {why}") from failed

    def _end(self, state: StreamState, close: CloseStream) -> None:
        del self._streams[state.id]
        self._turns.forget(state.id)
        if not self._streams:
            self.warm.forget()
        self._callbacks.closed(state.id)
        if close.future.set_running_or_notify_cancel():
            close.future.set_result(state.counts())

    def _abandon(self, error: ServerError) -> None:
        """Fail all pending futures."""
        while not self.commands.empty():
            break_all(of_command(self.commands.get()), error)
        for state in self._streams.values():
            break_all(of_stream(state), error)
        break_all(self._drains, error)
