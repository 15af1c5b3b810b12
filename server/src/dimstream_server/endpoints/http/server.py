"""uvicorn, with an acceptor of its own that never opens more connections than it may.

asyncio accepts all that wait at once, before anybody can count them: a flood of connections took every
descriptor of the process, those of ZeroMQ, the journal and the recordings included.
"""

import asyncio
import contextlib
import logging
import socket
from collections.abc import Iterator
from typing import Any, Final

import uvicorn

from dimstream_server.endpoints.http.connections import ConnectionLimits, Connections
from dimstream_server.endpoints.http.protocol import HttpProtocol, as_bytes
from dimstream_server.endpoints.http.requests import ProblemResponder
from dimstream_server.endpoints.http.websocket import LARGEST_MESSAGE
from dimstream_server.endpoints.refusal_log import AGAIN_S
from dimstream_server.monitoring.metrics import Metrics
from dimstream_server.open_file_limit import descriptor_limit
from dimstream_server.problem_details import error_message
from dimstream_server.settings import Settings

_LOOK_S: Final = 0.25
_PAUSE_S: Final = 0.1
_BACKLOG: Final = 4096  # where it is full, a client tries again only after a second
_AT_ONCE: Final = 32
_log = logging.getLogger(__name__)


def make_http_server(
    app: Any, listener: socket.socket, settings: Settings, *, metrics: Metrics, responder: ProblemResponder
) -> "HttpServer":
    """The server of `app` on a bound socket."""
    limits = connection_limits(settings)
    connections = Connections(limits, responder)
    metrics.watch("dimstream_http_connections", "HTTP connections that are open.", lambda: connections.count)
    config = uvicorn.Config(
        app,
        loop="none",
        http=HttpProtocol,
        ws="none",  # the protocol hands those over that may be had
        ws_max_size=LARGEST_MESSAGE,
        ws_per_message_deflate=False,  # 16-bit noise shrinks little, and costs much
        lifespan="off",
        timeout_keep_alive=settings.http.keep_alive_s,
        # By then the drain has waited for requests; what is left are bodies that nobody will read.
        timeout_graceful_shutdown=1,
        proxy_headers=False,  # what a request says of where it came from is not believed
        server_header=False,
        access_log=False,
        log_config=None,
    )
    return HttpServer(config, listener, connections, limits, responder)


def connection_limits(settings: Settings) -> ConnectionLimits:
    """Bounds of connections, half of the process's descriptors at most: streams and files need some, too."""
    http, wanted = settings.http, settings.http.max_connections
    descriptors = descriptor_limit()
    total = wanted if descriptors is None else max(1, min(wanted, descriptors // 2))
    if total < wanted:
        _log.warning(
            "fewer HTTP connections than asked for event=few_descriptors descriptors=%d connections=%d",
            *(descriptors, total),
        )
    return ConnectionLimits(
        total=total,
        per_address=max(1, min(total, settings.limits.max_connections_per_address * total // wanted)),
        head_s=http.head_s,
        keep_alive_s=http.keep_alive_s,
        stall_s=http.stall_s,
        min_body_bytes_per_s=http.min_body_bytes_per_s,
    )


class HttpServer(uvicorn.Server):
    """uvicorn without its acceptor and without its signal handlers: a stop concerns both endpoints."""

    def __init__(
        self,
        config: uvicorn.Config,
        listener: socket.socket,
        connections: Connections,
        limits: ConnectionLimits,
        responder: ProblemResponder,
    ) -> None:
        super().__init__(config)
        self._listener = listener
        self._connections = connections
        self._limits = limits
        self._responder = responder
        self._tasks: list[asyncio.Task[None]] = []
        self._logged_at = -AGAIN_S

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals as they are."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to accept."""
        await super().startup(sockets=[])
        self._listener.setblocking(False)
        self._listener.listen(_BACKLOG)
        self._tasks = [asyncio.ensure_future(work()) for work in (self._accept, self._look)]

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept no more, and wait for those who are being answered."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._listener.close()
        await super().shutdown(sockets=[])

    async def _look(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(_LOOK_S)
            self._connections.end_late_ones(loop.time())

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                first, peer = await loop.sock_accept(self._listener)
                await asyncio.gather(*(self._open(*one) for one in [(first, peer), *self._waiting()]))
            except OSError as error:
                self._log_error(error)
                await asyncio.sleep(_PAUSE_S)

    def _waiting(self) -> Iterator[tuple[socket.socket, Any]]:
        """Further connections that wait to be accepted, a few at once."""
        for _ in range(_AT_ONCE - 1):
            try:
                yield self._listener.accept()
            except BlockingIOError:
                return

    async def _open(self, accepted: socket.socket, peer: tuple[str, int]) -> None:
        loop = asyncio.get_running_loop()
        with contextlib.ExitStack() as stack:
            stack.callback(accepted.close)
            if not self._connections.make_room(peer[0], loop.time()):
                self._refuse(accepted)
                return
            accepted.setblocking(False)
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await loop.connect_accepted_socket(self._make_protocol, accepted)
            stack.pop_all()

    def _make_protocol(self) -> HttpProtocol:
        ours = (self._connections, self._limits, self._responder)
        return HttpProtocol(*ours, self.config, self.server_state, {})

    def _refuse(self, accepted: socket.socket) -> None:
        detail = "the server has as many connections as it takes; try again"
        answer = self._responder.answer(error_message("server_busy", detail), {"Connection": "close"})
        with contextlib.suppress(OSError):
            accepted.send(as_bytes(answer))

    def _log_error(self, error: OSError) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._logged_at >= AGAIN_S:
            self._logged_at = now
            _log.error("cannot accept HTTP connections event=accept_failed reason=%r", error.strerror)
