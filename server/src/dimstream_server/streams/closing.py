"""Closing of streams: first the engine answers all their frames, then their files are finalised."""

import logging
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Any

from dimstream_client.messages import Closed
from dimstream_server.engine.protocol import Engine
from dimstream_server.engine.resume_state import Counts
from dimstream_server.errors import RecordingFailed
from dimstream_server.problem_details import error_message
from dimstream_server.recording import RecordedFile
from dimstream_server.streams.stream import ServerStream
from dimstream_server.streams.stream_recording import StreamRecordings

_log = logging.getLogger(__name__)


class Closing:
    """Closes streams, and sends CLOSED to the channel of each.

    Parameters
    ----------
    on_loop : callable
        Calls a function on the loop when a future is done.
    ended : callable
        Called with a stream before its CLOSED is sent, and with a function that sends it.
    failed : callable
        Called with a stream that the engine could not close, and the reason.
    """

    def __init__(
        self,
        engine: Engine,
        recordings: StreamRecordings,
        on_loop: Callable[[Callable[[Any], None], Future[Any]], None],
        *,
        ended: Callable[[ServerStream, Callable[[], None]], None],
        failed: Callable[[ServerStream, str], None],
    ) -> None:
        self.pending = 0
        """Streams that are being closed."""
        self._engine = engine
        self._recordings = recordings
        self._on_loop = on_loop
        self._ended = ended
        self._failed = failed

    def begin(self, stream: ServerStream) -> None:
        """Close a stream that accepts nothing more."""
        future = self._engine.close(stream.engine_id)
        self.pending += 1
        future.add_done_callback(partial(self._on_loop, partial(self._answered, stream)))

    def _answered(self, stream: ServerStream, future: Future[Counts]) -> None:
        if future.exception() is not None:  # the engine has failed
            self.pending -= 1
            self._failed(stream, "the engine could not close it")
            return
        final = self._recordings.finish(stream.id)
        if final is None:
            self._end(stream, stream.closed(future.result()))
            return
        then = partial(self._files_final, stream, future.result())
        final.add_done_callback(partial(self._on_loop, then))

    def _files_final(
        self, stream: ServerStream, counts: Counts, final: Future[tuple[RecordedFile, ...]]
    ) -> None:
        failure = final.exception()
        if failure is None:
            self._end(stream, stream.closed(counts, final.result()))
            return
        files = failure.files if isinstance(failure, RecordingFailed) else ()
        error = error_message("recording_failed", str(failure), stream=stream.id)
        self._end(stream, stream.closed(counts, files, error))

    def _end(self, stream: ServerStream, message: Closed) -> None:
        self._ended(stream, partial(self._tell, stream, message))

    def _tell(self, stream: ServerStream, message: Closed) -> None:
        self.pending -= 1
        _log.info(
            "closed event=closed endpoint=%s stream=%s client=%r counts=%s",
            *(stream.endpoint, stream.id, stream.client, dict(message.counts)),
        )
        if stream.channel is not None:
            stream.channel.closed(stream, message)
