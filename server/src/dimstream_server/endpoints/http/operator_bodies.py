"""What an operator may ask for, and is answered, as the OpenAPI document shows it."""

from collections.abc import Mapping
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, WithJsonSchema

from dimstream_client.header_checks import new_thresholds
from dimstream_client.quality import Thresholds, figures
from dimstream_server.endpoints.http.json_bodies import Body
from dimstream_server.endpoints.http.json_requests import AskedBody
from dimstream_server.pipeline.thresholds import HIGHEST_COUNT

LONGEST_NAME: Final = 200


class LoadBody(AskedBody):
    """Which bundle is to be served."""

    bundle: str = Field(
        description="name of a folder or zip in one of server.bundle_folders, without its path"
    )


def _schema_of_changes() -> dict[str, Any]:
    """What JSON may name as thresholds that are to change: any of `Thresholds`; null: unchanged."""
    bounds = {"similarity": 1.0, "number": HIGHEST_COUNT}
    return {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            one.name: {
                "description": one.metadata["description"],
                "anyOf": [
                    {
                        "type": "number",
                        "minimum": -bounds[one.metadata["kind"]],
                        "maximum": bounds[one.metadata["kind"]],
                    },
                    {"type": "null"},
                ],
            }
            for one in figures(Thresholds)
        },
    }


Changes = Annotated[Mapping[str, float], PlainValidator(new_thresholds), WithJsonSchema(_schema_of_changes())]
"""Thresholds that are to change; what is not named, or null, stays."""


class ChangeBody(AskedBody):
    """What is to change from the stream's next frame on."""

    model: str | None = Field(None, max_length=LONGEST_NAME, description="id of another model that is served")
    thresholds: Changes | None = None


class UnloadQuery(BaseModel):
    """How a model is unloaded."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    even_if_away: bool = Field(
        False,
        description="also when streams need it whose clients are away: they can be resumed once it is back",
    )


class InForceBody(Body):
    """What a stream's frames are denoised with and judged by from a frame on."""

    stream: str
    from_seq: int
    model: str
    model_sha256: str
    thresholds: Thresholds
