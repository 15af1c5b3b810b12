"""One open stream of a program: send frames, receive results."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from concurrent import futures
from concurrent.futures import Future
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from dimstream_client import arguments
from dimstream_client.arguments import AcquisitionTime, Boolean, Index, Integer, Number
from dimstream_client.connection import Connection
from dimstream_client.errors import ArgumentError, Code, Problem, ProtocolError, StreamError, Timeout
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
from dimstream_client.result_buffer import OnResult, ResultBuffer
from dimstream_client.results import Results
from dimstream_client.resume_handle import ResumeHandle
from dimstream_client.spool import Spool
from dimstream_client.stream_channel import ReferenceOf, wait

__all__ = ["Stream"]


@dataclass(frozen=True, eq=False)
class _Given:
    """Data of a frame in a form that can be sent."""

    pixels: npt.NDArray[Any]
    index: PlaneIndex | None
    t_acq: float
    meta: Mapping[str, Any]


class Stream:
    """An open stream, made by `Client.open`. Send from one thread; take results in the same or another
    thread.

    Memory is bounded: at most twice the window of frames, or as many as fit into `buffer_bytes`, can be sent
    without taking their results. Then `send` waits or, in mode ``latest``, frames are replaced. With a spool,
    `send` never waits.

    When the connection is lost, the stream stays open: frames are kept and sent when the server is back.
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
        reference_of: ReferenceOf | None = None,
    ) -> None:
        self.request = request
        self._spool = spool
        self.timeout_s = timeout_s
        self._connection = connection
        self._buffer = ResultBuffer(on_result)
        self._lock = threading.Lock()  # of the next number, and of the one CLOSE
        self._closing: Future[Closed] | None = None
        self._waits = request.mode != "latest"
        self.opened = wait(
            connection.open(request, self._buffer, reference_of=reference_of),
            timeout_s,
            f"no stream was opened by {connection.endpoint}; check that a dimstream server runs there",
        )
        results = 2 * self.opened.window
        frame_bytes = request.shape[0] * request.shape[1] * np.dtype(request.dtype).itemsize
        self._buffer.grant(
            max(results, buffer_bytes // frame_bytes), results=results, settled=self.opened.next_seq
        )
        self._buffer.is_long = spool is not None or self._buffer.capacity > results
        self._next_seq = self.opened.next_seq
        if spool is not None:
            try:
                self._use(spool)
            except BaseException:
                self.abandon()  # nobody has it
                raise

    def _use(self, spool: Spool) -> None:
        """Keep frames in a spool; send what is in it."""
        self._waits = False
        self._buffer.on_settled = spool.settle
        if spool.resume_handle is None:
            endpoint = self._connection.endpoint
            spool.begin(ResumeHandle(endpoint, self.opened.stream, self.opened.resume_token, self.request))
        for item in spool.items:
            self._connection.offer(item)
            self._next_seq = (item.seq_to if isinstance(item, Skip) else item.seq) + 1

    @property
    def next_seq(self) -> int:
        """Sequence number of the next frame; after resuming, the first one that must be sent."""
        return self._next_seq

    @property
    def backlog(self) -> int:
        """Number of frames that were passed to `send` and are not answered."""
        return self._next_seq - self._buffer.answered

    @property
    def resume_handle(self) -> ResumeHandle:
        """The handle for `Client.resume_with`; keep it secret."""
        opened = self.opened
        return ResumeHandle(self._connection.endpoint, opened.stream, opened.resume_token, self.request)

    @property
    def id(self) -> str:
        """The server's id of the stream."""
        return self.opened.stream

    @property
    def refused_results(self) -> int:
        """Number of results that were requested again, because they were damaged or did not fit the
        request."""
        return self._buffer.refused

    @property
    def operator_change(self) -> Updated | None:
        """The last change of this stream by an operator of the server (also logged); None if there was
        none."""
        return self._buffer.operator_change

    # --- frames

    def send(
        self,
        pixels: npt.NDArray[Any],
        *,
        index: Index | None = None,
        t_acq: AcquisitionTime | None = None,
        meta: Mapping[Any, Any] | None = None,
        timeout_s: Number | None = None,
        copy: Boolean = True,
    ) -> int:
        """Send one frame and return its sequence number.

        Parameters
        ----------
        pixels : (H, W) ndarray
            Detector values with the stream's shape and dtype.
        index : PlaneIndex, or mapping with t, c, z, p, optional
            Position of the frame; by default time point `seq`. Axes that a mapping does not name are 0.
        t_acq : float, datetime or numpy.datetime64, optional
            Time of acquisition, seconds since 1970-01-01 UTC; by default now. As in Python, a datetime
            without time zone is local time. A datetime64, and a pandas Timestamp without time zone, are UTC.
        meta : mapping, optional
            Any JSON values. NumPy scalars and arrays, enums, dates and paths are written as numbers, lists
            and texts.
        timeout_s : float, optional
            Longest time to block, seconds; by default the client's. Mode ``latest`` never blocks.
        copy : bool
            False if the array will not be changed afterwards.

        Raises
        ------
        FrameError
            wrong_shape or wrong_dtype; nothing was sent.
        ArgumentError
            When an argument cannot be sent, or the arguments are too large for a header; nothing was sent.
        Timeout
            When too many results are missing or not taken; nothing was sent.
        SpoolError
            When the spool is full (`SpoolFull`) or its disk cannot be written; nothing was sent.
        StreamError, ConnectionLost
            When the stream has ended; with a callback, also for an earlier refusal.
        """
        patience = self._patience(timeout_s)
        copies = arguments.boolean("copy", copy)
        given = _Given(
            arguments.pixels_of(pixels, self.request),
            arguments.plane_index(index),
            time.time() if t_acq is None else arguments.posix_seconds(t_acq),
            arguments.meta(meta),
        )
        self._raise_errors()
        waits = self._waits
        if waits and not self._buffer.wait_for_capacity(patience):
            raise Timeout(
                f"frame {self._next_seq} was not sent: the results of {self._buffer.capacity} frames have "
                "not come or were not taken; take results, wait longer, or use mode latest"
            )
        try:
            with self._lock:
                self._raise_errors()
                return self._offer(given, copy=copies)
        except BaseException as error:
            if waits:
                self._buffer.release_capacity()
            if isinstance(error, ProtocolError):
                raise ArgumentError(error.code, error.detail) from error
            raise

    def _offer(self, given: _Given, *, copy: bool) -> int:
        """Number a frame and pass it on. If it cannot be stored or encoded, the number stays unused."""
        seq = self._next_seq
        frame = Frame(
            stream=self.id,
            seq=seq,
            pixels=np.array(given.pixels, order="C") if copy else given.pixels,
            index=given.index or PlaneIndex(t=seq),
            t_acq=given.t_acq,
            meta=given.meta,
        )
        if self._spool is None:
            self._connection.offer(frame)
        else:
            kept = self._spool.keep(frame)
            try:
                self._connection.offer(kept)
            except BaseException:
                self._spool.take_back(seq)
                raise
        self._next_seq = seq + 1
        return seq

    def skip(self, frames: Integer = 1, *, reason: str) -> None:
        """Report to the server that the next `frames` frames will not be sent.

        Raises
        ------
        ArgumentError
            When `frames` is not an integer of at least 1, or exceeds the numbers left; when `reason` is not
            text.
        SpoolError, StreamError, ConnectionLost
            As for `send`.
        """
        number = arguments.integer("frames", frames, least=1)
        text = arguments.field("SKIP", "reason", reason)
        with self._lock:
            self._raise_errors()
            seq = self._next_seq
            skip = Skip(self.id, seq, arguments.last_skipped(seq, number), text)
            if self._spool is not None:
                self._spool.keep_skip(skip)
            try:
                self._connection.offer(skip)
            except BaseException:
                if self._spool is not None:
                    self._spool.take_back(seq)
                raise
            self._next_seq = skip.seq_to + 1

    # --- results

    def results(self, *, timeout_s: Number | None = None) -> Results:
        """Return an iterator over results; it ends when the stream is closed.

        For a frame without a result, ``next`` raises the error; after the refusal of one frame the iterator
        can still be used. With `timeout_s`, ``next`` raises `Timeout` when no result came for that time.
        """
        return Results(self.take, timeout_s=timeout_s)

    def take(self, *, timeout_s: Number | None = None) -> Result | None:
        """Return the next result; None when the stream is closed and all results were taken.

        Raises
        ------
        Timeout
            When no result came in time; with `timeout_s` None it waits without limit.
        StreamError
            When a frame was refused, see `seq`.
        FrameError
            When a result was damaged.
        ConnectionLost
        """
        if self._buffer.on_result is not None:
            raise ValueError("this stream gives its results to on_result; open it without, to take them")
        try:
            result = self._buffer.take(None if timeout_s is None else self._patience(timeout_s))
            if result is None:
                self._all_is_done()
            return result
        finally:
            if not self._waits or self._buffer.is_long:
                self._connection.look_again(self.id)

    def _all_is_done(self) -> None:
        """Remove the spool after its last result was processed; after a failure it stays."""
        if self._spool is None or self._closing is None or self._buffer.first_failed is not None:
            return
        # CLOSED ends the results a moment before it is the answer to `close`.
        futures.wait([self._closing], self.timeout_s)
        if not self._closing.done() or self._closing.cancelled():
            return
        if self._closing.exception() is None:
            self._spool.close(done=True)

    # --- the stream

    def update(
        self,
        *,
        model: str | None = None,
        thresholds: Thresholds | Mapping[str, Number] | None = None,
        timeout_s: Number | None = None,
    ) -> Updated:
        """Change the model or thresholds for the frames sent from now on; return the model and thresholds
        then used.

        Parameters
        ----------
        thresholds : Thresholds or mapping, optional
            A mapping changes the thresholds that it names, such as ``{"ssim": 0.3}``. `Thresholds` change all
            that are not None.

        Raises
        ------
        ArgumentError
            When an argument cannot be sent.
        StreamError
            When the server refuses, such as unknown_model; nothing has changed.
        Timeout, ConnectionLost
        """
        named = None if model is None else arguments.field("UPDATE", "model", model)
        new = arguments.new_thresholds(thresholds)
        patience = self._patience(timeout_s)
        with self._lock:
            self._raise_errors()
            updated = self._connection.update(Update(self.id, self._next_seq, named, new))
        return wait(updated, patience, "no UPDATED came")

    def finish(self) -> None:
        """State that no more frames will be sent. Results still come; then the iterator ends."""
        self._close(drop=False)

    def abandon(self) -> None:
        """Drop frames that were not sent, and close without waiting."""
        self._close(drop=True)

    def _close(self, *, drop: bool) -> Future[Closed]:
        """The answer to CLOSE, which is sent only once even if several threads close the stream."""
        with self._lock:
            if self._closing is None:
                self._closing = self._connection.close_stream(self.id, drop=drop)
            return self._closing

    def close(self, *, timeout_s: Number | None = None) -> Closed:
        """Wait until every frame is answered and the server has closed the stream.

        Results can be taken afterwards. With a spool or a buffer, which can hold any number of frames, take
        them meanwhile (until `take` returns None); else the close does not finish.

        Raises
        ------
        StreamError
            With a callback: when a frame was refused.
        Timeout, ConnectionLost
        """
        patience = self._patience(timeout_s)
        closed = wait(self._close(drop=False), patience, f"stream {self.id} was not closed", keep=True)
        if self._buffer.on_result is not None:
            self._all_is_done()
        self._buffer.raise_pending()
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

    def _raise_errors(self) -> None:
        self._buffer.raise_errors()
        if self._closing is not None:
            raise StreamError(
                Problem.of(Code.STREAM_CLOSED, "the stream was closed here; open another", stream=self.id)
            )

    def _patience(self, timeout_s: Number | None) -> float:
        return self.timeout_s if timeout_s is None else arguments.seconds("timeout_s", timeout_s)
