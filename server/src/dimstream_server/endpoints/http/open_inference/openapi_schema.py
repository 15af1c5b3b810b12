"""What the OpenAPI document says of an inference request and its answer."""

from typing import Any, Final

from dimstream_server.endpoints.http.open_inference.bodies import InferRequestBody, InferResponseBody

_REF: Final = "#/components/schemas/{model}"
_BINARY: Final = {"schema": {"type": "string", "format": "binary"}}
_LENGTH: Final = "Bytes of JSON with which the body begins; binary data follow. Absent: all of it is JSON."


def _json(kind: type[Any]) -> dict[str, Any]:
    return {"schema": {"$ref": _REF.format(model=kind.__name__)}}


INFER_OPENAPI: Final[dict[str, Any]] = {
    "parameters": [
        {
            "name": "Inference-Header-Content-Length",
            "in": "header",
            "required": False,
            "description": _LENGTH,
            "schema": {"type": "integer", "minimum": 1},
        }
    ],
    "requestBody": {
        "required": True,
        "description": "One input, `frame`, (H, W) or (N, H, W): its values in the JSON, or behind it. May "
        "be compressed by gzip or deflate.",
        "content": {"application/json": _json(InferRequestBody), "application/octet-stream": _BINARY},
    },
    "responses": {
        "200": {
            "description": "The outputs that were asked for, in that order.",
            "headers": {
                "Inference-Header-Content-Length": {"description": _LENGTH, "schema": {"type": "integer"}}
            },
            "content": {"application/json": _json(InferResponseBody), "application/octet-stream": _BINARY},
        }
    },
}
SCHEMAS: Final = (InferRequestBody, InferResponseBody)
