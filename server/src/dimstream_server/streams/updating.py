"""Other thresholds or another model for a stream, from a frame on, as its client or an operator asks."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from functools import partial
from typing import Any

from dimstream_client.messages import Update, Updated
from dimstream_server.engine.protocol import Engine, InForce
from dimstream_server.errors import ServerError
from dimstream_server.streams.journal import Journal
from dimstream_server.streams.resuming import entry_of
from dimstream_server.streams.stream import ServerStream
from dimstream_server.streams.stream_recording import StreamRecordings

_log = logging.getLogger(__name__)


class Updating:
    """Has the engine change what is in force between two frames, and keeps that in journal and recording.

    Parameters
    ----------
    on_loop : callable
        Has a function called on the loop with a future that is done.
    """

    def __init__(
        self,
        engine: Engine,
        journal: Journal,
        recordings: StreamRecordings,
        on_loop: Callable[[Callable[[Any], None], Future[Any]], None],
    ) -> None:
        self.pending = 0
        """Updates that the engine has not answered."""
        self._engine = engine
        self._journal = journal
        self._recordings = recordings
        self._on_loop = on_loop

    def update(self, stream: ServerStream, update: Update) -> None:
        """Do what a client asks for; the channel gets UPDATED, or why not.

        Raises
        ------
        ServerError
        """
        thresholds = stream.new_thresholds(update)
        known = self._journal.update_at(stream.id, update.from_seq)
        if known is not None and update.from_seq < stream.next_seq:  # its UPDATED was lost
            in_force = InForce(known.from_seq, self._engine.models()[known.model], known.thresholds)
            _send(stream, stream.updated(in_force))
            return
        self._begin(stream, update.from_seq, update.model, thresholds, partial(self._answer, stream))

    async def change(
        self, stream: ServerStream, model: str | None, thresholds: Mapping[str, float] | None, *, by: str
    ) -> InForce:
        """Do what an operator asks for, from the first frame on that has not come yet.

        Parameters
        ----------
        by : str
            Who asks, for the log.

        Raises
        ------
        ServerError
        """
        stream.refuse_when_closing()
        future = self._begin(stream, stream.next_seq, model, thresholds, partial(self._changed, stream, by))
        return await asyncio.wrap_future(future)

    def _begin(
        self,
        stream: ServerStream,
        from_seq: int,
        model: str | None,
        thresholds: Mapping[str, float] | None,
        then: Callable[[Future[InForce]], None],
    ) -> Future[InForce]:
        future = self._engine.update(stream.engine_id, from_seq, model, thresholds)
        self.pending += 1
        future.add_done_callback(partial(self._on_loop, partial(self._done, stream, then)))
        return future

    def _done(
        self, stream: ServerStream, then: Callable[[Future[InForce]], None], future: Future[InForce]
    ) -> None:
        self.pending -= 1
        problem = future.exception()
        if problem is None:
            self._journal.updated(stream.id, entry_of(future.result()))
            self._recordings.updated(stream.id, future.result())
        elif not isinstance(problem, ServerError):
            _log.error("no update event=internal_error stream=%s", stream.id, exc_info=problem)
        then(future)

    def _answer(self, stream: ServerStream, future: Future[InForce]) -> None:
        problem = future.exception()
        if problem is None:
            _send(stream, stream.updated(future.result()))
        elif stream.channel is not None:
            stream.channel.refused(stream, problem)

    def _changed(self, stream: ServerStream, by: str, future: Future[InForce]) -> None:
        if future.exception() is not None:
            return
        in_force = future.result()
        stream.updated(in_force)
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


def _send(stream: ServerStream, message: Updated) -> None:
    if stream.channel is not None:
        stream.channel.updated(stream, message)
