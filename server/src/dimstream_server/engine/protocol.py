"""The engine's interface for the endpoints, and its data. `submit` is the method that both endpoints use.

Every method may be called from any thread and returns at once. A refused call raises a
:class:`~dimstream_server.errors.Refused` immediately and changes nothing. An accepted one is answered exactly
once through its future. Futures are completed in the device thread, so a callback must only pass the result
on (``loop.call_soon_threadsafe``). The futures of one stream complete in the order of submission.
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
    """A bundle that the engine serves.

    Parameters
    ----------
    gain, offset : float or None
        Rescaling of the bundle: its only `scale_linear` step; None without one, or with several.
    bytes_per_pixel : float or None
        Largest memory that a frame needs while it is denoised, bytes per pixel; None when unknown.
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
    """A bundle that has reproduced its test output and is warmed up, for the engine that prepared it."""

    info: ModelInfo
    ready: Mapping[str, Mapping[Any, Any]]


@dataclass(frozen=True, slots=True)
class EngineDevice:
    """The device or devices of an engine.

    Parameters
    ----------
    name : str
        Name as in the settings, see `dimstream_server.pipeline.device_name`: "cpu", "cuda:0@tf32"; several
        names are separated by commas.
    precision : str
        Precision to which factors are rounded before they are multiplied; "float32": no rounding.
    runtime : str
        The software that runs the networks, and its version.
    """

    name: str
    precision: str
    runtime: str


@dataclass(frozen=True, slots=True)
class DeviceReport:
    """State of one of an engine's devices.

    Parameters
    ----------
    name : str
        "cpu", "cuda:N" or, for several equal ones, with a number: "cpu#2".
    trouble : str or None
        Why it is lost; None while it works.
    streams : int
        Number of its streams.
    queued : int
        Frames of its streams that were accepted but not yet answered.
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
    """Settings of a stream; all its frames have this shape (H, W) and pixel type.

    Parameters
    ----------
    deliver_maps : bool
        Whether results contain the support map.
    deliver_sd : bool
        Whether results contain the error bars; the model must have them.
    split_every : int
        The photons of frames of every n-th time point are split, starting with the first (0); 0: never.
    frame_interval_s : float or None
        Seconds between time points; None when unknown.
    detector : Detector or None
        Offset and gain by which values are first converted to photons; None: the values are photons.
    pixel_size_um : float or None
        Side of a pixel, micrometres; None when unknown.
    match_pixel_size : bool
        Whether photons are moved to finer pixels if the model knows only smaller pixels.
    priority : str
        "batch": its frames have lower priority than those of all live streams of its device.
    weight : int
        Weight of its share of the device's time, among streams of its priority.
    deadline_ms : float or None
        A frame that cannot be denoised in this time is answered with the raw frame; None: all are denoised.
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
        """Pixel type of the model's output; values that are summed afterwards are not rounded before."""
        return "float32" if self.match_pixel_size else self.out_dtype

    @property
    def model_dtype(self) -> InDtype:
        """Pixel type of the photons in the model's input."""
        return self.in_dtype if self.detector is None else "float32"

    @property
    def ceiling(self) -> float | None:
        """Photons at the largest value of a pixel; None for float32."""
        if self.in_dtype == "float32":
            return None
        largest = np.full((1, 1), np.iinfo(self.in_dtype).max, self.in_dtype)
        return float(self.photons(largest)[0, 0])

    def photons(self, pixels: NDArray[Any]) -> NDArray[Any]:
        """Return the photons of a raw frame, (H, W), with the type `model_dtype`."""
        return pixels if self.detector is None else self.detector.photons(pixels)


@dataclass(frozen=True, slots=True, eq=False)
class FrameTask:
    """One frame to denoise.

    Parameters
    ----------
    seq : int
        Number in the stream; the endpoint has checked that no frame is missing or repeated.
    pixels : ndarray
        (H, W) values of the detector as received. It may be read-only and is not copied, so it must not
        change until it is answered.
    t : int
        Time point; a frame is compared with t - 1 of its plane. It equals `seq` if the client states none.
    plane : tuple of int
        (channel, z, position).
    """

    seq: int
    pixels: NDArray[Any]
    t: int
    plane: Plane = (0, 0, 0)


@dataclass(frozen=True, kw_only=True, eq=False)
class EngineResult(FrameResult):
    """The answer to one frame.

    `ssim_prev` and `compared_seq` are None when nothing was compared; `fractions` and `quality` are None for
    a failed frame.

    Parameters
    ----------
    pixels : ndarray or None
        (H, W) denoised counts, or the received values for a `fallback`; None for a failed frame, or if the
        stream does not request pixels.
    support : ndarray or None
        (H, W) uint8, see `dimstream_models.quality.support_map`; None unless the stream requests maps.
    sd : ndarray or None
        (H, W) float32, the standard deviation of each denoised pixel, in counts; None unless the stream
        requests error bars.
    error : str or None
        Why the frame failed.
    plane, counts
        State from which the stream could be resumed after this frame, see `ResumeState`.
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
    """The model and thresholds of a stream's frames from a sequence number on."""

    from_seq: int
    model: ModelInfo
    thresholds: Thresholds


@dataclass(frozen=True, slots=True)
class EngineLimits:
    """Bounds of memory; calls that exceed one are refused.

    Parameters
    ----------
    streams : int
        Most open streams (`too_many_streams`).
    queued_per_stream, queued : int
        Most frames that are accepted but not yet answered, of one stream (`over_credit`) and of all
        (`server_busy`).
    planes_per_stream : int
        Most (channel, z, position) planes of a stream (`too_many_planes`).
    plane_bytes : int
        Most bytes for the planes of all streams, 6 per pixel and, with several devices, a raw frame each
        (`too_many_planes`).
    frame_pixels : int
        Most pixels of a frame (`oversize`).
    network_bytes : int or None
        Most memory of one frame while it is denoised (`oversize`); None: unlimited.
    """

    streams: int = 64
    queued_per_stream: int = 64
    queued: int = 256
    planes_per_stream: int = 512
    plane_bytes: int = 2**32
    frame_pixels: int = 2**26
    network_bytes: int | None = None


class Engine(Protocol):
    """Denoises the frames of many streams, each in order, with fair turns."""

    def device(self) -> EngineDevice:
        """The device on which it runs."""

    def devices(self) -> tuple[DeviceReport, ...]:
        """State of each device; lost ones remain in the list."""

    def models(self) -> Mapping[str, ModelInfo]:
        """The served models, by id."""

    def prepare(self, bundle: Bundle) -> Future[PreparedModel]:
        """Load a bundle for serving while frames are denoised; nothing else changes.

        The future raises DeviceUnavailable, UnsupportedNetwork, TestTensorMismatch, Draining.
        """

    def serve(self, prepared: PreparedModel) -> ModelInfo:
        """Serve a model from now on; it replaces another model with the same id.

        Raises
        ------
        ModelInUse
            When a stream uses the other model.
        Draining
        """

    def withdraw(self, model: str) -> None:
        """Stop serving a model, and free its memory.

        Raises
        ------
        UnknownModel, Draining ModelInUse
            When a stream uses it, or it is the only one.
        """

    def open(self, spec: StreamSpec, resume_state: ResumeState | None = None) -> str:
        """Open a stream, and return its id; its frames wait until its model is loaded.

        With a `resume_state`, the stream continues from there. After `restore_reference` was called for the
        last frames of its planes, its next frames get the same results as in the original stream.

        Raises
        ------
        UnknownModel, WrongDtype, WrongShape, Oversize, TooManyStreams, TooManyPlanes, Draining
        """

    def restore_reference(self, stream: str, task: FrameTask) -> None:
        """Denoise the last frame of a plane of the stream's `resume_state` again, before the plane's next
        frame.

        It has no result. If the reference frame of a plane is not restored, the plane's next frame is
        `unjudged`.

        Raises
        ------
        UnknownStream, StreamClosed, WrongShape, WrongDtype, NotFinite, Draining NotWaitedFor
            When the stream does not wait for this frame.
        """

    def submit(self, stream: str, task: FrameTask) -> Future[EngineResult]:
        """Return the future result of one frame. If the model fails, the result has status "failed"; it is no
        exception.

        Raises
        ------
        UnknownStream, StreamClosed, WrongShape, WrongDtype, NotFinite, TooManyPlanes, StreamQueueFull,
        ServerBusy, Draining
        """

    def skip(self, stream: str, seq_from: int, seq_to: int) -> None:
        """Record that frames `seq_from` to `seq_to` (inclusive) will never arrive.

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
        """Change model or thresholds from frame `from_seq` on; the future is done when the change is certain.

        `thresholds` replace those of the new model's bundle or, without a new model, those in use at that
        frame. The future raises BadUpdate if `from_seq` was already denoised, or if `thresholds` contradict
        each other.

        Raises
        ------
        UnknownStream, StreamClosed, UnknownModel, WrongShape, BadUpdate
        """

    def close(self, stream: str) -> Future[Counts]:
        """Close this stream; the future is done after all accepted frames were answered.

        Raises
        ------
        UnknownStream, StreamClosed
        """

    def drain(self) -> Future[None]:
        """Accept nothing more, answer all accepted frames, then stop; may be called repeatedly."""

    def queue_length(self) -> int:
        """Number of frames that were accepted but not yet answered."""

    def trouble(self) -> str | None:
        """Why frames are not answered until the server is restarted; None while it works."""
