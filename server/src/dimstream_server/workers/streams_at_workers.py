"""The streams of a gateway at its workers: placed, fed, answered, moved. For the gateway's thread."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from typing import Any, Final, Protocol

from dimstream_client.messages import (
    Ack,
    Close,
    Credit,
    Error,
    Message,
    Opened,
    Result,
    Skip,
    Updated,
)
from dimstream_server.engine.protocol import FrameTask, InForce, ModelInfo
from dimstream_server.engine.state_json import BadState
from dimstream_server.engine.stream_state import CloseStream, Gap, Job
from dimstream_server.errors import BadUpdate, Refused, ServerError, UnknownModel
from dimstream_server.pipeline.thresholds import changed
from dimstream_server.workers.placed_stream import (
    Change,
    Item,
    Place,
    PlacedStream,
    device_kind,
    frame_message,
)
from dimstream_server.workers.placement import choose, surplus
from dimstream_server.workers.worker import Worker

MOST_MOVES: Final = 20  # placements without a result, after which a frame is given up
FOR_GOOD: Final = ("oversize", "not_supported")  # refusals after which a worker can never have a stream
AVOID_S: Final = 0.5  # time before a worker that has refused a stream is asked again
ACK_EVERY: Final = 16  # results
_log = logging.getLogger(__name__)


class Reports(Protocol):
    """Callbacks about streams."""

    def answered(self, stream: str) -> None:
        """One accepted frame will be answered now."""

    def closed(self, stream: str) -> None:
        """A stream has ended."""

    def left(self, stream: str, model: str) -> None:
        """A stream no longer uses a model."""


class StreamsAtWorkers:
    """All streams of a gateway.

    Parameters
    ----------
    reports : Reports
    workers : callable
        Returns the present workers.
    """

    def __init__(self, reports: Reports, workers: Callable[[], Iterable[Worker]]) -> None:
        self._reports = reports
        self._workers = workers
        self._streams: dict[str, PlacedStream] = {}
        self._remote: dict[tuple[Worker, str], PlacedStream] = {}  # by their ids at workers

    @property
    def is_idle(self) -> bool:
        """Whether everything is answered."""
        return not any(stream.waiting or stream.has_unsettled for stream in self._streams.values())

    def waiting_on(self) -> list[str | None]:
        """Return, for each stream without a worker, the kind of device on which it began; from any thread."""
        return [stream.device for stream in tuple(self._streams.values()) if stream.place is None]

    def of(self, worker: Worker) -> list[PlacedStream]:
        """Return the streams of a worker."""
        return [one for one in self._streams.values() if one.place is not None and one.place.worker is worker]

    def spread(self) -> None:
        """Move streams, so that no worker has two more than another one that could have them."""
        for stream in surplus(self._workers(), self._streams.values()):
            self.leave(stream)

    # --- commands of the engine

    def open(self, stream: PlacedStream) -> None:
        """Add a stream, and find a worker for it."""
        self._streams[stream.id] = stream
        self._place(stream)

    def append(self, stream_id: str, item: Item) -> None:
        """Add an item that waits for its turn."""
        stream = self._streams[stream_id]
        stream.waiting.append(item)
        self._pump(stream)

    def restore(self, stream_id: str, task: FrameTask) -> None:
        """Add a reference frame: the last frame of a plane."""
        stream = self._streams[stream_id]
        stream.raw[task.plane] = task
        if stream.place is not None and task.seq in stream.place.references:
            self._send_reference(stream.place, task)

    def change(
        self,
        stream_id: str,
        from_seq: int,
        model: ModelInfo | None,
        thresholds: Mapping[str, float] | None,
        future: Future[InForce],
    ) -> None:
        """Change model or thresholds from a frame on."""
        stream = self._streams[stream_id]
        base = stream.next_in_force()
        info = base.model if model is None else model
        limits = base.thresholds if model is None else info.thresholds
        try:
            if thresholds is not None:
                limits = changed(limits, thresholds)
            change = Change(InForce(from_seq, info, limits), future, model is not None)
            stream.plan(change)
        except Refused as error:
            if model is not None:
                self._reports.left(stream.id, info.id)
            future.set_exception(error)
            return
        if stream.place is not None and stream.place.remote:
            self._send_change(stream.place, change)

    # --- places

    def place_waiting(self, now: float) -> None:
        """Try to find a worker for each stream without one."""
        for stream in tuple(self._streams.values()):
            if stream.place is None:
                self._place(stream, now)

    def _place(self, stream: PlacedStream, now: float | None = None) -> None:
        worker = choose(self._workers(), stream, time.monotonic() if now is None else now)
        if worker is None:
            self._settle(stream)
            if stream.refusals and stream.waiting:
                self._give_up(stream, "; ".join(stream.refusals.values()))
            return
        place = stream.place = Place(worker, acknowledged=stream.next_seq)
        worker.placed.add(stream)
        worker.ask(stream.open_message(), lambda answer: self._placed(stream, place, answer))

    def _placed(self, stream: PlacedStream, place: Place, answer: Opened | Error) -> None:
        """Process the answer to an OPEN."""
        if stream.place is not place:  # it has moved or ended meanwhile
            if isinstance(answer, Opened):
                place.worker.say(Close(answer.stream))
            return
        if isinstance(answer, Error):
            self._refused(stream, place, answer)
            return
        if answer.model.sha256 != stream.in_force.model.sha256:
            place.worker.models[answer.model.id] = answer.model.sha256
            place.worker.say(Close(answer.stream))
            self._forget_place(stream, place)
            self._place(stream)
            return
        place.remote, place.limit = answer.stream, answer.limit
        place.references = set(answer.references)
        self._remote[place.worker, place.remote] = stream
        by_seq = {task.seq: task for task in stream.raw.values()}
        for seq in answer.references:
            if seq in by_seq:
                self._send_reference(place, by_seq[seq])
        for change in stream.changes:
            self._send_change(place, change)
        self._pump(stream)

    def _refused(self, stream: PlacedStream, place: Place, error: Error) -> None:
        worker = place.worker
        _log.warning(
            "a worker refuses a stream event=worker_refuses worker=%s stream=%s code=%s reason=%r",
            *(worker.address, stream.id, error.code, error.detail),
        )
        if error.code == "unknown_model":
            worker.models.pop(stream.in_force.model.id, None)
        if error.code == "draining":
            worker.is_leaving, worker.trouble = True, "it is stopping"
        if error.code in FOR_GOOD:
            stream.refusals[worker] = f"{worker.address}: {error.detail}"
        stream.avoided = {worker: time.monotonic() + AVOID_S}
        self._forget_place(stream, place)
        self._place(stream)

    def _forget_place(self, stream: PlacedStream, place: Place) -> None:
        place.worker.placed.discard(stream)
        self._remote.pop((place.worker, place.remote), None)
        stream.place, stream.sent = None, 0

    def forget(self, worker: Worker) -> None:
        """Forget refusals of a worker, which may come back with more memory."""
        for stream in self._streams.values():
            stream.refusals.pop(worker, None)

    def leave(self, stream: PlacedStream) -> None:
        """Move a stream between two frames: after its worker has answered the frames that it has."""
        if stream.place is not None:
            stream.place.is_left = True
            self._pump(stream)

    def move(self, stream: PlacedStream, why: str) -> None:
        """Move a stream at once; frames at its worker are sent again to another one."""
        place = stream.place
        if place is None:
            return
        _log.info(
            "a stream moves event=stream_moved stream=%s from=%s next_seq=%d reason=%r",
            *(stream.id, place.worker.address, stream.next_seq, why),
        )
        if place.remote:
            place.worker.say(Close(place.remote))
        self._forget_place(stream, place)
        stream.moves += 1
        if stream.moves > MOST_MOVES and stream.waiting:
            self._give_up(stream, why)
        self._place(stream)

    def _give_up(self, stream: PlacedStream, why: str) -> None:
        """Fail a frame that no worker answers, so that its client is informed."""
        item = stream.waiting[0]
        _log.error("a frame is not answered event=frame_lost stream=%s reason=%r", stream.id, why)
        stream.moves = 0
        if isinstance(item, Job):
            stream.waiting.popleft()
            self._reports.answered(stream.id)
            stream.waiting.appendleft(Gap(item.task.seq, item.task.seq))
            if item.future.set_running_or_notify_cancel():
                item.future.set_exception(ServerError(f"no worker answers frame {item.task.seq}: {why}"))

    # --- to the workers

    def _send_reference(self, place: Place, task: FrameTask) -> None:
        place.references.discard(task.seq)
        place.worker.say(frame_message(place.remote, task))

    def _send_change(self, place: Place, change: Change) -> None:
        place.unanswered.append(change)
        place.worker.say(change.message(place.remote))

    def _pump(self, stream: PlacedStream) -> None:
        """Send all items that may be sent."""
        place = stream.place
        if place is not None and place.remote and not place.is_left:
            while stream.sent < len(stream.waiting) and self._send(stream, place):
                stream.sent += 1
        self._settle(stream)
        if place is not None and place.is_left and stream.place is place and not stream.sent:
            self.move(stream, "its worker must have fewer streams")

    def _send(self, stream: PlacedStream, place: Place) -> bool:
        """Send the next item; return False if it must wait."""
        item = stream.waiting[stream.sent]
        if isinstance(item, Job) and item.future.cancelled():
            self._reports.answered(stream.id)
            item = stream.waiting[stream.sent] = Gap(item.task.seq, item.task.seq)
        if isinstance(item, Gap):
            place.worker.say(Skip(place.remote, item.seq_from, item.seq_to, "skipped by its sender"))
            place.limit += item.seq_to - item.seq_from + 1
            return True
        if isinstance(item, CloseStream) or item.task.seq >= place.limit:
            return False
        place.worker.say(frame_message(place.remote, item.task))
        return True

    def _settle(self, stream: PlacedStream) -> None:
        """Process the items before the next frame."""
        while stream.waiting:
            item = stream.waiting[0]
            if isinstance(item, Gap) and stream.sent:
                stream.skip(item)
            elif isinstance(item, CloseStream):
                self._end(stream, item)
                return
            else:
                return

    def _end(self, stream: PlacedStream, close: CloseStream) -> None:
        place = stream.place
        if place is not None:
            if place.remote:
                place.worker.say(Close(place.remote))
            self._forget_place(stream, place)
        del self._streams[stream.id]
        for change in stream.changes:
            if not change.future.done():
                change.future.set_exception(BadUpdate("the stream was closed before the change could happen"))
        self._reports.closed(stream.id)
        if close.future.set_running_or_notify_cancel():
            close.future.set_result(stream.counts)

    # --- from the workers

    def take(self, worker: Worker, message: Message) -> None:
        """Process a worker's message about a stream; ignore it if the worker no longer has the stream."""
        stream = self._remote.get((worker, getattr(message, "stream", None) or ""))
        place = None if stream is None else stream.place
        if stream is None or place is None:
            return
        if isinstance(message, Result):
            self._result(stream, place, message)
        elif isinstance(message, Credit):
            place.limit = max(place.limit, message.limit)
            self._pump(stream)
        elif isinstance(message, Updated) and message.by is None:
            self._updated(place)
        elif isinstance(message, Updated):
            self.move(stream, f"an operator of its worker, {message.by}, has changed it there")
        elif isinstance(message, Error):
            self._error(stream, place, message)

    def _result(self, stream: PlacedStream, place: Place, result: Result) -> None:
        job = stream.waiting[0] if stream.sent else None
        if not isinstance(job, Job) or job.task.seq != result.seq:
            self.move(stream, f"its worker answers frame {result.seq}, which it does not have")
            return
        if not self._is_alike(stream, place.worker, result.device):
            self.move(
                stream, f"its worker denoises on {result.device}, but the stream began on {stream.device}"
            )
            return
        self._put_in_force(stream, result.seq)
        try:
            answer = stream.answer(job, result, time.perf_counter())
        except BadState as error:
            self.move(stream, f"its worker sent an invalid state: {error}")
            return
        stream.waiting.popleft()
        stream.sent -= 1
        place.worker.answered += 1
        place.limit = max(place.limit, result.limit)
        self._pump_before(stream, place)
        self._reports.answered(stream.id)
        if job.future.set_running_or_notify_cancel():
            job.future.set_result(answer)
        self._pump(stream)

    def _is_alike(self, stream: PlacedStream, worker: Worker, device: str | None) -> bool:
        """Whether a result is from the kind of device on which the stream began, because others give other
        pixels."""
        if device is None:  # an older server
            return True
        worker.device, kind = device, device_kind(device)
        stream.device = stream.device or kind
        return stream.device == kind

    def _pump_before(self, stream: PlacedStream, place: Place) -> None:
        """Send the worker its next item before its result is processed."""
        if not place.is_left:
            while stream.sent < len(stream.waiting) and self._send(stream, place):
                stream.sent += 1
        if stream.next_seq - place.acknowledged >= ACK_EVERY:
            place.acknowledged = stream.next_seq
            place.worker.say(Ack(place.remote, stream.next_seq))

    def _put_in_force(self, stream: PlacedStream, seq: int) -> None:
        while stream.changes and stream.changes[0].in_force.from_seq <= seq:
            change = stream.changes.popleft()
            before, stream.in_force = stream.in_force, change.in_force
            if change.names_model:
                self._reports.left(stream.id, before.model.id)

    def _updated(self, place: Place) -> None:
        if place.unanswered:
            change = place.unanswered.popleft()
            if not change.future.done():
                change.future.set_result(change.in_force)

    def _error(self, stream: PlacedStream, place: Place, error: Error) -> None:
        if error.seq is not None or error.code == "unknown_stream":
            stream.avoided = {place.worker: time.monotonic() + AVOID_S}
            self.move(stream, f"its worker refuses frame {error.seq}: {error.code}: {error.detail}")
        elif place.unanswered:
            change = place.unanswered.popleft()
            if change.future.done():  # it was confirmed by another worker, and must hold here too
                self.move(stream, f"its worker refuses a change: {error.detail}")
                return
            stream.changes.remove(change)
            if change.names_model:
                self._reports.left(stream.id, change.in_force.model.id)
            problem = UnknownModel if error.code == "unknown_model" else BadUpdate
            change.future.set_exception(problem(error.detail))

    def abandon(self, error: ServerError) -> None:
        """Fail all pending futures."""
        for stream in self._streams.values():
            futures: list[Future[Any]] = [change.future for change in stream.changes]
            futures += [item.future for item in stream.waiting if isinstance(item, Job | CloseStream)]
            for future in futures:
                if not future.done():
                    future.set_exception(error)
