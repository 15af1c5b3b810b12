"""One stream without sockets: which frame may come next, and how much credit there is.

The engine knows streams too, but not connections, sequence numbers or credit: these are handled here.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from dimstream_client.errors import Problem
from dimstream_client.header_checks import MAX_INTEGER, MAX_WINDOW
from dimstream_client.messages import (
    Ack,
    Close,
    Closed,
    Credit,
    Frame,
    Open,
    PlaneIndex,
    Result,
    Skip,
    Update,
    Updated,
)
from dimstream_client.quality import Thresholds, parts_of
from dimstream_server.engine.protocol import EngineResult, FrameTask, InForce, StreamSpec
from dimstream_server.engine.resume_state import Counts, Plane
from dimstream_server.engine.state_json import result_json
from dimstream_server.errors import StreamClosed, WrongDtype, WrongShape
from dimstream_server.problem_details import RequestRefused, error_message
from dimstream_server.recording import RecordedFile
from dimstream_server.streams.wire_values import wire_update

LAST_SEQ = MAX_INTEGER - MAX_WINDOW  # larger limits are not valid integers in DIM1


class Channel(Protocol):
    """The endpoint's channel for the answers of streams. Called in the loop's thread; no method may wait."""

    @property
    def endpoint(self) -> str:
        """Its name, for logs and metrics."""

    def result(self, stream: ServerStream, result: EngineResult) -> None:
        """Send a result; then report to the service that it was delivered, or can never be."""

    def updated(self, stream: ServerStream, message: Updated) -> None:
        """Send the new model and thresholds, and their first frame."""

    def closed(self, stream: ServerStream, message: Closed) -> None:
        """Send the end; then let the service remove the stream, whether or not it could be sent."""

    def refused(self, stream: ServerStream, problem: BaseException) -> None:
        """Send why an accepted UPDATE will not happen."""

    def is_absent(self, peer: bytes) -> bool:
        """Whether a connection does not answer although it has not ended."""


@dataclass(eq=False)
class ServerStream:
    """One open stream: the frames that its client may send, and the results to be sent.

    Parameters
    ----------
    id : str
        Its permanent id in messages.
    engine_id : str
        Its id in the engine, until it is resumed.
    peer : bytes
        ROUTER identity of its connection; no other connection may use it.
    owner : str
        Public key of its client; empty without keys.
    client : str
        Its client: the name of the client's key or, without keys, the name that the client states; for a
        request, the name of its token, or its address.
    program : str
        The name that its client states.
    counts : Counts
        Counts of its frames, up to its last result.
    window : int
        Frames that may be in flight.
    thresholds : Thresholds
        The present thresholds that were reported to its client.
    channel : Channel or None
        Channel for its answers; None for a request, which takes them itself.
    endpoint : str
        Its endpoint, for logs and metrics.
    is_request : bool
        Whether one request feeds it: it does not use the credit of other streams, and cannot be resumed.
    references : dict
        Frames, and their planes, that were answered before a resumption and are expected again.
    submitted : dict
        Frames that the engine has not answered, as received and as submitted to the engine.
    indexed : bool
        Whether a frame stated its index.
    hands_state : bool
        Whether its results contain the resume state, because its client is a gateway.
    pixel_size_um : float or None
        None when unknown.
    channels : tuple of str
        Names, in the order of the index; may be empty.
    released : bool
        Whether it was released from its connection. Then nothing more of it is written to the journal, from
        which it can be resumed. Set on the loop, also read by the journal's thread.
    unanswered_updates : int
        Requested changes of model or thresholds that are not answered.
    unread_changes : tuple of Updated
        Operators' changes before a resumption, which its client may not know yet.
    """

    id: str
    peer: bytes
    spec: StreamSpec
    window: int
    thresholds: Thresholds
    engine_id: str = ""
    model: str = ""
    client: str = ""
    program: str = ""
    counts: Counts = field(default_factory=Counts)
    mode: str = "lossless"
    checksum: bool = False
    next_seq: int = 0
    acknowledged: int = 0
    delivers_pixels: bool = True
    closing: bool = False
    owner: str = ""
    channel: Channel | None = None
    endpoint: str = ""
    is_request: bool = False
    references: dict[int, Plane] = field(default_factory=dict)
    submitted: dict[int, tuple[Frame, FrameTask]] = field(default_factory=dict)
    indexed: bool = False
    hands_state: bool = False
    pixel_size_um: float | None = None
    channels: tuple[str, ...] = ()
    released: bool = False
    unanswered_updates: int = 0
    unread_changes: tuple[Updated, ...] = ()
    _owed: dict[int, PlaneIndex] = field(default_factory=dict)
    _futures: dict[int, Future[EngineResult]] = field(default_factory=dict)

    @property
    def limit(self) -> int:
        """First sequence number that may not be sent yet; it never decreases."""
        return self.next_seq + self.window - len(self._owed)

    @property
    def frame_bytes(self) -> int:
        """Bytes of a raw or a denoised frame, whichever is larger, and of its map."""
        return largest_frame_bytes(self.spec)

    @property
    def payload_bytes(self) -> int:
        """Largest size of the pixels of a received frame, compressed or not, bytes."""
        raw = self.spec.shape[0] * self.spec.shape[1] * np.dtype(self.spec.in_dtype).itemsize
        return raw + raw // 256 + 1024  # zlib makes noise slightly larger

    @property
    def in_flight(self) -> int:
        """Number of accepted frames whose results were not delivered."""
        return len(self._owed)

    def task(self, frame: Frame) -> FrameTask:
        """Return the engine's task for a frame that is the next one, within the credit and of the stream's
        kind.

        Raises
        ------
        StreamClosed, RequestRefused, WrongShape, WrongDtype
            When it is not; nothing was changed, and `next_seq` is still expected.
        """
        self.check(frame.seq, frame.pixels.shape, frame.pixels.dtype.name)
        index = frame.index
        # Without indices, a stream has one plane, and time is its sequence.
        named = self.indexed or index != PlaneIndex()
        time_point = index.t if named else frame.seq
        return FrameTask(frame.seq, frame.pixels, t=time_point, plane=(index.c, index.z, index.p))

    def check(self, seq: int, shape: tuple[int, ...], dtype: str) -> None:
        """Refuse a frame by its header if it is not the next one, exceeds the credit or is not of the
        stream's kind.

        Raises
        ------
        StreamClosed, RequestRefused, WrongShape, WrongDtype
        """
        self.refuse_when_closing()
        if seq not in self.references:
            self._refuse_out_of_turn(seq)
            if seq >= self.limit:
                raise RequestRefused(
                    "over_credit",
                    f"frame {seq} exceeds the credit: expected a frame below {self.limit}; wait for a RESULT",
                    expected={"seq": self.next_seq, "limit": self.limit},
                )
        self._refuse_other_kind(shape, dtype)

    def accept(self, frame: Frame, future: Future[EngineResult]) -> None:
        """Record that the engine has accepted this frame, so that a RESULT must follow."""
        self._owed[frame.seq] = frame.index
        self._futures[frame.seq] = future
        self.indexed = self.indexed or frame.index != PlaneIndex()
        self.next_seq = frame.seq + 1

    def check_skip(self, skip: Skip) -> None:
        """Refuse a SKIP that does not begin with the next frame.

        Raises
        ------
        StreamClosed, RequestRefused
        """
        self.refuse_when_closing()
        self._refuse_out_of_turn(skip.seq_from)
        if skip.seq_to > LAST_SEQ:
            raise RequestRefused("bad_field", f"expected seq_to of at most {LAST_SEQ}, got {skip.seq_to}")

    def skipped(self, seq_to: int) -> Credit:
        """Return the answer to an accepted SKIP: the limit, raised by the number of skipped frames."""
        self.next_seq = seq_to + 1
        return self.credit()

    def credit(self) -> Credit:
        """Return the present limit, which may be sent any number of times."""
        return Credit(stream=self.id, limit=self.limit)

    def result(self, result: EngineResult) -> Result:
        """Return the RESULT of the oldest frame without one; its limit already counts it as delivered."""
        failed = result.status == "failed"
        return Result(
            **parts_of(result),
            stream=self.id,
            pixels=result.pixels if self.delivers_pixels else None,
            limit=self.limit + 1,
            index=self._owed[result.seq],
            error=error_message("frame_failed", result.error or "", seq=result.seq) if failed else None,
            support=result.support,
            sd=result.sd,
            state=result_json(result) if self.hands_state else None,
        )

    def handed_over(self, seq: int) -> None:
        """Record that the RESULT of `seq` was sent, or can never be sent."""
        del self._owed[seq]
        self._futures.pop(seq, None)

    def break_off(self) -> None:
        """Cancel all frames in the engine that its client will send again, and write nothing more to the
        journal."""
        self.released = True
        for future in self._futures.values():
            future.cancel()
        self._futures.clear()
        self.submitted.clear()

    def acknowledge(self, ack: Ack) -> None:
        """Record what the client has stored safely; a resumption starts from there.

        Raises
        ------
        RequestRefused
        """
        if ack.next_result > self.next_seq:
            raise RequestRefused(
                "bad_field", f"expected next_result of at most {self.next_seq}, got {ack.next_result}"
            )
        self.acknowledged = max(self.acknowledged, ack.next_result)

    def new_thresholds(self, update: Update) -> Mapping[str, float] | None:
        """Return the thresholds of an UPDATE; None if it has none.

        Raises
        ------
        StreamClosed
        """
        self.refuse_when_closing()
        return update.thresholds

    def updated(self, in_force: InForce, *, by: str | None = None) -> Updated:
        """Return UPDATED, after the engine has confirmed a change.

        Parameters
        ----------
        by : str or None
            The operator who requested it; None: the client.
        """
        self.model, self.thresholds = in_force.model.id, in_force.thresholds
        return wire_update(self.id, in_force, by=by)

    def close(self, message: Close) -> bool:
        """Return whether CLOSE is new; it is refused while frames up to its `last_seq` are missing.

        Raises
        ------
        RequestRefused
        """
        last = message.last_seq
        if last is not None and last != self.next_seq - 1:
            raise RequestRefused(
                "sequence_gap" if last >= self.next_seq else "bad_field",
                f"CLOSE states {last} as the last frame, but {self.next_seq} is expected next",
                expected={"seq": self.next_seq},
            )
        already, self.closing = self.closing, True
        return not already

    def closed(
        self, counts: Counts, files: tuple[RecordedFile, ...] = (), error: Problem | None = None
    ) -> Closed:
        """Return CLOSED, after the files are final; `error` states why they are incomplete."""
        return Closed(
            stream=self.id,
            counts={name: getattr(counts, name) for name in Counts.__dataclass_fields__},
            files=tuple({"name": file.name, "sha256": file.sha256, "bytes": file.nbytes} for file in files),
            error=error,
        )

    def refuse_when_closing(self) -> None:
        """Raise StreamClosed after CLOSE was accepted."""
        if self.closing:
            raise StreamClosed(f"stream {self.id} was closed and accepts nothing more; open a new one")

    def _refuse_out_of_turn(self, seq: int) -> None:
        if seq > self.next_seq:
            raise RequestRefused(
                "sequence_gap",
                f"expected frame {self.next_seq}, got {seq}; send frames from {self.next_seq} on, or state "
                "the gap in a SKIP",
                expected={"seq": self.next_seq},
            )
        if seq < self.next_seq:
            raise RequestRefused(
                "duplicate",
                f"frame {seq} was already accepted; {self.next_seq} is expected next",
                expected={"seq": self.next_seq},
            )

    def _refuse_other_kind(self, shape: tuple[int, ...], dtype: str) -> None:
        if shape != self.spec.shape:
            raise WrongShape(
                f"expected a frame of shape {list(self.spec.shape)} (height, width) as in OPEN, got "
                f"{list(shape)}; open another stream for another shape"
            )
        if dtype != self.spec.in_dtype:
            raise WrongDtype(
                f"expected {self.spec.in_dtype} pixels as in OPEN, got {dtype}; open another stream for "
                "another pixel type"
            )


def largest_frame_bytes(kind: Open | StreamSpec) -> int:
    """Return the bytes of one frame of a stream: raw or denoised, whichever is more, and its maps."""
    if isinstance(kind, Open):
        dtype, beside = kind.dtype, kind.maps + 4 * bool(kind.sd)
    else:
        dtype, beside = kind.in_dtype, kind.deliver_maps + 4 * kind.deliver_sd
    largest = max(np.dtype(dtype).itemsize, np.dtype(kind.out_dtype).itemsize)
    return kind.shape[0] * kind.shape[1] * (largest + beside)
