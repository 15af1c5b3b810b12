"""What an operator may ask for, and is answered, as the OpenAPI document shows it."""

from typing import Final

from pydantic import BaseModel, ConfigDict, Field

from dimstream_server.endpoints.http.descriptions import Body, ThresholdsBody
from dimstream_server.pipeline.flags import HIGHEST_COUNT

LONGEST_NAME: Final = 200


class _AskedBody(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, protected_namespaces=())


class LoadBody(_AskedBody):
    """Which bundle is to be served."""

    bundle: str = Field(
        description="name of a folder or zip in one of server.bundle_folders, without its path"
    )


class NewThresholdsBody(_AskedBody):
    """Thresholds that are to change; null, or left out: unchanged."""

    ssim: float | None = Field(None, ge=-1, le=1)
    background_max: float | None = Field(None, ge=0, le=HIGHEST_COUNT)
    signal_min: float | None = Field(None, ge=0, le=HIGHEST_COUNT)
    structure_score: float | None = Field(None, ge=-1e12, le=1e12)
    split: float | None = Field(None, ge=-1, le=1)


class ChangeBody(_AskedBody):
    """What is to change from the stream's next frame on."""

    model: str | None = Field(None, max_length=LONGEST_NAME, description="id of another model that is served")
    thresholds: NewThresholdsBody | None = None


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
    thresholds: ThresholdsBody
