"""JSON bodies of requests: read within bounds, and checked, before anything is done."""

from __future__ import annotations

from typing import Final, TypeVar

from fastapi import Request
from pydantic import BaseModel, ConfigDict, ValidationError

from dimstream_server.endpoints.http.bodies import BodyLimits, read_body
from dimstream_server.endpoints.http.capacity import Buffers
from dimstream_server.endpoints.http.denoising import Abandoned
from dimstream_server.problem_details import RequestRefused
from dimstream_server.settings import Settings

LARGEST_BODY: Final = 65_536
_BODY_S: Final = 30.0
_Asked = TypeVar("_Asked", bound=BaseModel)


class AskedBody(BaseModel):
    """Frozen, and taken only as it is described: no other keys, no other types."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, protected_namespaces=())


class JsonRequests:
    """Reads JSON bodies.

    Parameters
    ----------
    buffers : Buffers
        What bodies that arrive may take.
    """

    def __init__(self, settings: Settings, buffers: Buffers) -> None:
        self._buffers = buffers
        self._limits = BodyLimits(LARGEST_BODY, settings.http.stall_s, 1, _BODY_S)

    async def read(self, request: Request, kind: type[_Asked]) -> _Asked:
        """The body of a request.

        Raises
        ------
        RequestRefused
            bad_field: it is not of this kind, and which member of it is not; others as `read_body`.
        ServerBusy
        """
        try:
            with self._buffers.share(request.state.client) as share:
                body = bytes(await read_body(request, self._limits, share))
        except Abandoned:
            raise RequestRefused("bad_request", "the connection ended before the body did") from None
        try:
            return kind.model_validate_json(body)
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False)[0]
            where = ".".join(map(str, first["loc"])) or "the body"
            known = ", ".join(kind.model_fields)
            raise RequestRefused(
                "bad_field", f"{where}: {first['msg']}; expected a JSON object with {known}"
            ) from None
