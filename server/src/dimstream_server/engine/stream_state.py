"""One stream on the device thread: what waits, what is remembered and what is in force."""

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
NOT_DENOISED: Final = "was not denoised, for want of time"


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """A frame that was accepted.

    Parameters
    ----------
    lost : int
        Devices that were lost while they worked on it.
    """

    task: FrameTask
    accepted_at: float
    future: Future[EngineResult]
    lost: int = 0


@dataclass(frozen=True, slots=True)
class Gap:
    """Frames that will never come."""

    seq_from: int
    seq_to: int


@dataclass(frozen=True, slots=True, eq=False)
class CloseStream:
    """The end of a stream."""

    future: Future[Counts]


@dataclass(frozen=True, slots=True, eq=False)
class RestoreReference:
    """The last frame of a plane, of which the stream goes on without its prediction."""

    task: FrameTask


Item = Job | RestoreReference | Gap | CloseStream


@dataclass(frozen=True, slots=True, eq=False)
class PendingUpdate:
    """A change that waits for its sequence number.

    Parameters
    ----------
    names_model : bool
        Whether it was asked for another model.
    """

    in_force: InForce
    future: Future[InForce]
    names_model: bool


@dataclass(slots=True, eq=False)
class StreamState:
    """All that the device thread keeps of one stream.

    Parameters
    ----------
    records : dict
        Each plane after its last frame that was answered.
    last_frames : dict or None
        That frame as it came, to be denoised again on another device; None where there is no other.
    conditions : tuple or None
        What holds for its frames, with what was in force when that was put together.
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
    turn_s: float = 0.0  # that its last frame took
    parts: int = 1  # into which the side of a pixel is divided
    records: dict[Plane, PlaneRecord] = field(default_factory=dict)
    last_frames: dict[Plane, FrameTask] | None = None
    decided: Mapping[int, bool] = field(default_factory=dict)  # which frames are fallbacks, known before
    conditions: tuple[InForce, Conditions] | None = None

    @classmethod
    def begin(cls, stream: str, spec: StreamSpec, info: ModelInfo, resume_state: ResumeState | None) -> Self:
        """A stream before its first frame, or before the next of those of its resume state."""
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
        """Take note of a frame that was answered, or, without a record, of one that was only made again."""
        if record is not None:
            self.records[task.plane] = record
        if self.last_frames is not None:
            self.last_frames[task.plane] = task

    def moved(self) -> Self:
        """The stream as another device goes on with it: before the first frame that has no answer."""
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
        """The model that this stream needs for what is in force."""
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
        """Of a frame, as the model is given it."""
        return self.spec.shape[0] * self.spec.shape[1] * self.parts**2

    @property
    def share(self) -> Share:
        """What it may claim of its device."""
        return Share(self.spec.priority == "batch", self.spec.weight)

    def is_late(self, job: Job, ends_at: float) -> bool:
        """Whether a frame is to be answered by itself, if it were denoised by then."""
        if self.spec.deadline_ms is None:
            return False
        decided = self.decided.get(job.task.seq)
        return ends_at > job.accepted_at + self.spec.deadline_ms / 1e3 if decided is None else decided

    def counts(self) -> Counts:
        """What became of the frames so far."""
        return Counts(**self.tally)

    def plan(self, update: PendingUpdate) -> None:
        """Let an update wait for its frame.

        Raises
        ------
        BadUpdate
            When that frame is past, an update for a later frame waits, or too many wait.
        """
        from_seq = update.in_force.from_seq
        earliest = self.updates[-1].in_force.from_seq if self.updates else self.last_seq + 1
        if from_seq < earliest:
            raise BadUpdate(
                f"from_seq must be at least {earliest}, got {from_seq}: frames before it are done"
            )
        if len(self.updates) >= PENDING_UPDATES:
            raise BadUpdate(f"{PENDING_UPDATES} updates of this stream wait already; send their frames first")
        self.updates.append(update)

    def next_in_force(self) -> InForce:
        """What will be in force after all updates that wait."""
        return self.updates[-1].in_force if self.updates else self.in_force

    def due_update(self, seq: int) -> PendingUpdate | None:
        """The first update that must happen before frame `seq`."""
        due = bool(self.updates) and self.updates[0].in_force.from_seq <= seq
        return self.updates[0] if due else None


def _why_none(record: PlaneRecord) -> str:
    """What a frame says of the prediction before it that is not there."""
    if record.fallback:
        return NOT_DENOISED
    return "was not sent again to be compared with" if record.predicted else "failed"
