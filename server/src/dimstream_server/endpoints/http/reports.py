"""The flags of a stack as HTTP reports them, in JSON."""

from collections import Counter
from dataclasses import asdict
from typing import Any, Literal, Self

from pydantic import Field

from dimstream_client.messages import PlaneIndex
from dimstream_models.judging import FlagName, Note
from dimstream_server.endpoints.http.denoising import Denoised, Order
from dimstream_server.endpoints.http.descriptions import Body
from dimstream_server.endpoints.http.views import criteria_of
from dimstream_server.endpoints.http.volume_bodies import CriteriaBody, SeriesBody, VolumeBody, volume_members
from dimstream_server.engine.protocol import EngineResult
from dimstream_server.streams.wire_values import wire_fractions, wire_quality, wire_ssim, wire_times

WORST_FIRST: tuple[FlagName, ...] = ("suspect", "unjudged", "ok")


class IndexBody(Body):
    """Where a frame belongs."""

    t: int
    c: int
    z: int
    p: int


class FractionsBody(Body):
    """Shares of the raw frame's pixels."""

    background: float
    uncertain: float
    signal: float


class TimesBody(Body):
    """Milliseconds."""

    queue: float
    infer: float
    total: float


class SplitBody(Body):
    """What the split photons of a frame say."""

    t_ms: float = Field(description="milliseconds that it took")
    ssim: float | None = Field(description="of the predictions of both halves; null when they were refused")
    refused: str | None = Field(description="why the photons were not split")


class QualityBody(Body):
    """What speaks for and against a frame, beyond its flag."""

    structure_score: float = Field(description="of the raw frame, standard errors above noise")
    unsupported_fraction: float = Field(description="share of the predicted signal that no photons support")
    ssim_aligned: float | None = Field(
        description="as `ssim_prev`, after the motion `shift_px` was taken out; null when nothing was"
        " compared or there is no structure to align by"
    )
    correlation: float | None = Field(
        description="with the prediction of the frame before, each less its local mean: near 1 for the same"
        " structures, near 0 for other ones; null when nothing was compared, or frames are too small"
    )
    shift_px: tuple[int, int] | None = Field(description="rows, columns")
    ssim_z: float | None = Field(
        description="SSIM with the prediction of the plane above (z - 1) of the same time point"
    )
    p_signal: float | None = Field(
        description="probability of a similarity at most this with a sample, by the model's calibration"
    )
    p_dark: float | None = Field(description="probability of a similarity at least this without a sample")
    suspect_since: int | None = Field(
        description="first frame of the plane's run of suspect ones; null when this one is not"
    )
    notes: tuple[Note, ...] = Field(description="what else was seen")
    split: SplitBody | None = Field(description="null when the photons were not to be split")


class FrameBody(Body):
    """One frame's flag."""

    seq: int
    index: IndexBody
    status: Literal["done", "failed"]
    flag: FlagName
    reason: str | None
    ssim_prev: float | None = Field(description="SSIM with the prediction of frame `compared_seq`")
    compared_seq: int | None
    fractions: FractionsBody | None
    quality: QualityBody | None = Field(description="null when the frame failed")
    t_ms: TimesBody
    error: str | None = None

    @classmethod
    def of(cls, index: PlaneIndex, result: EngineResult) -> Self:
        """The flag of one frame."""
        shares, quality = wire_fractions(result.fractions), wire_quality(result.quality)
        return cls(
            seq=result.seq,
            index=IndexBody(**asdict(index)),
            status=result.status,
            flag=result.flag,
            reason=result.reason,
            ssim_prev=wire_ssim(result.ssim_prev),
            compared_seq=result.compared_seq,
            fractions=None if shares is None else FractionsBody(**asdict(shares)),
            quality=None if quality is None else QualityBody(**asdict(quality)),
            t_ms=TimesBody(**asdict(wire_times(result))),
            error=result.error,
        )


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
    criteria: CriteriaBody | None = Field(
        default=None,
        description="what the planes of z-stacks are judged by; null without z, or without an SSIM threshold",
    )
    series: list[SeriesBody] | None = Field(
        default=None, description="by channel and position: which planes of z-stacks to keep; null as above"
    )
    volumes: list[VolumeBody] | None = Field(
        default=None,
        description="by time point, channel and position: which planes to believe; null as above",
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
    criteria = criteria_of(order.model)
    depth = dict(zip(denoised.axes, denoised.shape, strict=True)).get("Z", 1)
    if criteria is None or depth < 2:
        return {}
    return volume_members([frame.model_dump() for frame in frames], criteria)


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
