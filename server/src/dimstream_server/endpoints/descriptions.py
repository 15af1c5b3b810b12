"""JSON bodies of the HTTP door, as the OpenAPI document shows them."""

from collections import Counter
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from dimstream_client.messages import PlaneIndex
from dimstream_server.endpoints.denoising import Denoised, Order
from dimstream_server.endpoints.streams import ServerStream
from dimstream_server.engine.protocol import EngineResult, ModelInfo
from dimstream_server.pipeline.flags import FlagName

WORST_FIRST: tuple[FlagName, ...] = ("suspect", "unjudged", "ok")


class _Body(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class ProblemBody(_Body):
    """RFC 9457 problem details; act on `code`."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    retryable: bool
    expected: dict[str, Any] | None = None


class ThresholdsBody(_Body):
    """What frames are judged by."""

    ssim: float | None = Field(description="below it a frame is suspect; null: never judged")
    background_max: float = Field(description="photon counts in a window that are still background")
    signal_min: float = Field(description="photon counts in a window above which it is signal")


class ModelBody(_Body):
    """A model that is served."""

    id: str
    name: str
    sha256: str = Field(description="of the ONNX weights")
    description: str
    gain: float | None = Field(description="counts out = gain * prediction + offset; null: none declared")
    offset: float | None
    thresholds: ThresholdsBody

    @classmethod
    def of(cls, model: ModelInfo) -> Self:
        """The description of `model`."""
        limits = model.thresholds
        return cls(
            id=model.id,
            name=model.name,
            sha256=model.sha256,
            description=model.description,
            gain=model.gain,
            offset=model.offset,
            thresholds=ThresholdsBody(
                ssim=limits.ssim, background_max=limits.background_max, signal_min=limits.signal_min
            ),
        )


class ModelsBody(_Body):
    """All models that are served."""

    models: list[ModelBody]


class StreamBody(_Body):
    """An open ZeroMQ stream."""

    id: str
    client: str
    model: str
    mode: str
    shape: tuple[int, int]
    dtype: str
    out_dtype: str
    window: int
    next_seq: int
    limit: int
    in_flight: int = Field(description="frames whose results were not handed over yet")

    @classmethod
    def of(cls, stream: ServerStream) -> Self:
        """The description of `stream`."""
        return cls(
            id=stream.id,
            client=stream.client,
            model=stream.model,
            mode=stream.mode,
            shape=stream.spec.shape,
            dtype=stream.spec.in_dtype,
            out_dtype=stream.spec.out_dtype,
            window=stream.window,
            next_seq=stream.next_seq,
            limit=stream.limit,
            in_flight=stream.in_flight,
        )


class StreamsBody(_Body):
    """All ZeroMQ streams that are open."""

    streams: list[StreamBody]


class IndexBody(_Body):
    """Where a frame belongs."""

    t: int
    c: int
    z: int
    p: int


class FractionsBody(_Body):
    """Shares of the raw frame's pixels."""

    background: float
    uncertain: float
    signal: float


class TimesBody(_Body):
    """Milliseconds."""

    queue: float
    infer: float
    total: float


class FrameBody(_Body):
    """One frame's flag."""

    seq: int
    index: IndexBody
    status: Literal["done", "failed"]
    flag: FlagName
    reason: str | None
    ssim_prev: float | None = Field(description="SSIM with the prediction of frame `compared_seq`")
    compared_seq: int | None
    fractions: FractionsBody | None
    t_ms: TimesBody
    error: str | None = None

    @classmethod
    def of(cls, index: PlaneIndex, result: EngineResult) -> Self:
        """The flag of one frame."""
        shares = result.fractions
        return cls(
            seq=result.seq,
            index=IndexBody(t=index.t, c=index.c, z=index.z, p=index.p),
            status=result.status,
            flag=result.flag,
            reason=result.reason,
            ssim_prev=result.ssim_prev,
            compared_seq=result.compared_seq,
            fractions=None
            if shares is None
            else FractionsBody(
                background=shares.background, uncertain=shares.uncertain, signal=shares.signal
            ),
            t_ms=TimesBody(
                queue=round(result.queue_ms, 3),
                infer=round(result.infer_ms, 3),
                total=round(result.total_ms, 3),
            ),
            error=result.error,
        )


class ReportBody(_Body):
    """The flags of a stack, without its pixels."""

    model: str
    model_sha256: str
    axes: str
    shape: tuple[int, ...]
    flag: FlagName = Field(description="the worst of all frames: suspect, then unjudged, then ok")
    counts: dict[FlagName, int]
    frames: list[FrameBody]

    @classmethod
    def of(cls, order: Order, denoised: Denoised) -> Self:
        """The report on a filled order."""
        return cls(
            model=order.model.id,
            model_sha256=order.model.sha256,
            axes=denoised.axes,
            shape=denoised.shape,
            flag=worst_flag(denoised),
            counts=count_flags(denoised),
            frames=[FrameBody.of(index, result) for index, result in denoised.frames],
        )


def count_flags(denoised: Denoised) -> dict[FlagName, int]:
    """How many frames have each flag."""
    found = Counter(result.flag for _, result in denoised.frames)
    return {flag: found[flag] for flag in reversed(WORST_FIRST)}


def worst_flag(denoised: Denoised) -> FlagName:
    """The worst flag that any frame has."""
    found = {result.flag for _, result in denoised.frames}
    return next(flag for flag in WORST_FIRST if flag in found)
