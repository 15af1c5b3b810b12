"""What an operator changes while streams run: the models that are served, the thresholds of a stream."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

from fastapi import FastAPI, Query, Request, Response
from fastapi.responses import JSONResponse

from dimstream_server.endpoints.http.authentication import operator_of
from dimstream_server.endpoints.http.json_bodies import ModelBody
from dimstream_server.endpoints.http.json_requests import JsonRequests
from dimstream_server.endpoints.http.openapi import json_body, problems
from dimstream_server.endpoints.http.operator_bodies import ChangeBody, InForceBody, LoadBody, UnloadQuery
from dimstream_server.streams import StreamService


class OperatorRoutes:
    """The routes for operators; each request must carry one of their tokens.

    Parameters
    ----------
    bodies : JsonRequests
        Reads what they ask for.
    """

    def __init__(self, service: StreamService, bodies: JsonRequests) -> None:
        self._service = service
        self._bodies = bodies

    def add_to(self, app: FastAPI) -> None:
        """Answer these requests from now on."""
        common = problems(400, 401, 403, 408, 413, 415, 421, 422, 500, 501, 503)
        app.post(
            "/v1/models",
            summary="Load a bundle and serve it, while streams go on",
            status_code=HTTPStatus.CREATED,
            response_model=ModelBody,
            responses={
                200: {"description": "It is served already, unchanged", "model": ModelBody},
                **common,
                **problems(404, 409),
            },
            openapi_extra=json_body(LoadBody),
        )(self.load)
        app.delete(
            "/v1/models/{model_id}",
            summary="Unload a model that no stream needs",
            status_code=HTTPStatus.NO_CONTENT,
            response_class=Response,
            responses={**problems(401, 403, 404, 409, 421, 422, 500, 503)},
        )(self.unload)
        app.patch(
            "/v1/streams/{stream_id}",
            summary="Change thresholds or model of a stream, from its next frame on",
            response_model=InForceBody,
            responses={**common, **problems(404, 409)},
            openapi_extra=json_body(ChangeBody),
        )(self.change)

    async def load(self, request: Request) -> Response:
        """Read a bundle, verify it, let it reproduce its test tensor, and serve it."""
        operator = operator_of(request)
        asked = await self._bodies.read(request, LoadBody)
        model, is_new = await self._service.models.load(asked.bundle, by=operator)
        status = HTTPStatus.CREATED if is_new else HTTPStatus.OK
        body = ModelBody.of(model, default=self._service.models.default())
        return JSONResponse(body.model_dump(mode="json"), status)

    async def unload(
        self,
        model_id: str,
        request: Request,
        query: Annotated[UnloadQuery, Query()],
    ) -> Response:
        """Serve a model no more, and let its memory go."""
        await self._service.models.unload(model_id, even_if_away=query.even_if_away, by=operator_of(request))
        return Response(status_code=HTTPStatus.NO_CONTENT)

    async def change(self, stream_id: str, request: Request) -> InForceBody:
        """Put other thresholds, or another model, in force between two frames."""
        operator = operator_of(request)
        asked = await self._bodies.read(request, ChangeBody)
        in_force = await self._service.change(stream_id, asked.model, asked.thresholds, by=operator)
        return InForceBody(
            stream=stream_id,
            from_seq=in_force.from_seq,
            model=in_force.model.id,
            model_sha256=in_force.model.sha256,
            thresholds=in_force.thresholds,
        )
