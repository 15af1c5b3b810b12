"""The live view's routes: the page, tickets for it, and its WebSocket."""

from __future__ import annotations

import asyncio
import logging
import re
from collections import Counter
from collections.abc import Hashable
from functools import partial
from typing import Annotated, Any, Final

from fastapi import FastAPI, Query, Request, Response
from pydantic import Field
from starlette.exceptions import HTTPException
from starlette.websockets import WebSocket

from dimstream_client.header_checks import MAX_INTEGER
from dimstream_server.endpoints.http.authentication import RequestAuthentication
from dimstream_server.endpoints.http.bodies import LeavingFile
from dimstream_server.endpoints.http.capacity import Buffers
from dimstream_server.endpoints.http.json_bodies import Body
from dimstream_server.endpoints.http.live.assets import PAGE, read_assets
from dimstream_server.endpoints.http.live.feed import follow
from dimstream_server.endpoints.http.live.history import History
from dimstream_server.endpoints.http.live.messages import PROTOCOL
from dimstream_server.endpoints.http.live.recording_reader import RecordingReader
from dimstream_server.endpoints.http.live.session import attend
from dimstream_server.endpoints.http.live.status import AlertReport, StatusReport
from dimstream_server.endpoints.http.live.tiff import file_of_frame
from dimstream_server.endpoints.http.live.viewer import Viewer
from dimstream_server.endpoints.http.openapi import problems
from dimstream_server.endpoints.http.request_images import TIFF
from dimstream_server.endpoints.http.requests import ProblemResponder, address_of
from dimstream_server.endpoints.http.tickets import LIFE_S
from dimstream_server.errors import ServerBusy
from dimstream_server.monitoring.metrics import Metrics
from dimstream_server.monitoring.readiness import Readiness
from dimstream_server.monitoring.server_info import ServerInfo
from dimstream_server.problem_details import RequestRefused, error_message
from dimstream_server.settings import Settings
from dimstream_server.streams import StreamService

WEBSOCKET_PATH: Final = "/live/ws"
_BINARY: Final = {"schema": {"type": "string", "format": "binary"}}
_log = logging.getLogger(__name__)


class TicketBody(Body):
    """Lets one browser watch."""

    ticket: str = Field(description="for the subprotocol `ticket.TICKET` of one WebSocket")
    expires_s: float = Field(description="how long it can be used")


class LiveView:
    """Shows streams to those who watch; they cost the streams nothing.

    Parameters
    ----------
    service : StreamService
        Whose streams are shown; started before `start`.
    alerts : callable
        Gives the alerts that stand.
    buffers : Buffers
        What files that leave may take.
    """

    history: History
    """What is known of all streams."""

    def __init__(
        self,
        service: StreamService,
        settings: Settings,
        metrics: Metrics,
        info: ServerInfo,
        *,
        readiness: Readiness,
        alerts: AlertReport,
        authentication: RequestAuthentication,
        responder: ProblemResponder,
        buffers: Buffers,
    ) -> None:
        self._service = service
        self._buffers = buffers
        self._settings = settings.live
        self._authentication = authentication
        self._responder = responder
        self.history = History(settings.live.memory_bytes)
        self._status = StatusReport(service, self.history, readiness, settings, metrics, info, alerts=alerts)
        self._recordings = RecordingReader()
        self._assets = read_assets()
        self._viewers: Counter[Hashable] = Counter()
        self._following: asyncio.Task[None] | None = None
        metrics.watch("dimstream_live_viewers", "Viewers that are connected.", self._viewers.total)
        metrics.watch(
            "dimstream_live_memory_bytes",
            "Bytes of the frames that are kept for the live view.",
            lambda: self.history.held_bytes,
        )

    def add_to(self, app: FastAPI) -> None:
        """Add its routes."""
        get: Any = app.get
        get("/live", include_in_schema=False)(self.page)
        get("/live/assets/{name}", include_in_schema=False)(self.asset)
        get(
            "/live/frame.tif",
            summary="A frame that was streamed, as OME-TIFF: raw, denoised, support map",
            response_class=Response,
            responses={200: {"content": {TIFF: _BINARY}}, **problems(401, 404, 421, 422, 500, 503)},
        )(self.frame_file)
        get(WEBSOCKET_PATH, include_in_schema=False)(self.no_websocket)
        app.post(
            "/live/ticket",
            summary="A ticket by which a browser may watch",
            responses=problems(401, 403, 421, 500, 503),
        )(self.ticket)
        app.router.add_websocket_route(WEBSOCKET_PATH, self.watch)

    def start(self) -> None:
        """Follow the streams from now on, until the service stops."""
        self._following = asyncio.ensure_future(follow(self._service, self.history, self._recordings))
        self._following.add_done_callback(_log_failure)

    def close(self) -> None:
        """Let its thread end."""
        self._recordings.close()

    async def page(self, request: Request) -> Response:
        """The page."""
        return self._assets[PAGE].answer(request)

    async def asset(self, request: Request, name: str) -> Response:
        """A file that the page needs."""
        if name not in self._assets:
            raise HTTPException(404, "no such file of the live view")
        return self._assets[name].answer(request)

    async def ticket(self, request: Request) -> TicketBody:
        """Give a ticket to who carries a token: browsers cannot send one with a WebSocket."""
        state = request.state
        return TicketBody(ticket=self._authentication.give_ticket(state.client, state.name), expires_s=LIFE_S)

    async def frame_file(
        self,
        request: Request,
        stream: Annotated[str, Query(max_length=64)],
        seq: Annotated[int, Query(ge=0, le=MAX_INTEGER)],
    ) -> Response:
        """Give a frame that memory holds, or the recording of its stream."""
        history = self.history.of(stream) if self._settings.max_viewers else None
        frame = None if history is None else history.frame(seq)
        if frame is None and history is not None and history.folder is not None:
            frame = await self._recordings.frame(history.folder, seq)
        if frame is None or history is None:
            raise RequestRefused("not_found", f"frame {seq} of stream {stream!r} is not kept")
        share = self._buffers.share(request.state.client)
        try:
            if not share.take(frame.nbytes):
                raise ServerBusy(
                    "files that are being sent use all of their memory (http.max_buffered_bytes); try again"
                )
            size = history.source.pixel_size_um
            made = await self._recordings.run(
                partial(file_of_frame, frame, stream=stream, pixel_size_um=size)
            )
        except BaseException:
            share.close()
            raise
        name = f"{re.sub(r'[^a-zA-Z0-9_-]', '_', stream)}-{seq}.ome.tif"
        headers = {"Content-Disposition": f'attachment; filename="{name}"'}
        return LeavingFile(Response(made, media_type=TIFF, headers=headers), share)

    async def no_websocket(self) -> Response:
        """Say what is expected here."""
        raise RequestRefused(
            "upgrade_required",
            f"expected a WebSocket (`Upgrade: websocket`) at {WEBSOCKET_PATH}; the page is at /live",
            headers={"Upgrade": "websocket"},
        )

    async def watch(self, socket: WebSocket) -> None:
        """Serve a viewer."""
        client = socket.state.client
        if self._is_full(client):
            limit = f"{self._settings.max_viewers} viewers, half of them of one client (live.max_viewers)"
            problem = error_message("server_busy", f"expected at most {limit}; try again later")
            answer = self._responder.tell(problem, {"Retry-After": "1"}, address_of(socket.scope))
            await socket.send_denial_response(answer)
            return
        offered = socket.scope["subprotocols"]
        self._viewers[client] += 1
        try:
            await socket.accept(subprotocol=PROTOCOL if PROTOCOL in offered else None)
            viewer = Viewer(self.history, self._status.report, frames_per_s=self._settings.max_frames_per_s)
            await attend(
                *(socket, viewer, self.history, self._recordings),
                may_stay=lambda: self._authentication.is_valid(client),
            )
        finally:
            self._viewers[client] -= 1
            self._viewers += Counter()

    def _is_full(self, client: Hashable) -> bool:
        most = self._settings.max_viewers
        return self._viewers.total() >= most or self._viewers[client] >= -(-most // 2)


def _log_failure(following: asyncio.Task[None]) -> None:
    if not following.cancelled() and (error := following.exception()) is not None:
        _log.error("the live view has stopped event=internal_error", exc_info=error)
