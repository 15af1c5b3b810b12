"""The frames that an engine has accepted but not yet answered, and the bounds on them.

Both the callers' threads and the device thread write this data; the engine guards it with its lock.
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, get_args

import numpy as np

from dimstream_models.bundle import Bundle
from dimstream_server.engine.pixel_matching import parts_of
from dimstream_server.engine.protocol import EngineLimits, FrameTask, InDtype, OutDtype, StreamSpec
from dimstream_server.engine.resume_state import Plane, ResumeState
from dimstream_server.errors import (
    BadUpdate,
    Draining,
    NoErrorBar,
    NotFinite,
    NotWaitedFor,
    OnlyLabels,
    Oversize,
    ServerBusy,
    StreamClosed,
    StreamQueueFull,
    TooManyPlanes,
    TooManyStreams,
    UnknownStream,
    WrongDtype,
    WrongShape,
)

LOWEST_SIDE: Final = 8
PLANE_BYTES: Final = 6  # per pixel: 4 for the prediction, the rest for its overview and derived values


@dataclass(slots=True)
class _StreamQuota:
    spec: StreamSpec
    keeps_frames: bool = False
    parts: int = 1  # finer pixels along the side of a pixel
    queued: int = 0
    closing: bool = False
    planes: set[Plane] = field(default_factory=set)
    forgotten: dict[Plane, int] = field(default_factory=dict)  # reference frames that may be sent again
    models: Counter[str] = field(default_factory=Counter)  # of the present state, and of waiting updates

    @property
    def plane_bytes(self) -> int:
        """Bytes that are kept of one plane."""
        pixels = self.spec.shape[0] * self.spec.shape[1]
        raw = np.dtype(self.spec.in_dtype).itemsize if self.keeps_frames else 0
        return pixels * (PLANE_BYTES * self.parts**2 + raw)


class Quotas:
    """Quotas of the open streams; every method is fast, and none blocks.

    Parameters
    ----------
    keeps_frames : bool
        Whether the last raw frame of each plane is kept.
    """

    def __init__(self, limits: EngineLimits, *, keeps_frames: bool = False) -> None:
        self._keeps_frames = keeps_frames
        self.queued = 0
        self.draining = False
        self.stopped = False
        self.loading: Counter[str] = Counter()  # number of keys that are being loaded, by model
        self._limits = limits
        self._plane_bytes = 0
        self._streams: dict[str, _StreamQuota] = {}

    def open(self, spec: StreamSpec, resume_state: ResumeState | None = None, *, parts: int = 1) -> str:
        """Add a stream, and return its id.

        Parameters
        ----------
        parts : int
            Finer pixels along one side of each pixel in the model's input.

        Raises
        ------
        Draining, TooManyStreams, TooManyPlanes
        """
        self.check_serving()
        if len(self._streams) >= self._limits.streams:
            raise TooManyStreams(
                f"{self._limits.streams} streams are open, expected at most as many; close one or try again "
                "later"
            )
        quota = _StreamQuota(spec, self._keeps_frames, parts)
        records = () if resume_state is None else resume_state.planes
        self._add_planes(quota, {record.plane for record in records})
        quota.models[spec.model] += 1
        quota.forgotten = {record.plane: record.seq for record in records if record.predicted}
        stream = secrets.token_hex(8)
        self._streams[stream] = quota
        return stream

    def restore_reference(self, stream: str, task: FrameTask) -> None:
        """Record that the last frame of a plane was sent again.

        Raises
        ------
        UnknownStream, StreamClosed, NotWaitedFor, Draining
        """
        self.check_serving()
        quota = self._open_quota(stream)
        if quota.forgotten.get(task.plane) != task.seq:
            raise NotWaitedFor(f"frame {task.seq} of plane {task.plane} is not expected; send the next frame")
        del quota.forgotten[task.plane]

    def spec(self, stream: str) -> StreamSpec:
        """Return the settings of a stream that is open or closing.

        Raises
        ------
        UnknownStream
        """
        return self._quota(stream).spec

    def check_parts(self, stream: str, parts: int, model: str) -> None:
        """Refuse a model for which a stream's pixels would be divided differently.

        Raises
        ------
        UnknownStream, BadUpdate
        """
        now = self._quota(stream).parts
        if parts != now:
            raise BadUpdate(
                f"expected a model for which pixels are divided into {now}x{now} as before, but {model} "
                f"needs {parts}x{parts}: open a new stream"
            )

    def accept(self, stream: str, task: FrameTask) -> None:
        """Record one more frame.

        Raises
        ------
        UnknownStream, StreamClosed, TooManyPlanes, StreamQueueFull, ServerBusy, Draining
        """
        self.check_serving()
        quota = self._open_quota(stream)
        limits = self._limits
        if quota.queued >= limits.queued_per_stream:
            raise StreamQueueFull(
                f"{quota.queued} frames of this stream are waiting, which is the limit; wait for results"
            )
        if self.queued >= limits.queued:
            raise ServerBusy(
                f"{self.queued} frames of all streams are waiting, which is the limit; try again later"
            )
        if task.plane not in quota.planes:
            self._add_planes(quota, {task.plane})
        quota.queued += 1
        self.queued += 1

    def answered(self, stream: str) -> None:
        """Record that one accepted frame was answered."""
        self._streams[stream].queued -= 1
        self.queued -= 1

    def queued_of(self, streams: Iterable[str]) -> int:
        """Number of frames of these streams that were accepted but not yet answered."""
        return sum(self._streams[stream].queued for stream in streams if stream in self._streams)

    def check_open(self, stream: str) -> None:
        """Raise UnknownStream or StreamClosed unless the stream accepts frames."""
        self._open_quota(stream)

    def check_serving(self) -> None:
        """Raise Draining if nothing more is accepted."""
        if self.draining:
            raise Draining(
                "the server is stopping and accepts no new streams or frames; send them again later"
            )

    def uses(self, stream: str, model: str) -> None:
        """Record that an update will use a model."""
        self._streams[stream].models[model] += 1

    def left(self, stream: str, model: str) -> None:
        """Record that a stream no longer uses a model, or never will."""
        self._streams[stream].models[model] -= 1

    def users(self, model: str) -> int:
        """Return how many streams use a model, or will."""
        return sum(quota.models[model] > 0 for quota in self._streams.values())

    def closing(self, stream: str) -> None:
        """Record that a stream accepts no more frames.

        Raises
        ------
        UnknownStream, StreamClosed
        """
        self._open_quota(stream).closing = True

    def closed(self, stream: str) -> None:
        """Remove a stream whose frames were all answered."""
        quota = self._streams.pop(stream)
        self._plane_bytes -= quota.plane_bytes * len(quota.planes)

    def _add_planes(self, quota: _StreamQuota, planes: set[Plane]) -> None:
        limits = self._limits
        named = ", ".join(map(str, sorted(planes)[:3]))
        if len(quota.planes) + len(planes) > limits.planes_per_stream:
            raise TooManyPlanes(
                f"a stream may have at most {limits.planes_per_stream} (channel, z, position) planes; "
                f"{named} would be more: use several streams"
            )
        if self._plane_bytes + quota.plane_bytes * len(planes) > limits.plane_bytes:
            raise TooManyPlanes(
                f"the planes of all streams may use at most {limits.plane_bytes} bytes for predictions; "
                f"{named} would be more: use fewer (channel, z, position) planes, or raise "
                "limits.max_plane_bytes"
            )
        quota.planes |= planes
        self._plane_bytes += quota.plane_bytes * len(planes)

    def _quota(self, stream: str) -> _StreamQuota:
        if self.stopped:
            raise Draining("the engine has stopped")
        quota = self._streams.get(stream)
        if quota is None:
            raise UnknownStream(f"no open stream has the id {stream!r}; open one first")
        return quota

    def _open_quota(self, stream: str) -> _StreamQuota:
        quota = self._quota(stream)
        if quota.closing:
            raise StreamClosed(f"stream {stream} was closed; open a new one")
        return quota


def check_spec(spec: StreamSpec, bundle: Bundle, limits: EngineLimits) -> int:
    """Check the settings of a new stream; return into how many finer pixels a pixel's side is divided.

    Raises
    ------
    WrongShape, WrongDtype, Oversize, NoErrorBar, OnlyLabels, CannotMatchPixels
    """
    if bundle.classes and (spec.deliver_maps or spec.match_pixel_size):
        raise OnlyLabels(
            f"model {bundle.id} classifies pixels ({', '.join(bundle.classes)}) and does not denoise, so maps"
            " and match_pixel_size are not available: leave them out, or name another model"
        )
    if spec.deliver_sd and bundle.error_bar is None:
        raise NoErrorBar(
            f"model {bundle.id} has no error bar, but sd was requested: leave sd out, or name another model"
        )
    for name, dtype, known in (
        ("in_dtype", spec.in_dtype, get_args(InDtype)),
        ("out_dtype", spec.out_dtype, get_args(OutDtype)),
    ):
        if dtype not in known:
            raise WrongDtype(f"expected {name} to be one of {', '.join(known)}, got {dtype!r}")
    lowest = max(LOWEST_SIDE, bundle.ssim.window)
    if len(spec.shape) != 2 or min(spec.shape) < lowest:
        raise WrongShape(f"expected frames (H, W) with sides of at least {lowest} px, got {spec.shape}")
    parts = parts_of(spec, bundle)
    if spec.shape[0] * spec.shape[1] * parts**2 > limits.frame_pixels:
        divided = f", each divided into {parts}x{parts}," if parts > 1 else ""
        raise Oversize(f"expected frames of at most {limits.frame_pixels} pixels, got {spec.shape}{divided}")
    return parts


def check_frame(task: FrameTask, spec: StreamSpec) -> None:
    """Check a frame against its stream.

    Raises
    ------
    WrongShape, WrongDtype, NotFinite
    """
    pixels = task.pixels
    if pixels.shape != spec.shape:
        raise WrongShape(
            f"frame {task.seq} has shape {pixels.shape}, its stream was opened with {spec.shape}"
        )
    if pixels.dtype != np.dtype(spec.in_dtype):
        raise WrongDtype(f"frame {task.seq} is {pixels.dtype}, its stream was opened with {spec.in_dtype}")
    # minimum and maximum are NaN or infinite if any value is, and need no mask
    if spec.in_dtype == "float32" and not np.isfinite((pixels.min(), pixels.max())).all():
        raise NotFinite(f"frame {task.seq} contains NaN or infinity; photon counts must be finite")
