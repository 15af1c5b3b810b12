"""What every HTTP request goes through: its head judged, its refusals told, its answer counted."""

import asyncio
import logging
import threading
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dimstream_client.errors import DimstreamError, Problem
from dimstream_server.endpoints.http.authentication import RequestAuthentication, in_origin_form
from dimstream_server.endpoints.http.denoising import ENDPOINT
from dimstream_server.endpoints.refusal_log import RefusalLog
from dimstream_server.errors import Refused, ServerBusy, ServerError
from dimstream_server.monitoring.metrics import Metrics
from dimstream_server.problem_details import (
    PROBLEM_MEDIA_TYPE,
    RequestRefused,
    error_message,
    problem_body,
    problem_headers,
    problem_of,
)

CLIENT_CLOSED_REQUEST = 499  # as nginx logs it; nobody is there to read it
_TOO_OFTEN_S = (
    0.25  # who asks too often waits for the answer that says so: to tell it costs as much as to do it
)
# messages that begin an answer, and its status where they name none
_STATUS_OF = {"http.response.start": 0, "websocket.http.response.start": 0, "websocket.accept": 101}
_CODE_OF_STATUS = {404: "not_found", 405: "method_not_allowed"}
OPEN_INFERENCE = "/v2"
"""Where the Open Inference Protocol's paths begin; its clients look for `error` in refusals."""
_log = logging.getLogger(__name__)


async def is_disconnected(request: Request, gone: threading.Event) -> None:
    """Set `gone` as soon as the client of a request whose body was read has gone."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
    gone.set()


def address_of(scope: Scope) -> str:
    """Where the client of a request is."""
    return str((scope.get("client") or ("unknown", 0))[0])


class ProblemResponder:
    """Tells every refusal and failure as ``application/problem+json``, counts it and logs who was refused."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._log = RefusalLog(ENDPOINT)

    def add_to(self, app: FastAPI) -> None:
        """Handle all that the routes of `app` raise."""
        handlers: dict[type[Exception], Any] = {
            ServerError: self._refused,
            DimstreamError: self._refused,
            HTTPException: self._not_routed,
            RequestValidationError: self._bad_query,
            Exception: self._failed,
        }
        for kind, handler in handlers.items():
            app.add_exception_handler(kind, handler)

    def tell(
        self,
        problem: Problem,
        headers: Mapping[str, str] | None = None,
        address: str = "unknown",
        *,
        path: str = "",
    ) -> Response:
        """The answer that says `problem` to a client at `address`; what the client said is not logged.

        Parameters
        ----------
        path : str
            That was asked for, where it is known.
        """
        self.count(problem.code, address, problem.title)
        return self.answer(problem, headers, path=path)

    def count(self, code: str, address: str, reason: str) -> None:
        """Count and log that a client at `address` was refused."""
        self._metrics.refused(ENDPOINT, code)
        self._log.tell(code, address, reason)

    def answer(
        self, problem: Problem, headers: Mapping[str, str] | None = None, *, path: str = ""
    ) -> Response:
        """`tell`, of what was counted already."""
        detail = "".join(letter if letter.isprintable() else " " for letter in problem.detail)
        body = problem_body(replace(problem, detail=detail))  # what came may hold line feeds
        is_open_inference = path == OPEN_INFERENCE or path.startswith(f"{OPEN_INFERENCE}/")
        return JSONResponse(
            {**body, "error": detail} if is_open_inference else body,
            status_code=problem.status,
            headers={**problem_headers(problem), **(headers or {})},
            media_type=PROBLEM_MEDIA_TYPE,
        )

    async def _refused(self, request: Request, error: ServerError | DimstreamError) -> Response:
        headers = error.headers if isinstance(error, RequestRefused) else None
        return self._tell(request, problem_of(error), headers)

    def _tell(self, request: Request, problem: Problem, headers: Mapping[str, str] | None = None) -> Response:
        return self.tell(problem, headers, address_of(request.scope), path=request.url.path)

    async def _not_routed(self, request: Request, error: HTTPException) -> Response:
        code = _CODE_OF_STATUS.get(error.status_code, "bad_request")
        detail = f"{request.method} {request.url.path}: {error.detail}; see /openapi.json for what there is"
        return self._tell(request, error_message(code, detail), error.headers)

    async def _bad_query(self, request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        where = " ".join(str(part) for part in first["loc"])
        detail = f"{where}: {first['msg']} (got {first.get('input')!r:.200})"
        return self._tell(request, error_message("bad_query", detail))

    async def _failed(self, request: Request, error: Exception) -> Response:
        _log.error("request failed event=internal_error path=%r", request.url.path, exc_info=error)
        problem = error_message("internal", "the server failed on this request; its log says why")
        return self._tell(request, problem)


class Observer:
    """ASGI middleware: counts answers, and refuses requests that the gate does not let in."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        metrics: Metrics,
        responder: ProblemResponder,
        authentication: RequestAuthentication,
    ) -> None:
        self._app = app
        self._metrics = metrics
        self._responder = responder
        self._authentication = authentication

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        scope = in_origin_form(scope)

        async def counted(message: Message) -> None:
            if message["type"] in _STATUS_OF:
                route = getattr(scope.get("route"), "path", "none")
                status = message.get("status", _STATUS_OF[message["type"]])
                self._metrics.requests.labels(route, str(status)).inc()
            await send(message)

        try:
            self._authentication.admit(scope)
        except Refused as refusal:
            if isinstance(refusal, ServerBusy):
                await asyncio.sleep(_TOO_OFTEN_S)
            headers = refusal.headers if isinstance(refusal, RequestRefused) else None
            response = self._responder.tell(
                problem_of(refusal), headers, address_of(scope), path=scope["path"]
            )
            await response(scope, receive, counted)
            return
        await self._app(scope, receive, counted)
