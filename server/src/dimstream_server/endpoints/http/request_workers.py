"""Requests that are worked on in threads: each has a place, memory for its body, and a client that may go."""

import asyncio
import logging
import threading
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor

from fastapi import Request, Response

from dimstream_server.endpoints.http.bodies import PLAIN, BodyLimits, LeavingAnswer, read_body
from dimstream_server.endpoints.http.capacity import Buffers, Slots
from dimstream_server.endpoints.http.denoising import Abandoned
from dimstream_server.endpoints.http.requests import CLIENT_CLOSED_REQUEST, is_disconnected
from dimstream_server.errors import Draining
from dimstream_server.monitoring.metrics import Metrics
from dimstream_server.settings import Settings

Work = Callable[[bytearray, threading.Event], Response]
"""Makes an answer of a body, in a thread that may wait; raises `Abandoned` when the event says so."""
_log = logging.getLogger(__name__)


class RequestWorkers:
    """Threads that answer requests; all methods belong to the event loop."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        http = settings.http
        self._workers = ThreadPoolExecutor(http.max_requests, thread_name_prefix="http")
        self._slots = Slots(http.max_requests, settings.limits.max_requests_per_client)
        self._limits = BodyLimits(http.max_body_bytes, http.stall_s, http.min_body_bytes_per_s, http.body_s)
        self._draining = False
        self.buffers = Buffers(http.buffered_bytes)
        metrics.watch(
            "dimstream_http_buffered_bytes",
            "Bytes of HTTP bodies that are arriving and of answers that are leaving.",
            lambda: self.buffers.held_bytes,
        )

    @property
    def is_draining(self) -> bool:
        """Whether new work is refused."""
        return self._draining

    @property
    def is_drained(self) -> bool:
        """Whether no request is being denoised, and no answer is leaving."""
        return self._slots.is_idle

    def begin_drain(self) -> None:
        """Refuse new work; requests that are being denoised are finished."""
        self._draining = True

    def close(self) -> None:
        """Let the threads end."""
        self._workers.shutdown(wait=False, cancel_futures=True)

    def refuse_when_draining(self) -> None:
        """Say no once the server stops.

        Raises
        ------
        Draining
        """
        if self._draining:
            raise Draining("the server is shutting down; try again when it is back")

    async def answer(self, request: Request, work: Work, *, encodings: Collection[str] = PLAIN) -> Response:
        """The answer to a request, once its body has come and its turn too.

        Parameters
        ----------
        encodings : collection of str
            Content-Encodings that `work` takes.

        Raises
        ------
        ServerError, dimstream_client.errors.DimstreamError
            The body is refused, or what `work` raises.
        """
        client = request.state.client
        self._slots.check(client)  # before its body is sent, as a place may be free only later
        try:
            with self.buffers.share(client) as share:
                body = await read_body(request, self._limits, share, encodings=encodings)
                self.refuse_when_draining()
                slot = self._slots.take(client)
            try:
                answer = await self._work(request, work, body)
            except BaseException:
                slot.close()
                raise
            return LeavingAnswer(answer, slot, self.buffers.share(client))
        except Abandoned:
            _log.info(
                "client disconnected event=client_gone endpoint=http model=%s",
                request.path_params["model_id"],
            )
            return Response(status_code=CLIENT_CLOSED_REQUEST)

    async def _work(self, request: Request, work: Work, body: bytearray) -> Response:
        """Work in a thread, and tell it to stop when the client goes."""
        gone = threading.Event()
        working = asyncio.get_running_loop().run_in_executor(self._workers, work, body, gone)
        watch = asyncio.ensure_future(is_disconnected(request, gone))
        try:
            return await working
        finally:
            gone.set()  # also when this task is cancelled
            watch.cancel()
