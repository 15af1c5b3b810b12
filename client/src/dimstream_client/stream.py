"""One open stream as a program holds it: frames in, results out."""

from __future__ import annotations

import time
from collections.abc import Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from types import TracebackType
from typing import Any, Final, TypeVar

import numpy as np
import numpy.typing as npt

from dimstream_client.connection import Connection
from dimstream_client.errors import Code, FrameError, Problem, SpoolError, StreamError, Timeout
from dimstream_client.inbox import Inbox, OnResult
from dimstream_client.lines import ContextOf
from dimstream_client.messages import (
    Closed,
    Frame,
    Open,
    PlaneIndex,
    Result,
    Skip,
    Thresholds,
    Update,
    Updated,
)
from dimstream_client.spool import Spool, SpooledFrame
from dimstream_client.tickets import Ticket
from dimstream_client.wire import encode

__all__ = ["Results", "Stream", "wait"]

_PIXEL: Final = np.zeros((1, 1), np.uint8)
T = TypeVar("T")


class Stream:
    """An open stream; made by `Client.open`. Send from one thread; take results in the same or another.

    At most twice the window of frames is between `send` and the taking of their results, or as many as fit
    into `buffer_bytes`, so memory is bounded: who sends without taking results (by `results`, or by a
    callback) is made to wait or, in mode ``latest``, has frames replaced. With a spool nobody waits.

    A server that is lost ends no stream: frames are kept, and go on to it when it is back.
    """

    def __init__(
        self,
        connection: Connection,
        request: Open,
        *,
        timeout_s: float,
        on_result: OnResult | None,
        buffer_bytes: int = 0,
        spool: Spool | None = None,
        context_of: ContextOf | None = None,
    ) -> None:
        self.request = request
        self._spool = spool
        self.timeout_s = timeout_s
        self._connection = connection
        self._inbox = Inbox(on_result)
        self._closing: Future[Closed] | None = None
        self._waits = request.mode != "latest"
        self.opened = wait(
            connection.open(request, self._inbox, context_of=context_of),
            timeout_s,
            f"no stream was opened by {connection.endpoint}; check that a dimstream server runs there",
        )
        results = 2 * self.opened.window
        frame_bytes = request.shape[0] * request.shape[1] * np.dtype(request.dtype).itemsize
        self._inbox.grant(
            max(results, buffer_bytes // frame_bytes), results=results, settled=self.opened.next_seq
        )
        self._inbox.is_long = spool is not None or self._inbox.capacity > results
        self._next_seq = self.opened.next_seq
        if spool is not None:
            self._use(spool)

    def _use(self, spool: Spool) -> None:
        """Keep frames in a spool; send what is in it."""
        self._waits = False
        self._inbox.on_settled = spool.settle
        if spool.ticket is None:
            endpoint = self._connection.endpoint
            spool.begin(Ticket(endpoint, self.opened.stream, self.opened.resume_token, self.request))
        for item in spool.items:
            self._connection.offer(item)
            self._next_seq = (item.seq_to if isinstance(item, Skip) else item.seq) + 1

    @property
    def next_seq(self) -> int:
        """Sequence number that the next frame will get; after resuming, where the program goes on sending."""
        return self._next_seq

    @property
    def backlog(self) -> int:
        """Frames that were sent here and are not answered."""
        return self._next_seq - self._inbox.answered

    @property
    def ticket(self) -> Ticket:
        """What resumes the stream, by `Client.resume_with`; keep it secret."""
        opened = self.opened
        return Ticket(self._connection.endpoint, opened.stream, opened.resume_token, self.request)

    @property
    def id(self) -> str:
        """The server's name for it."""
        return self.opened.stream

    # --- frames

    def send(
        self,
        pixels: npt.NDArray[Any],
        *,
        index: PlaneIndex | None = None,
        t_acq: float | None = None,
        meta: Mapping[str, Any] | None = None,
        timeout_s: float | None = None,
        copy: bool = True,
    ) -> int:
        """Send one frame and return its sequence number.

        Parameters
        ----------
        pixels : (H, W) ndarray
            Counts, of the stream's shape and dtype.
        index : PlaneIndex, optional
            Where it belongs; by default time point `seq`.
        t_acq : float, optional
            Seconds since 1970 at acquisition; by default now.
        meta : mapping, optional
            Anything that JSON holds.
        timeout_s : float, optional
            How long this may block, 0 for not at all; the client's by default. Mode ``latest`` never blocks.
        copy : bool
            False when the array will not be changed any more.

        Raises
        ------
        FrameError
            wrong_shape, wrong_dtype or oversize; nothing was sent.
        Timeout
            Nothing was sent: too many results are still to come, or to be taken.
        SpoolError
            With a spool, nothing was sent: it is full (`SpoolFull`), or its disk cannot be written.
        StreamError, ConnectionLost
            The stream is over; or, with a callback, what was refused earlier.
        """
        self._check(pixels)
        if meta:
            encode(Frame(self.id, self._next_seq, _PIXEL, meta=meta))
        self._raise_errors()
        if self._waits and not self._inbox.wait_for_room(self._patience(timeout_s)):
            raise Timeout(
                f"frame {self._next_seq} was not sent: the results of {self._inbox.capacity} frames have not "
                "come or were not taken; take results, wait longer, or use mode latest"
            )
        self._raise_errors()
        seq = self._next_seq
        self._next_seq += 1
        frame = Frame(
            stream=self.id,
            seq=seq,
            pixels=np.array(pixels, order="C") if copy else pixels,
            index=index or PlaneIndex(t=seq),
            t_acq=time.time() if t_acq is None else t_acq,
            meta=meta or {},
        )
        if self._spool is None:
            self._connection.offer(frame)
        else:
            self._connection.offer(self._keep(frame))
        return seq

    def _keep(self, frame: Frame) -> SpooledFrame:
        assert self._spool is not None
        try:
            return self._spool.keep(frame)
        except SpoolError:
            self._next_seq = frame.seq  # it was not sent
            raise

    def skip(self, frames: int = 1, *, reason: str) -> None:
        """Say that the next `frames` frames will never come, so that the gap has a name."""
        if frames < 1:
            raise ValueError(f"frames is {frames}, expected at least 1")
        self._raise_errors()
        skip = Skip(self.id, self._next_seq, self._next_seq + frames - 1, reason)
        if self._spool is not None:
            self._spool.keep_skip(skip)
        self._next_seq += frames
        self._connection.offer(skip)

    # --- results

    def results(self, *, timeout_s: float | None = None) -> Results:
        """Return an iterator over results as they come; it ends when the stream is closed.

        An error is raised by ``next`` in the place of its result; after the refusal of one frame the iterator
        can be used on. With `timeout_s`, ``next`` raises `Timeout` when nothing came for so long.
        """
        return Results(self, timeout_s=timeout_s)

    def take(self, *, timeout_s: float | None = None) -> Result | None:
        """Return the next result; None when the stream is closed and everything was taken.

        Raises
        ------
        Timeout
            None came; `timeout_s` None waits for ever.
        StreamError
            A frame was refused, see its `seq`.
        FrameError
            A result came damaged.
        ConnectionLost
        """
        if self._inbox.on_result is not None:
            raise ValueError("this stream gives its results to on_result; open it without, to take them")
        try:
            result = self._inbox.take(timeout_s)
            if result is None:
                self._all_is_done()
            return result
        finally:
            if not self._waits or self._inbox.is_long:
                self._connection.look_again(self.id)

    def _all_is_done(self) -> None:
        """Remove the spool once its last result was dealt with; what failed stays there."""
        if self._spool is None or self._closing is None or not self._closing.done():
            return
        if not self._closing.cancelled() and self._closing.exception() is None:
            self._spool.close(done=True)

    # --- the stream

    def update(
        self,
        *,
        model: str | None = None,
        thresholds: Thresholds | None = None,
        timeout_s: float | None = None,
    ) -> Updated:
        """Change the model or thresholds for the frames sent from now on; return what is in force then.

        Raises
        ------
        StreamError
            unknown_model or another refusal; nothing has changed.
        Timeout, ConnectionLost
        """
        self._raise_errors()
        request = Update(self.id, self._next_seq, model, thresholds)
        return wait(self._connection.update(request), self._patience(timeout_s), "no UPDATED came")

    def finish(self) -> None:
        """Say that no frame comes any more; results still come, then the iterator ends."""
        if self._closing is None:
            self._closing = self._connection.close_stream(self.id, drop=False)

    def abandon(self) -> None:
        """Drop what was not sent and close without waiting."""
        if self._closing is None:
            self._closing = self._connection.close_stream(self.id, drop=True)

    def close(self, *, timeout_s: float | None = None) -> Closed:
        """Wait until every frame is answered and the server has closed the stream.

        Results that were not taken yet can be taken afterwards; but with a spool or a buffer, which may hold
        any number of frames, they have to be taken meanwhile (until `take` returns None) for it to go on.

        Raises
        ------
        StreamError
            With a callback: a frame was refused.
        Timeout, ConnectionLost
        """
        self.finish()
        assert self._closing is not None
        closed = wait(self._closing, self._patience(timeout_s), f"stream {self.id} was not closed")
        if self._inbox.on_result is not None:
            self._all_is_done()
        self._inbox.raise_untold()
        return closed

    def __enter__(self) -> Stream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abandon()

    def _check(self, pixels: npt.NDArray[Any]) -> None:
        if pixels.shape != self.request.shape:
            raise FrameError(
                Code.WRONG_SHAPE,
                f"frame of shape {pixels.shape}, the stream was opened for {self.request.shape}; "
                "open another stream",
            )
        if pixels.dtype.name != self.request.dtype:
            raise FrameError(
                Code.WRONG_DTYPE,
                f"frame of {pixels.dtype}, the stream was opened for {self.request.dtype}; convert it",
            )

    def _raise_errors(self) -> None:
        self._inbox.raise_errors()
        if self._closing is not None:
            raise StreamError(
                Problem.of(Code.STREAM_CLOSED, "the stream was closed here; open another", stream=self.id)
            )

    def _patience(self, timeout_s: float | None) -> float:
        return self.timeout_s if timeout_s is None else timeout_s


class Results:
    """Iterator over the results of a stream."""

    def __init__(self, stream: Stream, *, timeout_s: float | None) -> None:
        self._stream = stream
        self._timeout_s = timeout_s

    def __iter__(self) -> Results:
        return self

    def __next__(self) -> Result:
        result = self._stream.take(timeout_s=self._timeout_s)
        if result is None:
            raise StopIteration
        return result


def wait(future: Future[T], timeout_s: float, what: str) -> T:
    """Return what the future holds, or raise `Timeout` and want it no more."""
    try:
        return future.result(timeout_s)
    except FutureTimeout:
        future.cancel()
        raise Timeout(f"{what} within {timeout_s:g} s") from None
