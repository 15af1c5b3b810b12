"""The state of one stream in the device thread: its queue, its planes, and its model and thresholds."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import asdict, dataclass, field
from typing import Final, Self

from dimstream_models.judging import Conditions, PlaneJudge, PreviousFrame
from dimstream_server.engine.live_before_batch import Share
from dimstream_server.engine.loading import ModelKey
from dimstream_server.engine.pixel_matching import parts_of
from dimstream_server.engine.protocol import EngineResult, FrameTask, InForce, ModelInfo, StreamSpec
from dimstream_server.engine.resume_state import Counts, Plane, PlaneRecord, ResumeState
from dimstream_server.errors import BadUpdate

PENDING_UPDATES = 16
NOT_DENOISED: Final = "was not denoised in time"


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """An accepted frame.

    Parameters
    ----------
    lost : int
        Number of devices that were lost while they processed it.
    """

    task: FrameTask
    accepted_at: float
    future: Future[EngineResult]
    lost: int = 0


@dataclass(frozen=True, slots=True)
class Gap:
    """Frames that will never arrive."""

    seq_from: int
    seq_to: int


@dataclass(frozen=True, slots=True, eq=False)
class CloseStream:
    """The end of a stream."""

    future: Future[Counts]


@dataclass(frozen=True, slots=True, eq=False)
class RestoreReference:
    """The last frame of a plane whose prediction must be restored."""

    task: FrameTask


Item = Job | RestoreReference | Gap | CloseStream


@dataclass(frozen=True, slots=True, eq=False)
class PendingUpdate:
    """A change that waits for its frame.

    Parameters
    ----------
    names_model : bool
        Whether another model was requested.
    """

    in_force: InForce
    future: Future[InForce]
    names_model: bool


@dataclass(slots=True, eq=False)
class StreamState:
    """Everything that the device thread keeps of one stream.

    Parameters
    ----------
    records : dict
        State of each plane after its last answered frame.
    last_frames : dict or None
        The raw frames of these, to denoise them again on another device; None without another device.
    conditions : tuple or None
        Cached conditions of its frames, and the model and thresholds for which they hold.
    """

    id: str
    spec: StreamSpec
    in_force: InForce
    waiting: deque[Item] = field(default_factory=deque)
    updates: deque[PendingUpdate] = field(default_factory=deque)
    planes: dict[Plane, PreviousFrame] = field(default_factory=dict)
    judges: defaultdict[Plane, PlaneJudge] = field(default_factory=lambda: defaultdict(PlaneJudge))
    tally: Counter[str] = field(default_factory=Counter)
    last_seq: int = -1
    turn_s: float = 0.0  # time of its last frame
    parts: int = 1  # finer pixels along the side of a pixel
    records: dict[Plane, PlaneRecord] = field(default_factory=dict)
    last_frames: dict[Plane, FrameTask] | None = None
    decided: Mapping[int, bool] = field(
        default_factory=dict
    )  # frames that must be fallbacks again, or must not
    conditions: tuple[InForce, Conditions] | None = None

    @classmethod
    def begin(cls, stream: str, spec: StreamSpec, info: ModelInfo, resume_state: ResumeState | None) -> Self:
        """Return a stream before its first frame, or before the next frame of its resume state."""
        parts = parts_of(spec, info.bundle)
        if resume_state is None:
            return cls(stream, spec, InForce(0, info, info.thresholds), parts=parts)
        state = cls(stream, spec, InForce(resume_state.next_seq, info, resume_state.thresholds), parts=parts)
        state.last_seq = resume_state.next_seq - 1
        state.tally.update(asdict(resume_state.counts))
        state.decided = resume_state.decided
        for record in resume_state.planes:
            state.records[record.plane] = record
            state.judges[record.plane] = PlaneJudge.of_state(record.judge)
            state.planes[record.plane] = PreviousFrame(
                seq=record.seq,
                t=record.t,
                shape=spec.shape,
                model_sha256=record.model_sha256,
                normalised=None,
                why_none=_why_none(record),
            )
        return state

    def settled(self, task: FrameTask, record: PlaneRecord | None) -> None:
        """Record a frame that was answered or, without a record, that was only restored."""
        if record is not None:
            self.records[task.plane] = record
        if self.last_frames is not None:
            self.last_frames[task.plane] = task

    def moved(self) -> Self:
        """Return the stream for another device: before its first frame without an answer."""
        before = ResumeState(
            *(self.last_seq + 1, tuple(self.records.values()), self.counts(), self.in_force.thresholds),
            decided=self.decided,
        )
        state = self.begin(self.id, self.spec, self.in_force.model, before)
        state.in_force, state.updates = self.in_force, self.updates
        state.last_frames = self.last_frames
        frames = (
            [] if self.last_frames is None else sorted(self.last_frames.values(), key=lambda one: one.seq)
        )
        sha256 = self.in_force.model.sha256
        again = [task for task in frames if self._is_reference(task, sha256)]
        state.waiting.extend((*map(RestoreReference, again), *self.waiting))
        return state

    def _is_reference(self, task: FrameTask, model_sha256: str) -> bool:
        record = self.records.get(task.plane)
        return record is not None and record.predicted and record.model_sha256 == model_sha256

    def key(self, in_force: InForce) -> ModelKey:
        """Return the key of the model that this stream needs."""
        spec = self.spec
        return ModelKey(
            in_force.model.id,
            spec.model_dtype,
            spec.model_out_dtype,
            split_check=spec.split_every > 0,
            sd=spec.deliver_sd,
        )

    @property
    def pixels(self) -> int:
        """Pixels of a frame in the model's input."""
        return self.spec.shape[0] * self.spec.shape[1] * self.parts**2

    @property
    def share(self) -> Share:
        """Its claim to time on its device."""
        return Share(self.spec.priority == "batch", self.spec.weight)

    def is_late(self, job: Job, ends_at: float) -> bool:
        """Whether a frame that would be denoised at `ends_at` misses its deadline."""
        if self.spec.deadline_ms is None:
            return False
        decided = self.decided.get(job.task.seq)
        return ends_at > job.accepted_at + self.spec.deadline_ms / 1e3 if decided is None else decided

    def counts(self) -> Counts:
        """Counts of the frames so far."""
        return Counts(**self.tally)

    def plan(self, update: PendingUpdate) -> None:
        """Let an update wait for its frame.

        Raises
        ------
        BadUpdate
            When that frame is in the past, an update for a later frame is waiting, or too many are waiting.
        """
        from_seq = update.in_force.from_seq
        earliest = self.updates[-1].in_force.from_seq if self.updates else self.last_seq + 1
        if from_seq < earliest:
            raise BadUpdate(
                f"from_seq must be at least {earliest}, got {from_seq}: frames before it are done"
            )
        if len(self.updates) >= PENDING_UPDATES:
            raise BadUpdate(
                f"{PENDING_UPDATES} updates of this stream are already waiting; send their frames first"
            )
        self.updates.append(update)

    def next_in_force(self) -> InForce:
        """Return the model and thresholds after all waiting updates."""
        return self.updates[-1].in_force if self.updates else self.in_force

    def due_update(self, seq: int) -> PendingUpdate | None:
        """Return the first update that must happen before frame `seq`."""
        due = bool(self.updates) and self.updates[0].in_force.from_seq <= seq
        return self.updates[0] if due else None


def _why_none(record: PlaneRecord) -> str:
    """Return why there is no prediction of the previous frame."""
    if record.fallback:
        return NOT_DENOISED
    return "was not sent again for the comparison" if record.predicted else "failed"
