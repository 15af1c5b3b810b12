"""What an engine promises to the endpoints, and the data that crosses: the one call they share is `submit`.

Every method may be called from any thread and returns at once. What is refused raises a
:class:`~dimstream_server.errors.Refused` right there, and nothing of it was kept; what is accepted is
answered exactly once through its future. Futures are completed on the device thread, so a callback must
only hand over (``loop.call_soon_threadsafe``). One stream's futures complete in the order of submission.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from dimstream_client.quality import FrameResult, Thresholds
from dimstream_models.bundle import Bundle
from dimstream_models.quality.detector import Detector
from dimstream_server.engine.resume_state import Counts, Plane, PlaneRecord, ResumeState

InDtype = Literal["uint8", "uint16", "float32"]
OutDtype = Literal["uint16", "float32"]
Priority = Literal["live", "batch"]


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """One bundle that the engine serves.

    Parameters
    ----------
    gain, offset : float or None
        Rescaling of the bundle: its one `scale_linear` step; None when it declares none, or several.
    bytes_per_pixel : float or None
        Memory that a frame takes while it is denoised, at most; None when its network does not tell.
    """

    id: str
    name: str
    sha256: str
    gain: float | None
    offset: float | None
    thresholds: Thresholds
    description: str
    bundle: Bundle
    bytes_per_pixel: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class PreparedModel:
    """A bundle that has reproduced its test output and is warm, for the engine that prepared it."""

    info: ModelInfo
    ready: Mapping[str, Mapping[Any, Any]]


@dataclass(frozen=True, slots=True)
class EngineDevice:
    """What an engine runs on.

    Parameters
    ----------
    name : str
        As it is written in settings, see `dimstream_server.pipeline.device_name`: "cpu", "cuda:0@tf32"; of
        several devices their names with commas between.
    precision : str
        What factors are rounded to before they are multiplied: "float32" leaves them as they are.
    runtime : str
        What runs the networks, and its version.
    """

    name: str
    precision: str
    runtime: str


@dataclass(frozen=True, slots=True)
class DeviceReport:
    """How one of an engine's devices is.

    Parameters
    ----------
    name : str
        "cpu", "cuda:N", or, of several alike, with a number: "cpu#2".
    trouble : str or None
        Why it is lost; None while it works.
    streams : int
        Streams that are on it.
    queued : int
        Frames of them that were accepted and are not yet answered.
    answered : int
        Frames that it has answered.
    """

    name: str
    trouble: str | None
    streams: int
    queued: int
    answered: int


@dataclass(frozen=True, slots=True)
class StreamSpec:
    """What a stream is opened with; all its frames have this shape (H, W) and pixel type.

    Parameters
    ----------
    deliver_maps : bool
        Whether results carry the support map.
    deliver_sd : bool
        Whether results carry the error bars; the model must have them.
    split_every : int
        The photons of the frames of every n-th time point are split, the first (0) included; 0: of none.
    frame_interval_s : float or None
        Seconds between time points; None when unknown.
    detector : Detector or None
        By which frames are turned into photons before anything else; None: their values are photons.
    pixel_size_um : float or None
        Side of a pixel, micrometres; None when unknown.
    match_pixel_size : bool
        Whether photons are scattered onto finer pixels where the model knows only such.
    priority : str
        "batch": its frames stand behind those of all live streams of its device.
    weight : int
        Of its share of the device's time, among streams of its priority.
    deadline_ms : float or None
        A frame that cannot be answered in this time is answered by itself; None: each is denoised.
    """

    model: str
    shape: tuple[int, int]
    in_dtype: InDtype
    out_dtype: OutDtype = "uint16"
    deliver_pixels: bool = True
    deliver_maps: bool = False
    deliver_sd: bool = False
    split_every: int = 0
    frame_interval_s: float | None = None
    detector: Detector | None = None
    pixel_size_um: float | None = None
    match_pixel_size: bool = False
    priority: Priority = "live"
    weight: int = 1
    deadline_ms: float | None = None

    @property
    def model_out_dtype(self) -> OutDtype:
        """Pixel type of what the model gives; what is added up afterwards is not rounded before."""
        return "float32" if self.match_pixel_size else self.out_dtype

    @property
    def model_dtype(self) -> InDtype:
        """Pixel type of the photons that the model is given."""
        return self.in_dtype if self.detector is None else "float32"

    @property
    def ceiling(self) -> float | None:
        """Photons at the largest value that a pixel can have; None of float32."""
        if self.in_dtype == "float32":
            return None
        largest = np.full((1, 1), np.iinfo(self.in_dtype).max, self.in_dtype)
        return float(self.photons(largest)[0, 0])

    def photons(self, pixels: NDArray[Any]) -> NDArray[Any]:
        """Photons of a raw frame (H, W), of the type `model_dtype`."""
        return pixels if self.detector is None else self.detector.photons(pixels)


@dataclass(frozen=True, slots=True, eq=False)
class FrameTask:
    """One frame to be denoised.

    Parameters
    ----------
    seq : int
        Place in the stream; the endpoint has checked that none is missing and none comes twice.
    pixels : ndarray
        (H, W) values of the detector, as they came; may be read-only and is not copied, so it must not change
        until answered.
    t : int
        Time point; a frame is compared with t - 1 of its plane. Equal to `seq` where the client names none.
    plane : tuple of int
        (channel, z, position).
    """

    seq: int
    pixels: NDArray[Any]
    t: int
    plane: Plane = (0, 0, 0)


@dataclass(frozen=True, kw_only=True, eq=False)
class EngineResult(FrameResult):
    """The one answer to one frame.

    `ssim_prev` and `compared_seq` are None whenever nothing was compared, `fractions` and `quality` for a
    failed frame.

    Parameters
    ----------
    pixels : ndarray or None
        (H, W) denoised counts, of a `fallback` the values that came; None for a failed frame or when the
        stream wants no pixels.
    support : ndarray or None
        (H, W) uint8, see `dimstream_models.quality.support_map`; None unless the stream wants maps.
    sd : ndarray or None
        (H, W) float32, the standard deviation of each denoised pixel, in counts; None unless the stream wants
        error bars.
    error : str or None
        Why a failed frame failed.
    plane, counts
        What the stream could go on from after this frame, see `ResumeState`.
    """

    pixels: NDArray[Any] | None
    model_id: str
    error: str | None = None
    support: NDArray[np.uint8] | None = None
    sd: NDArray[np.float32] | None = None
    plane: PlaneRecord | None = None
    counts: Counts | None = None
    device: str | None = None
    fallback: bool | None = None


@dataclass(frozen=True, slots=True)
class InForce:
    """What a stream's frames are denoised with and judged by from a sequence number on."""

    from_seq: int
    model: ModelInfo
    thresholds: Thresholds


@dataclass(frozen=True, slots=True)
class EngineLimits:
    """Bounds that keep the memory flat; what goes over one is refused.

    Parameters
    ----------
    streams : int
        Streams open at once, refused with `too_many_streams`.
    queued_per_stream, queued : int
        Frames accepted and not yet answered, of one stream (`over_credit`) and of all (`server_busy`).
    planes_per_stream : int
        (channel, z, position) planes that a stream may have (`too_many_planes`).
    plane_bytes : int
        Bytes of what all planes of all streams keep, 6 a pixel, and with several devices a raw frame each
        (`too_many_planes`).
    frame_pixels : int
        Pixels that a frame may have (`oversize`).
    network_bytes : int or None
        Memory that one frame may take while it is denoised (`oversize`); None: all that it takes.
    """

    streams: int = 64
    queued_per_stream: int = 64
    queued: int = 256
    planes_per_stream: int = 512
    plane_bytes: int = 2**32
    frame_pixels: int = 2**26
    network_bytes: int | None = None


class Engine(Protocol):
    """Denoises the frames of many streams, each in its own order, with fair turns."""

    def device(self) -> EngineDevice:
        """What it runs on."""

    def devices(self) -> tuple[DeviceReport, ...]:
        """How each device is; lost ones stay in the list."""

    def models(self) -> Mapping[str, ModelInfo]:
        """Bundles that are served, by id."""

    def prepare(self, bundle: Bundle) -> Future[PreparedModel]:
        """Make a bundle ready to be served, while frames go on; nothing else changes.

        The future raises DeviceUnavailable, UnsupportedNetwork, TestTensorMismatch, Draining.
        """

    def serve(self, prepared: PreparedModel) -> ModelInfo:
        """Serve a model from now on, in the place of another one of its id.

        Raises
        ------
        ModelInUse
            A stream uses that one.
        Draining
        """

    def withdraw(self, model: str) -> None:
        """Serve a model no more, and let its memory go.

        Raises
        ------
        UnknownModel, Draining
        ModelInUse
            A stream uses it, or it is the only one.
        """

    def open(self, spec: StreamSpec, resume_state: ResumeState | None = None) -> str:
        """Id of a new stream; its session is composed and warmed meanwhile, and its frames wait for it.

        With a `resume_state` it goes on from there: its next frames get the results that they would have got
        from the stream that left it, once `restore_reference` has brought the last frames of its planes.

        Raises
        ------
        UnknownModel, WrongDtype, WrongShape, Oversize, TooManyStreams, TooManyPlanes, Draining
        """

    def restore_reference(self, stream: str, task: FrameTask) -> None:
        """Denoise again the last frame of a plane of the stream's `resume_state`, before its next one.

        It gets no result. Of a plane whose reference frame is not restored, the next frame is `unjudged`.

        Raises
        ------
        UnknownStream, StreamClosed, WrongShape, WrongDtype, NotFinite, Draining
        NotWaitedFor
            The stream does not wait for this frame.
        """

    def submit(self, stream: str, task: FrameTask) -> Future[EngineResult]:
        """Result of one frame. A model that raises gives a result with status "failed", not an exception.

        Raises
        ------
        UnknownStream, StreamClosed, WrongShape, WrongDtype, NotFinite, TooManyPlanes, StreamQueueFull,
        ServerBusy, Draining
        """

    def skip(self, stream: str, seq_from: int, seq_to: int) -> None:
        """Take note that frames `seq_from` to `seq_to` (inclusive) will never come.

        Raises
        ------
        UnknownStream, StreamClosed
        """

    def update(
        self,
        stream: str,
        from_seq: int,
        model: str | None = None,
        thresholds: Mapping[str, float] | None = None,
    ) -> Future[InForce]:
        """Change model or thresholds from frame `from_seq` on; answered when the change is sure to happen.

        `thresholds` are put over those that a new model's bundle brings, or, without a new model, over those
        that will be in force then. The future raises BadUpdate when `from_seq` has been denoised already, and
        when `thresholds` contradict each other.

        Raises
        ------
        UnknownStream, StreamClosed, UnknownModel, WrongShape, BadUpdate
        """

    def close(self, stream: str) -> Future[Counts]:
        """Take no more frames of this stream; answered after all that were accepted.

        Raises
        ------
        UnknownStream, StreamClosed
        """

    def drain(self) -> Future[None]:
        """Take nothing more, answer everything that was accepted, then stop; may be called again."""

    def queue_length(self) -> int:
        """Frames accepted and not yet answered."""

    def trouble(self) -> str | None:
        """Why nothing more will be answered until the server is restarted; None while all is well."""
