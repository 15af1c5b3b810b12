"""What the OpenAPI document says of bodies and answers that FastAPI cannot infer."""

from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from dimstream_server.endpoints.answers import JSON, PNG
from dimstream_server.endpoints.descriptions import ProblemBody, ReportBody
from dimstream_server.endpoints.images import FORM, FORM_FIELD, NPY, TIFF
from dimstream_server.endpoints.problems import PROBLEM_MEDIA_TYPE

_REF = "#/components/schemas/{model}"
_BINARY = {"schema": {"type": "string", "format": "binary"}}
_HEADERS = {
    "Dimstream-Flag": "The worst flag of all frames: suspect, then unjudged, then ok.",
    "Dimstream-Flags": "How many frames have each flag: `ok=5, unjudged=1, suspect=0`.",
    "Dimstream-Reason": "Single frames: why the flag is not ok.",
    "Dimstream-Ssim-Prev": "Single frames: SSIM with the prediction before, where there was one.",
    "Dimstream-Model": "Id of the model.",
    "Dimstream-Model-Sha256": "Of its ONNX weights.",
    "Dimstream-T-Ms": "Milliseconds in queue, inference and in all, summed over the frames.",
}
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
            "description": "The denoised stack, with the axes, pixel size and time step that came; "
            "as JSON, the flags only. PNG for a single uint16 frame.",
            "headers": {
                name: {"description": text, "schema": {"type": "string"}} for name, text in _HEADERS.items()
            },
            "content": {
                **dict.fromkeys((TIFF, NPY, PNG), _BINARY),
                JSON: {"schema": {"$ref": "#/components/schemas/ReportBody"}},
            },
        }
    },
}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """`responses` of a route that may be refused with these statuses."""
    content = {PROBLEM_MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemBody"}}}
    return {status: {"description": HTTPStatus(status).phrase, "content": content} for status in statuses}


def describe_problems(app: FastAPI) -> None:
    """Put the schemas that only this module names into the document of `app`."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = get_openapi(
                title=app.title, version=app.version, summary=app.summary, routes=app.routes
            )
            _forget_default_refusals(document)
            schemas = document.setdefault("components", {}).setdefault("schemas", {})
            for model in (ProblemBody, ReportBody):
                schema = model.model_json_schema(ref_template=_REF)
                schemas.update(schema.pop("$defs", {}))
                schemas[model.__name__] = schema
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way


def _forget_default_refusals(document: dict[str, Any]) -> None:
    """Take out the 422 of FastAPI's own form: refusals are problems here."""
    schemas = document.get("components", {}).get("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    for operations in document["paths"].values():
        for operation in operations.values():
            if "HTTPValidationError" in str(operation["responses"].get("422")):
                del operation["responses"]["422"]
