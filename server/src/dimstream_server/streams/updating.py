"""Changes of a stream's thresholds or model from a frame on, requested by its client or an operator."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from functools import partial
from typing import Final

from dimstream_client.messages import Update, Updated
from dimstream_server.engine.protocol import Engine, InForce
from dimstream_server.errors import ServerBusy, ServerError, UnknownModel
from dimstream_server.streams.journal import UpdateEntry
from dimstream_server.streams.journal_thread import JournalThread
from dimstream_server.streams.resuming import keep_update
from dimstream_server.streams.stream import ServerStream
from dimstream_server.streams.stream_recording import StreamRecordings
from dimstream_server.streams.wire_values import wire_update

MOST_UNANSWERED: Final = 16  # most unanswered changes of one stream; more are refused
_log = logging.getLogger(__name__)


class Updating:
    """Lets the engine change model or thresholds between two frames, and writes this to journal and
    recording."""

    def __init__(self, engine: Engine, journal: JournalThread, recordings: StreamRecordings) -> None:
        self.pending = 0
        """Number of unanswered updates."""
        self._engine = engine
        self._journal = journal
        self._recordings = recordings

    def update(self, stream: ServerStream, update: Update) -> None:
        """Make a client's change; the channel gets UPDATED, or the error.

        Raises
        ------
        ServerBusy
            When the stream already has the maximum of unanswered changes.
        ServerError
        """
        thresholds = stream.new_thresholds(update)
        _refuse_when_busy(stream)
        ask = partial(
            self._begin, stream, update.from_seq, update.model, thresholds, partial(_answer, stream)
        )
        if update.from_seq >= stream.next_seq:
            ask()
            return
        self._count(stream, 1)  # it may have been done before, and its UPDATED was lost
        self._journal.put(
            lambda journal: journal.update_at(stream.id, update.from_seq),
            partial(self._found, stream, ask),
            lambda error: self._done(stream, partial(_answer, stream), _failed(error)),
        )

    def _found(self, stream: ServerStream, ask: Callable[[], object], known: UpdateEntry | None) -> None:
        self._count(stream, -1)
        if known is not None:
            self._answer_again(stream, known)
            return
        try:
            ask()
        except ServerError as problem:
            _refuse(stream, problem)

    def _answer_again(self, stream: ServerStream, known: UpdateEntry) -> None:
        model = self._engine.models().get(known.model)
        if model is None:  # the stream has changed to another since
            _refuse(stream, UnknownModel(f"{known.model}, which was used then, is no longer served"))
        else:
            _send(stream, wire_update(stream.id, InForce(known.from_seq, model, known.thresholds)))

    async def change(
        self, stream: ServerStream, model: str | None, thresholds: Mapping[str, float] | None, *, by: str
    ) -> InForce:
        """Make an operator's change, from the next frame on.

        Parameters
        ----------
        by : str
            Name of the operator, for the log.

        Raises
        ------
        ServerBusy
            When the stream already has the maximum of unanswered changes.
        ServerError
        """
        stream.refuse_when_closing()
        _refuse_when_busy(stream)
        answer: asyncio.Future[InForce] = asyncio.get_running_loop().create_future()
        then = partial(_changed, stream, by, answer)
        self._begin(stream, stream.next_seq, model, thresholds, then, by=by)
        return await answer

    def _begin(
        self,
        stream: ServerStream,
        from_seq: int,
        model: str | None,
        thresholds: Mapping[str, float] | None,
        then: Callable[[Future[InForce]], None],
        *,
        by: str | None = None,
    ) -> None:
        future = self._engine.update(stream.engine_id, from_seq, model, thresholds)
        self._count(stream, 1)
        future.add_done_callback(partial(self._from_engine, stream, then, by))

    def _from_engine(
        self,
        stream: ServerStream,
        then: Callable[[Future[InForce]], None],
        by: str | None,
        future: Future[InForce],
    ) -> None:
        """Called in the device thread, in order with the frames."""
        self._journal.put(
            partial(keep_update, stream, future, by),
            lambda _: self._done(stream, then, future),
            lambda error: self._done(stream, then, _failed(error)),
        )

    def _done(
        self, stream: ServerStream, then: Callable[[Future[InForce]], None], future: Future[InForce]
    ) -> None:
        self._count(stream, -1)
        problem = future.exception()
        if problem is None:
            self._recordings.updated(stream.id, future.result())
        elif not isinstance(problem, ServerError):
            _log.error("an update failed event=internal_error stream=%s", stream.id, exc_info=problem)
        then(future)

    def _count(self, stream: ServerStream, change: int) -> None:
        self.pending += change
        stream.unanswered_updates += change


def _refuse_when_busy(stream: ServerStream) -> None:
    if stream.unanswered_updates >= MOST_UNANSWERED:
        raise ServerBusy(
            f"{MOST_UNANSWERED} changes of stream {stream.id} are not answered yet, which is the limit; "
            "wait for an UPDATED, then try again"
        )


def _answer(stream: ServerStream, future: Future[InForce]) -> None:
    problem = future.exception()
    if problem is None:
        _send(stream, stream.updated(future.result()))
    else:
        _refuse(stream, problem)


def _changed(stream: ServerStream, by: str, answer: asyncio.Future[InForce], future: Future[InForce]) -> None:
    problem = future.exception()
    if problem is not None:
        if not answer.done():
            answer.set_exception(problem)
        return
    in_force = future.result()
    _send(stream, stream.updated(in_force, by=by))
    _log.info(
        "an operator has changed a stream event=stream_changed stream=%s client=%r from_seq=%d model=%s "
        "ssim=%s background_max=%s signal_min=%s structure_score=%s split=%s by=%r",
        *(stream.id, stream.client, in_force.from_seq, in_force.model.id),
        in_force.thresholds.ssim,
        in_force.thresholds.background_max,
        in_force.thresholds.signal_min,
        in_force.thresholds.structure_score,
        in_force.thresholds.split,
        by,
    )
    if not answer.done():
        answer.set_result(in_force)


def _failed(error: Exception) -> Future[InForce]:
    future: Future[InForce] = Future()
    future.set_exception(error)
    return future


def _refuse(stream: ServerStream, problem: BaseException) -> None:
    if stream.channel is not None:
        stream.channel.refused(stream, problem)


def _send(stream: ServerStream, message: Updated) -> None:
    if stream.channel is not None:
        stream.channel.updated(stream, message)
