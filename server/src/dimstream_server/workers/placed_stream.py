"""One stream of a gateway: its unanswered frames, its resume state, and its worker."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from dimstream_client.messages import Frame, Open, PlaneIndex, Result, Update
from dimstream_client.quality import Times, parts_of, plain
from dimstream_server.engine.protocol import EngineResult, FrameTask, InForce, StreamSpec
from dimstream_server.engine.resume_state import Counts, Plane, PlaneRecord, ResumeState
from dimstream_server.engine.state_json import record_of, state_json
from dimstream_server.engine.stream_state import PENDING_UPDATES, CloseStream, Gap, Job
from dimstream_server.errors import BadUpdate

if TYPE_CHECKING:
    from dimstream_server.workers.worker import Worker

CLIENT: Final = "dimstream gateway"
WINDOW: Final = 8  # most frames of one stream at a worker
Item = Job | Gap | CloseStream


@dataclass(slots=True, eq=False)
class Change:
    """A change of model or thresholds: requested, or confirmed and waiting for its frame."""

    in_force: InForce
    future: Future[InForce]
    names_model: bool

    def message(self, remote: str) -> Update:
        """Return the UPDATE that sets this, whatever was set before."""
        return Update(
            remote,
            self.in_force.from_seq,
            model=self.in_force.model.id if self.names_model else None,
            thresholds=_named(self.in_force),
        )


@dataclass(slots=True, eq=False)
class Place:
    """A stream at a worker.

    Parameters
    ----------
    remote : str
        The stream's id at the worker; empty until it is open there.
    limit : int
        First frame that the worker does not accept yet.
    references : set of int
        Frames that the worker expects again.
    acknowledged : int
        First result that was not acknowledged to the worker.
    unanswered : deque of Change
        Updates that the worker has not answered.
    is_left : bool
        Whether no further frames are sent there, because the stream moves after the others are answered.
    """

    worker: Worker
    remote: str = ""
    limit: int = 0
    references: set[int] = field(default_factory=set)
    acknowledged: int = 0
    unanswered: deque[Change] = field(default_factory=deque)
    is_left: bool = False


@dataclass(slots=True, eq=False)
class PlacedStream:
    """Everything that a gateway keeps of one stream. Only one thread may use it.

    Parameters
    ----------
    next_seq : int
        First frame that is not answered.
    records, counts
        Its resume state after the frame before that.
    raw : dict
        The last answered frame of each plane, with which the next one is compared.
    waiting : deque of Job, Gap or CloseStream
        Unanswered items, in order.
    sent : int
        Number of these that the worker has.
    avoided : dict
        Workers that have refused it, and until when they are not asked again.
    refusals : dict
        Workers that can never have it, and why.
    moves : int
        Number of placements since its last result.
    device : str or None
        Kind of device of its frames, from `device_kind`; None before its first result.
    """

    id: str
    spec: StreamSpec
    in_force: InForce
    next_seq: int = 0
    counts: Counts = field(default_factory=Counts)
    records: dict[Plane, PlaneRecord] = field(default_factory=dict)
    raw: dict[Plane, FrameTask] = field(default_factory=dict)
    waiting: deque[Item] = field(default_factory=deque)
    changes: deque[Change] = field(default_factory=deque)
    place: Place | None = None
    sent: int = 0
    avoided: dict[Worker, float] = field(default_factory=dict)
    refusals: dict[Worker, str] = field(default_factory=dict)
    moves: int = 0
    device: str | None = None

    @classmethod
    def begin(
        cls, stream: str, spec: StreamSpec, in_force: InForce, state: ResumeState | None
    ) -> PlacedStream:
        """Return a stream before its first frame, or before the next frame of its resume state."""
        if state is None:
            return cls(stream, spec, in_force)
        return cls(
            stream,
            spec,
            replace(in_force, thresholds=state.thresholds, from_seq=state.next_seq),
            state.next_seq,
            state.counts,
            {record.plane: record for record in state.planes},
        )

    @property
    def pixels(self) -> int:
        """Pixels of a frame."""
        return self.spec.shape[0] * self.spec.shape[1]

    @property
    def models(self) -> dict[str, str]:
        """Models that it needs, now and after confirmed changes, and their SHA-256."""
        settled = [change.in_force for change in self.changes if change.future.done()]
        return {one.model.id: one.model.sha256 for one in (self.in_force, *settled)}

    @property
    def has_unsettled(self) -> bool:
        """Whether a requested change is not answered."""
        return any(not change.future.done() for change in self.changes)

    def plan(self, change: Change) -> None:
        """Let a change wait for its frame.

        Raises
        ------
        BadUpdate
            When that frame is in the past, a change for a later frame is waiting, or too many are waiting.
        """
        from_seq = change.in_force.from_seq
        earliest = self.changes[-1].in_force.from_seq if self.changes else self.next_seq
        if from_seq < earliest:
            raise BadUpdate(
                f"from_seq must be at least {earliest}, got {from_seq}: frames before it are done"
            )
        if len(self.changes) >= PENDING_UPDATES:
            raise BadUpdate(
                f"{PENDING_UPDATES} updates of this stream are already waiting; send their frames first"
            )
        self.changes.append(change)

    def next_in_force(self) -> InForce:
        """Return the model and thresholds after all waiting changes."""
        return self.changes[-1].in_force if self.changes else self.in_force

    def open_message(self) -> Open:
        """Return the OPEN with which a worker continues it."""
        spec, detector = self.spec, self.spec.detector
        state = ResumeState(
            self.next_seq, tuple(self.records.values()), self.counts, self.in_force.thresholds
        )
        return Open(
            client=CLIENT,
            shape=spec.shape,
            dtype=spec.in_dtype,
            model=self.in_force.model.id,
            out_dtype=spec.out_dtype,
            deliver="result" if spec.deliver_pixels else "flags",
            window=WINDOW,
            pixel_size_um=spec.pixel_size_um,
            frame_interval_s=spec.frame_interval_s,
            maps=spec.deliver_maps,
            sd=spec.deliver_sd or None,
            split_every=spec.split_every,
            offset=None if detector is None else detector.offset,
            gain=None if detector is None else detector.gain,
            match_pixel_size=spec.match_pixel_size or None,
            priority=None if spec.priority == "live" else spec.priority,
            weight=None if spec.weight == 1 else spec.weight,
            deadline_ms=spec.deadline_ms,
            state=state_json(state),
        )

    def skip(self, gap: Gap) -> None:
        """Skip frames that will never arrive, which are first in the queue."""
        self.waiting.popleft()
        self.sent -= 1
        self.next_seq = gap.seq_to + 1
        skipped = self.counts.skipped + gap.seq_to - gap.seq_from + 1
        self.counts = replace(self.counts, skipped=skipped)

    def answer(self, job: Job, result: Result, now: float) -> EngineResult:
        """Return the engine's result for a worker's result, and advance the stream.

        Raises
        ------
        BadState
            When the worker did not send a valid resume state.
        """
        task = job.task
        record, counts = record_of(
            result.state or {}, plane=task.plane, seq=task.seq, t=task.t, model_sha256=result.model_sha256
        )
        record = replace(record, fallback=bool(result.fallback))
        self.records[task.plane], self.raw[task.plane], self.counts = record, task, counts
        self.next_seq, self.moves = task.seq + 1, 0
        total_ms = (now - job.accepted_at) * 1e3
        infer_ms = min(result.t_ms.infer, total_ms)
        return EngineResult(
            **parts_of(result)
            | {"t_ms": Times(round(total_ms - infer_ms, 3), round(infer_ms, 3), round(total_ms, 3))},
            pixels=result.pixels,
            model_id=self.in_force.model.id,
            error=None if result.error is None else result.error.detail,
            support=result.support,
            sd=result.sd,
            plane=record,
            counts=counts,
        )


def device_kind(device: str) -> str:
    """Return the part of a device's name that determines pixels: runtime and precision, without the device's
    number."""
    return re.sub(r"cuda:\d+", "cuda", device)


def frame_message(remote: str, task: FrameTask) -> Frame:
    """Return the FRAME of a task; its time point is always stated."""
    channel, z, position = task.plane
    return Frame(remote, task.seq, task.pixels, PlaneIndex(task.t, channel, z, position))


def _named(in_force: InForce) -> Mapping[str, float]:
    limits = plain(in_force.thresholds)
    return {name: value for name, value in limits.items() if value is not None}
