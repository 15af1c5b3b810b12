"""What the OpenAPI document says of bodies and answers that FastAPI cannot infer."""

from collections.abc import Collection, Iterable
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import FastAPI, Query
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

from dimstream_server.endpoints.http.figure_bodies import FoundBody
from dimstream_server.endpoints.http.flag_headers import DESCRIPTIONS
from dimstream_server.endpoints.http.image_answers import JSON, PNG
from dimstream_server.endpoints.http.json_bodies import ProblemBody, ReadyBody
from dimstream_server.endpoints.http.operator_bodies import ChangeBody, LoadBody
from dimstream_server.endpoints.http.reports import ReportBody
from dimstream_server.endpoints.http.request_images import FORM, FORM_FIELD, NPY, TIFF
from dimstream_server.problem_details import PROBLEM_MEDIA_TYPE

_REF = "#/components/schemas/{model}"
_SCHEMAS: tuple[type[BaseModel], ...] = (ProblemBody, ReportBody, LoadBody, ChangeBody, FoundBody)
_BINARY = {"schema": {"type": "string", "format": "binary"}}
_BODIES = {
    TIFF: _BINARY,
    NPY: _BINARY,
    "application/octet-stream": _BINARY,
    FORM: {
        "schema": {
            "type": "object",
            "required": [FORM_FIELD],
            "properties": {FORM_FIELD: {"type": "string", "format": "binary"}},
        }
    },
}
DENOISE_OPENAPI: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "One TIFF (also ImageJ, OME) or NPY file of uint8, uint16 or float32 photon counts, "
        "YX or any of TYX, ZYX, CYX, TZYX, TCYX, TZCYX. int16 and float64 are cast, with a check.",
        "content": _BODIES,
    },
    "responses": {
        "200": {
            "description": "The denoised stack, or its support maps (uint8), with the axes, pixel size and "
            "time step that came; as JSON, the flags only. PNG for a single frame of uint16 "
            "or uint8, and for a view of a z-stack.",
            "headers": {
                name: {"description": text, "schema": {"type": "string"}}
                for name, text in DESCRIPTIONS.items()
            },
            "content": {
                **dict.fromkeys((TIFF, NPY, PNG), _BINARY),
                JSON: {"schema": {"$ref": "#/components/schemas/ReportBody"}},
            },
        }
    },
}
NOT_READY: dict[int | str, dict[str, Any]] = {
    503: {"description": "Not ready: a check is not well, or the server drains", "model": ReadyBody}
}


def json_body(kind: type[BaseModel]) -> dict[str, Any]:
    """`openapi_extra` of a route that reads this, which has to be among `_SCHEMAS`."""
    content = {"application/json": {"schema": {"$ref": _REF.format(model=kind.__name__)}}}
    return {"requestBody": {"required": True, "content": content}}


def describe_query(query: type[BaseModel]) -> list[Any]:
    """Parameters of a route that reads its query itself, as FastAPI describes them where it does."""

    def route(query: Any) -> None:
        """Never called."""

    route.__annotations__["query"] = Annotated[query, Query()]
    scratch = FastAPI()
    scratch.get("/")(route)
    document = get_openapi(title="", version="", routes=scratch.routes)
    return list(document["paths"]["/"]["get"]["parameters"])


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """`responses` of a route that may be refused with these statuses."""
    content = {PROBLEM_MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemBody"}}}
    return {status: {"description": HTTPStatus(status).phrase, "content": content} for status in statuses}


def describe_problems(
    app: FastAPI, *, locked: bool, open_paths: Collection[str], schemas: Iterable[type[BaseModel]] = ()
) -> None:
    """Put the schemas that no route names into the document of `app`, and its lock.

    Parameters
    ----------
    locked : bool
        Whether requests must carry a token, but for those to `open_paths`.
    schemas : iterable of type
        What else the descriptions of routes refer to.
    """

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = get_openapi(
                title=app.title, version=app.version, summary=app.summary, routes=app.routes
            )
            _forget_default_refusals(document)
            if locked:
                _describe_lock(document, open_paths)
            known = document.setdefault("components", {}).setdefault("schemas", {})
            for model in (*_SCHEMAS, *schemas):
                schema = model.model_json_schema(ref_template=_REF)
                known.update(schema.pop("$defs", {}))
                known[model.__name__] = schema
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way


def _describe_lock(document: dict[str, Any], open_paths: Collection[str]) -> None:
    scheme = {"type": "http", "scheme": "bearer", "description": "A token of `dimstream-server keygen`."}
    document.setdefault("components", {})["securitySchemes"] = {"token": scheme}
    document["security"] = [{"token": []}]
    for path in open_paths:
        for operation in document["paths"][path].values():
            operation["security"] = []


def _forget_default_refusals(document: dict[str, Any]) -> None:
    """Take out the 422 of FastAPI's own form: refusals are problems here."""
    schemas = document.get("components", {}).get("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    for operations in document["paths"].values():
        for operation in operations.values():
            if "HTTPValidationError" in str(operation["responses"].get("422")):
                del operation["responses"]["422"]
