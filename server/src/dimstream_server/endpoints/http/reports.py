"""The flags of a stack as HTTP reports them, in JSON."""

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from pydantic import Field

from dimstream_client.messages import PlaneIndex
from dimstream_client.quality import FrameResult, Thresholds, parts_of, plain
from dimstream_models.judging import FlagName
from dimstream_server.endpoints.http.denoising import Denoised, Order
from dimstream_server.endpoints.http.json_bodies import Body
from dimstream_server.endpoints.http.volume_bodies import SeriesBody, VolumeBody, volume_members
from dimstream_server.engine.protocol import EngineResult

WORST_FIRST: tuple[FlagName, ...] = ("suspect", "unjudged", "ok")


@dataclass(frozen=True)
class FrameBody(FrameResult):
    """One frame's flag, and the figures behind it."""

    index: PlaneIndex = field(metadata={"description": "where it belongs, each counted from 0"})
    error: str | None = field(default=None, metadata={"description": "why it failed"})

    @classmethod
    def of(cls, index: PlaneIndex, result: EngineResult) -> Self:
        """The flag of one frame."""
        return cls(**parts_of(result), index=index, error=result.error)


class DetectorBody(Body):
    """By which the values of the frames became photons: (value - offset) / gain."""

    offset: float = Field(description="value without light, detector units")
    gain: float = Field(description="detector units per photon")


class ReportBody(Body):
    """The flags of a stack, without its pixels."""

    model: str
    model_sha256: str
    detector: DetectorBody | None = Field(description="null: the values were taken as photons")
    axes: str
    shape: tuple[int, ...]
    remarks: tuple[str, ...] = Field(
        default=(), description="what was not found in the file, is doubtful, or was left out"
    )
    flag: FlagName = Field(description="the worst of all frames: suspect, then unjudged, then ok")
    counts: dict[FlagName, int]
    suspect_since: int | None = Field(
        description="first frame of the last run of suspect ones; null when none is suspect"
    )
    frames: list[FrameBody]
    thresholds: Thresholds | None = Field(
        default=None,
        description="the thresholds for planes of z-stacks; null without z, or without an SSIM threshold",
    )
    series: list[SeriesBody] | None = Field(
        default=None, description="by channel and position: which planes of z-stacks to keep; null as above"
    )
    volumes: list[VolumeBody] | None = Field(
        default=None,
        description="by time point, channel and position: which planes to trust; null as above",
    )

    @classmethod
    def of(cls, order: Order, denoised: Denoised) -> Self:
        """The report on a filled order."""
        frames = [FrameBody.of(index, result) for index, result in denoised.frames]
        return cls(
            model=order.model.id,
            model_sha256=order.model.sha256,
            detector=None if order.detector is None else DetectorBody(**asdict(order.detector)),
            axes=denoised.axes,
            shape=denoised.shape,
            remarks=denoised.remarks,
            flag=worst_flag(denoised),
            counts=count_flags(denoised),
            suspect_since=suspect_since(denoised),
            frames=frames,
            **_volumes(order, denoised, frames),
        )


def _volumes(order: Order, denoised: Denoised, frames: list[FrameBody]) -> dict[str, Any]:
    """What is to be said of z-stacks; nothing where there are none, or nothing to judge them by."""
    thresholds = order.model.thresholds
    depth = dict(zip(denoised.axes, denoised.shape, strict=True)).get("Z", 1)
    if thresholds.ssim is None or depth < 2:
        return {}
    return volume_members([plain(frame) for frame in frames], thresholds)


def count_flags(denoised: Denoised) -> dict[FlagName, int]:
    """How many frames have each flag."""
    found = Counter(result.flag for _, result in denoised.frames)
    return {flag: found[flag] for flag in reversed(WORST_FIRST)}


def worst_flag(denoised: Denoised) -> FlagName:
    """The worst flag that any frame has."""
    found = {result.flag for _, result in denoised.frames}
    return next(flag for flag in WORST_FIRST if flag in found)


def suspect_since(denoised: Denoised) -> int | None:
    """First frame of the last run of suspect ones; None when none is suspect."""
    suspect = [result.quality for _, result in denoised.frames if result.flag == "suspect"]
    last = suspect[-1] if suspect else None
    return None if last is None else last.suspect_since
