"""One stream without sockets: which frame may come next, and what credit that leaves.

The engine knows streams too, but neither peers, sequence numbers nor credit: those live here.
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

LAST_SEQ = MAX_INTEGER - MAX_WINDOW  # beyond it a limit would be no integer of DIM1


class Channel(Protocol):
    """Where the answers of streams go: their endpoint. Called on the loop's thread; no method may wait."""

    @property
    def endpoint(self) -> str:
        """Its name, for logs and figures."""

    def result(self, stream: ServerStream, result: EngineResult) -> None:
        """Send a result; then report to the service that it was delivered, or never can be."""

    def updated(self, stream: ServerStream, message: Updated) -> None:
        """Send what is in force from when on."""

    def closed(self, stream: ServerStream, message: Closed) -> None:
        """Send the end; then let the service forget the stream, whether or not it could be sent."""

    def refused(self, stream: ServerStream, problem: BaseException) -> None:
        """Send why an UPDATE that was taken will not be done."""

    def is_absent(self, peer: bytes) -> bool:
        """Whether a connection does not answer, though it has not ended."""


@dataclass(eq=False)
class ServerStream:
    """One open stream: the frames that it may send, and the results that it is owed.

    Parameters
    ----------
    id : str
        Its name on the wire, for ever.
    engine_id : str
        The engine's name for it, until it is resumed.
    peer : bytes
        ROUTER identity of the peer that opened it; nobody else may use it.
    owner : str
        Public key of that peer; empty where clients have none.
    client : str
        Whose it is: the name of its client's key; without keys what its client calls itself; of a request
        the name of its token, or its address.
    program : str
        What its client calls itself.
    counts : Counts
        What became of its frames, as of its last result.
    window : int
        Frames that may be in flight.
    thresholds : Thresholds
        In force, as far as its peer was told.
    channel : Channel or None
        Where its answers go; None: a request's, which takes them itself.
    endpoint : str
        By which endpoint it came, for logs and figures.
    is_request : bool
        Whether one request feeds it: it has no part in the credit of the others, and cannot be resumed.
    references : dict
        Frames that were answered before it was resumed and are waited for again, and their planes.
    submitted : dict
        Frames that the engine has not answered, as they came and as the engine was given them.
    indexed : bool
        Whether a frame said where it belongs.
    hands_state : bool
        Whether its results tell what it would go on from: its client is a gateway.
    pixel_size_um : float or None
        None when unknown.
    channels : tuple of str
        Names, in the order of the index; may be empty.
    released : bool
        Whether its connection was let go of: then nothing more of it is written into the journal, and whoever
        resumes it goes on from what is there. Set on the loop, also read by the journal's thread.
    unanswered_updates : int
        Changes of model or thresholds that were asked for and are not answered.
    unread_changes : tuple of Updated
        What an operator has changed before the stream was resumed, and its client perhaps has not read.
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
        """First sequence number that may not be sent yet; it only ever grows."""
        return self.next_seq + self.window - len(self._owed)

    @property
    def frame_bytes(self) -> int:
        """Bytes of a raw or a denoised frame, whichever is larger, and of its map."""
        return largest_frame_bytes(self.spec)

    @property
    def payload_bytes(self) -> int:
        """Most bytes that the pixels of a frame may take on their way here, packed or not."""
        raw = self.spec.shape[0] * self.spec.shape[1] * np.dtype(self.spec.in_dtype).itemsize
        return raw + raw // 256 + 1024  # what zlib makes of noise is a little larger

    @property
    def in_flight(self) -> int:
        """Frames accepted whose results were not handed over."""
        return len(self._owed)

    def task(self, frame: Frame) -> FrameTask:
        """The engine's task for a frame that is in turn, within the credit and of the stream's kind.

        Raises
        ------
        StreamClosed, RequestRefused, WrongShape, WrongDtype
            Nothing changed; `next_seq` is still what is expected.
        """
        self.check(frame.seq, frame.pixels.shape, frame.pixels.dtype.name)
        index = frame.index
        # A sender that never says where its frames belong has one plane, and time is its sequence.
        named = self.indexed or index != PlaneIndex()
        time_point = index.t if named else frame.seq
        return FrameTask(frame.seq, frame.pixels, t=time_point, plane=(index.c, index.z, index.p))

    def check(self, seq: int, shape: tuple[int, ...], dtype: str) -> None:
        """Refuse a frame that is not in turn, over the credit or not of the stream's kind, by its header.

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
                    f"frame {seq} is over the credit: only those below {self.limit} may be sent; "
                    "wait for a RESULT",
                    expected={"seq": self.next_seq, "limit": self.limit},
                )
        self._refuse_other_kind(shape, dtype)

    def accept(self, frame: Frame, future: Future[EngineResult]) -> None:
        """Take note that the engine has taken this frame, which is owed a RESULT from now on."""
        self._owed[frame.seq] = frame.index
        self._futures[frame.seq] = future
        self.indexed = self.indexed or frame.index != PlaneIndex()
        self.next_seq = frame.seq + 1

    def check_skip(self, skip: Skip) -> None:
        """Refuse a SKIP that is out of turn.

        Raises
        ------
        StreamClosed, RequestRefused
        """
        self.refuse_when_closing()
        self._refuse_out_of_turn(skip.seq_from)
        if skip.seq_to > LAST_SEQ:
            raise RequestRefused("bad_field", f"expected seq_to of at most {LAST_SEQ}, got {skip.seq_to}")

    def skipped(self, seq_to: int) -> Credit:
        """The answer to a SKIP that was taken: the limit, raised by as many frames as were skipped."""
        self.next_seq = seq_to + 1
        return self.credit()

    def credit(self) -> Credit:
        """The present limit, which may be told any number of times."""
        return Credit(stream=self.id, limit=self.limit)

    def result(self, result: EngineResult) -> Result:
        """RESULT of the oldest frame that is owed one; its limit counts it as handed over."""
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
        """Take note that the RESULT of `seq` was handed to the socket, or never can be."""
        del self._owed[seq]
        self._futures.pop(seq, None)

    def break_off(self) -> None:
        """Let the engine work off nothing more of what its peer will send again, and keep nothing more."""
        self.released = True
        for future in self._futures.values():
            future.cancel()
        self._futures.clear()
        self.submitted.clear()

    def acknowledge(self, ack: Ack) -> None:
        """Take note of what the client holds safely; a resumed stream will start from there.

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
        """Thresholds that an UPDATE names; None when it names none.

        Raises
        ------
        StreamClosed
        """
        self.refuse_when_closing()
        return update.thresholds

    def updated(self, in_force: InForce, *, by: str | None = None) -> Updated:
        """UPDATED, once the engine has said what is in force from when on.

        Parameters
        ----------
        by : str or None
            The operator who changed it; None: its client has asked for it.
        """
        self.model, self.thresholds = in_force.model.id, in_force.thresholds
        return wire_update(self.id, in_force, by=by)

    def close(self, message: Close) -> bool:
        """Whether CLOSE is new; it is refused while frames up to its `last_seq` are missing.

        Raises
        ------
        RequestRefused
        """
        last = message.last_seq
        if last is not None and last != self.next_seq - 1:
            raise RequestRefused(
                "sequence_gap" if last >= self.next_seq else "bad_field",
                f"CLOSE names {last} as the last frame, but {self.next_seq} is expected next",
                expected={"seq": self.next_seq},
            )
        already, self.closing = self.closing, True
        return not already

    def closed(
        self, counts: Counts, files: tuple[RecordedFile, ...] = (), error: Problem | None = None
    ) -> Closed:
        """CLOSED, once the files are final; `error` says why they do not hold everything."""
        return Closed(
            stream=self.id,
            counts={name: getattr(counts, name) for name in Counts.__dataclass_fields__},
            files=tuple({"name": file.name, "sha256": file.sha256, "bytes": file.nbytes} for file in files),
            error=error,
        )

    def refuse_when_closing(self) -> None:
        """Raise StreamClosed once CLOSE was taken."""
        if self.closing:
            raise StreamClosed(f"stream {self.id} has been closed and takes nothing more; open a new one")

    def _refuse_out_of_turn(self, seq: int) -> None:
        if seq > self.next_seq:
            raise RequestRefused(
                "sequence_gap",
                f"expected frame {self.next_seq}, got {seq}; send from {self.next_seq} on, "
                "or name the gap in a SKIP",
                expected={"seq": self.next_seq},
            )
        if seq < self.next_seq:
            raise RequestRefused(
                "duplicate",
                f"frame {seq} was taken before; {self.next_seq} is expected next",
                expected={"seq": self.next_seq},
            )

    def _refuse_other_kind(self, shape: tuple[int, ...], dtype: str) -> None:
        if shape != self.spec.shape:
            raise WrongShape(
                f"expected a frame of shape {list(self.spec.shape)} (height, width), as the stream was "
                f"opened, got {list(shape)}; open another stream for another shape"
            )
        if dtype != self.spec.in_dtype:
            raise WrongDtype(
                f"expected {self.spec.in_dtype} pixels, as the stream was opened, "
                f"got {dtype}; open another stream for another pixel type"
            )


def largest_frame_bytes(kind: Open | StreamSpec) -> int:
    """Bytes of one frame of a stream, raw or denoised, whichever is more, and of its maps."""
    if isinstance(kind, Open):
        dtype, beside = kind.dtype, kind.maps + 4 * bool(kind.sd)
    else:
        dtype, beside = kind.in_dtype, kind.deliver_maps + 4 * kind.deliver_sd
    largest = max(np.dtype(dtype).itemsize, np.dtype(kind.out_dtype).itemsize)
    return kind.shape[0] * kind.shape[1] * (largest + beside)
