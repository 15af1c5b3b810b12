"""JSON bodies of the HTTP endpoint, as the OpenAPI document shows them."""

from dataclasses import asdict
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from dimstream_client.quality import Thresholds
from dimstream_models.bundle import Calibration
from dimstream_server.engine.protocol import ModelInfo, Priority
from dimstream_server.monitoring.server_info import ServerInfo
from dimstream_server.recording import Recording
from dimstream_server.streams import ServerStream, StreamService


class Body(BaseModel):
    """Frozen, and its keys are all that there are."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class ProblemBody(Body):
    """RFC 9457 problem details; act on `code`."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    retryable: bool
    expected: dict[str, Any] | None = None
    error: str | None = Field(default=None, description="under /v2: the same as detail")


class CalibrationBody(Body):
    """How the SSIM of adjacent frames is distributed with and without a sample."""

    signal_quantiles: dict[str, float] = Field(description="quantile to SSIM, with a sample")
    dark_quantiles: dict[str, float] = Field(description="quantile to SSIM, of an empty field")
    signal_pairs: int
    dark_pairs: int
    false_alarm_rate: float = Field(description="share of signal pairs below the threshold")
    auc: float = Field(description="area under the curve of signal against dark")
    doses_photons: tuple[float, ...] = Field(
        description="of the signal movies, photons on a tubule; empty when they are real"
    )
    frame_interval_s: float | None = Field(description="of the movies; null when they state none")

    @classmethod
    def of(cls, record: Calibration) -> Self:
        """The summary of a bundle's record."""
        return cls(**{name: getattr(record, name) for name in cls.model_fields})


class ModelBody(Body):
    """A model that is served."""

    id: str
    name: str
    sha256: str = Field(description="of the ONNX weights")
    description: str
    gain: float | None = Field(description="counts out = gain * prediction + offset; null: none declared")
    offset: float | None
    thresholds: Thresholds
    calibration: CalibrationBody | None = Field(description="null: the SSIM threshold was not calibrated")
    is_default: bool = Field(description="streams that name no model are denoised by this one")

    @classmethod
    def of(cls, model: ModelInfo, *, default: str | None) -> Self:
        """The description of `model`, next to the default one."""
        record = None if model.bundle.config is None else model.bundle.config.calibration
        return cls(
            id=model.id,
            name=model.name,
            sha256=model.sha256,
            description=model.description,
            gain=model.gain,
            offset=model.offset,
            thresholds=model.thresholds,
            calibration=None if record is None else CalibrationBody.of(record),
            is_default=model.id == default,
        )


class ServerBody(Body):
    """What the server is."""

    version: str = Field(description="of dimstream-server")
    device: str = Field(description="where the networks run, such as `cpu` or `cuda:0@tf32`")
    precision: str = Field(description="what factors are rounded to; `float32` leaves them as they are")
    runtime: str = Field(description="what runs the networks, and its version")

    @classmethod
    def of(cls, info: ServerInfo) -> Self:
        """The description of a server."""
        return cls(**asdict(info))


class ModelsBody(Body):
    """All models that are served."""

    models: list[ModelBody]
    server: ServerBody


class ReadyBody(Body):
    """Whether work can be sent here."""

    ready: bool
    checks: dict[str, str] = Field(description="each check's name, and `ok` or why it is not well")
    server: ServerBody


class CountsBody(Body):
    """What became of the frames of a stream, as of its last result."""

    done: int
    failed: int
    skipped: int
    ok: int
    suspect: int
    unjudged: int


class RecordingBody(Body):
    """The recording of a stream."""

    folder: str = Field(description="its name in recording.folder")
    next_seq: int = Field(description="first frame that is not recorded yet")
    state: Literal["recording", "stopped"]
    reason: str | None = Field(description="why it stopped")

    @classmethod
    def of(cls, recording: Recording) -> Self:
        """The description of a recording."""
        reason = recording.state
        state: Literal["recording", "stopped"] = "recording" if reason is None else "stopped"
        return cls(folder=recording.folder.name, next_seq=recording.next_seq, state=state, reason=reason)


class StreamBody(Body):
    """A stream that is open, or a request that is being denoised."""

    id: str
    endpoint: str = Field(description="`zmq`: a stream; `http`: a request that is being denoised")
    client: str = Field(
        description="whose it is: the name of its client's key; without keys what the client calls itself; "
        "of a request the name of its token, or without tokens its address"
    )
    program: str = Field(description="what its client calls itself; empty of a request")
    model: str
    mode: str
    shape: tuple[int, int]
    dtype: str
    out_dtype: str
    window: int
    next_seq: int
    limit: int
    in_flight: int = Field(description="frames whose results were not sent yet")
    is_suspect: bool = Field(description="it has become suspect, and is still so")
    priority: Priority = Field(description="`batch`: its frames give way to those of live streams")
    weight: int = Field(description="of its share of the server's time, among streams of its priority")
    counts: CountsBody
    thresholds: Thresholds
    recording: RecordingBody | None = Field(description="null: it is not recorded")

    @classmethod
    def of(cls, stream: ServerStream, service: StreamService) -> Self:
        """The description of a stream of `service`."""
        recording = service.recording_of(stream)
        return cls(
            id=stream.id,
            endpoint=stream.endpoint,
            client=stream.client,
            program=stream.program,
            model=stream.model,
            mode=stream.mode,
            shape=stream.spec.shape,
            dtype=stream.spec.in_dtype,
            out_dtype=stream.spec.out_dtype,
            window=stream.window,
            next_seq=stream.next_seq,
            limit=stream.limit,
            in_flight=stream.in_flight,
            is_suspect=service.is_suspect(stream),
            priority=stream.spec.priority,
            weight=stream.spec.weight,
            counts=CountsBody(**asdict(stream.counts)),
            thresholds=stream.thresholds,
            recording=None if recording is None else RecordingBody.of(recording),
        )


class StreamsBody(Body):
    """All that are open."""

    streams: list[StreamBody]
