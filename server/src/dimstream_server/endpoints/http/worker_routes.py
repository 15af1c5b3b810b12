"""The workers of a gateway: anyone may see them, operators add them and take them out."""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from dimstream_server.addresses import check_worker
from dimstream_server.endpoints.http.authentication import operator_of
from dimstream_server.endpoints.http.json_bodies import Body
from dimstream_server.endpoints.http.json_requests import AskedBody, JsonRequests
from dimstream_server.endpoints.http.openapi import json_body, problems
from dimstream_server.problem_details import RequestRefused
from dimstream_server.settings import Settings
from dimstream_server.workers import WorkersEngine
from dimstream_server.workers.worker_list import check_workers

_log = logging.getLogger(__name__)


class WorkerBody(Body):
    """A worker."""

    address: str
    is_up: bool = Field(description="whether it answers")
    is_leaving: bool = Field(description="whether it gets no more streams, as it stops or was taken out")
    streams: int = Field(description="streams that it has")
    models: list[str] = Field(description="models of which it can have streams")
    device: str | None = Field(description="what denoised the last frame that it has answered")
    trouble: str | None = Field(description="why it cannot be used")


class WorkersBody(Body):
    """All workers."""

    workers: list[WorkerBody]


class AddBody(AskedBody):
    """Which worker is to be used."""

    address: str = Field(max_length=1024, description="its ZeroMQ endpoint, tcp://HOST:PORT")


class RemoveQuery(BaseModel):
    """Which worker is to be taken out."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    address: str = Field(max_length=1024, description="its ZeroMQ endpoint")


class WorkerRoutes:
    """The routes of a gateway.

    Parameters
    ----------
    bodies : JsonRequests
        Reads what operators ask for.
    """

    def __init__(self, engine: WorkersEngine, settings: Settings, bodies: JsonRequests) -> None:
        self._engine = engine
        self._settings = settings
        self._bodies = bodies

    def add_to(self, app: FastAPI) -> None:
        """Answer these requests from now on."""
        refusals = problems(400, 401, 403, 408, 413, 415, 421, 422, 500, 503)
        get: Any = app.get
        get("/v1/workers", summary="Workers of this gateway", responses=problems(401, 421, 500, 503))(
            self.workers
        )
        app.post(
            "/v1/workers",
            summary="Use one more worker",
            status_code=HTTPStatus.ACCEPTED,
            response_model=WorkersBody,
            responses=refusals,
            openapi_extra=json_body(AddBody),
        )(self.add)
        app.delete(
            "/v1/workers",
            summary="Take a worker out; its streams move between two frames",
            status_code=HTTPStatus.ACCEPTED,
            response_model=WorkersBody,
            responses={**refusals, **problems(404)},
        )(self.remove)

    async def workers(self) -> WorkersBody:
        """List the workers."""
        return WorkersBody(workers=[WorkerBody(**one) for one in self._engine.workers()])

    async def add(self, request: Request) -> WorkersBody:
        """Use a worker from now on; one that is used already stays."""
        operator = operator_of(request)
        asked = await self._bodies.read(request, AddBody)
        try:
            address = check_worker(asked.address)
            addresses = tuple(dict.fromkeys((*self._engine.addresses, address)))
            check_workers(addresses, self._settings)
        except ValueError as error:
            raise RequestRefused("bad_field", f"address: {error}", expected={"field": "address"}) from None
        self._engine.set_workers(addresses)
        _log.info("a worker was added event=worker_added worker=%s by=%r", address, operator)
        return await self.workers()

    async def remove(self, request: Request, query: Annotated[RemoveQuery, Query()]) -> WorkersBody:
        """Give a worker no more streams, and move those that it has."""
        operator = operator_of(request)
        addresses = self._engine.addresses
        if query.address not in addresses:
            raise RequestRefused(
                "not_found", f"expected one of {', '.join(addresses) or 'no workers'}, got {query.address!r}"
            )
        self._engine.set_workers(tuple(one for one in addresses if one != query.address))
        _log.info("a worker was removed event=worker_removed worker=%s by=%r", query.address, operator)
        return await self.workers()
