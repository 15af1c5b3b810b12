"""What HTTP reports of z-stacks: the members of `dimstream view`'s volume.json."""

from typing import Any

from pydantic import Field

from dimstream_client.quality import Thresholds
from dimstream_client.volumes.judging import judge_volumes
from dimstream_server.endpoints.http.json_bodies import Body


class CropBody(Body):
    """Planes to keep."""

    first: int
    last: int = Field(description="kept too")
    untrusted: tuple[int, ...] = Field(description="planes between them that are not trusted")
    left_out: tuple[int, ...] = Field(description="planes outside that are trusted")


class VolumePlaneBody(Body):
    """What is known of one plane, and whether it is trusted."""

    z: int
    flag: str
    reason: str | None
    structure_score: float | None
    unsupported_fraction: float | None
    ssim_above: float | None = Field(description="SSIM with the prediction of z - 1 at the same time")
    ssim_below: float | None = Field(description="SSIM with the prediction of z + 1 at the same time")
    split_ssim: float | None = Field(description="of what both halves of its photons predict")
    trusted: bool
    why_not: str | None = Field(description="the first rule that it does not meet")


class VolumeBody(Body):
    """The z-stack of one time point, channel and position."""

    t: int
    c: int
    p: int
    crop: CropBody | None = Field(description="null when no plane is trusted")
    planes: list[VolumePlaneBody]


class SeriesBody(Body):
    """The z-stacks of one channel and position over time."""

    c: int
    p: int
    times: int = Field(description="time points")
    planes: tuple[int, ...] = Field(description="the z of the stack")
    trusted_share: tuple[float, ...] = Field(description="share of the time points in which each is trusted")
    crop: CropBody | None = Field(
        description="one for all time points, of the planes that are trusted in nearly all of them"
    )


def volume_members(frames: list[dict[str, Any]], thresholds: Thresholds) -> dict[str, Any]:
    """`thresholds`, `series` and `volumes` of a report on the frames of a z-stack."""
    judged = judge_volumes(frames, thresholds).as_json()
    return {
        "thresholds": thresholds,
        "series": [SeriesBody(**one) for one in judged["series"]],
        "volumes": [VolumeBody(**one) for one in judged["volumes"]],
    }
