"""The messages of DIM1, one frozen dataclass for each TYPE.

The order of the fields is the order in which they are written into the header, so the same message is
always the same bytes. `docs/wire-protocol.md` gives every field's unit and bounds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Union

import numpy as np
import numpy.typing as npt

from dimstream_client.errors import Problem
from dimstream_client.quality import (
    Forecast,
    Fractions,
    FrameResult,
    QualityMetrics,
    SplitResult,
    Thresholds,
    Times,
)

__all__ = [
    "Ack",
    "Close",
    "Closed",
    "Credit",
    "Error",
    "Forecast",
    "Fractions",
    "Frame",
    "FrameResult",
    "Message",
    "Model",
    "Open",
    "Opened",
    "Ping",
    "PlaneIndex",
    "Pong",
    "QualityMetrics",
    "Result",
    "Skip",
    "SplitResult",
    "Thresholds",
    "Times",
    "Update",
    "Updated",
]


@dataclass(frozen=True)
class PlaneIndex:
    """Where a frame belongs: time point, channel, z plane, stage position, each counted from 0."""

    t: int = 0
    c: int = 0
    z: int = 0
    p: int = 0


@dataclass(frozen=True)
class Model:
    """The model in force: rescaled counts are ``gain * prediction + offset`` where the bundle declares it."""

    id: str
    sha256: str
    gain: float | None = None
    offset: float | None = None


@dataclass(frozen=True)
class Open:
    """Ask for a stream; the answer is OPENED, or ERROR without a stream.

    `shape` is (H, W). `window` None takes the server's default. `maps` asks for the support map of each
    frame, `sd` for its error bars; `split_every` n for the photons of the frames of every n-th time point to
    be split, 0 for none. `offset` and `gain` say how the detector's values become photons: (value - offset) /
    gain; with neither they are photons. `match_pixel_size` True asks for photons to be scattered onto finer
    pixels where the model knows only such. `priority` "batch" lets a stream give way to all live ones;
    `weight` is that of its share of the server's time. A frame that cannot be answered within `deadline_ms`
    is answered by the raw frame, marked as `fallback`. `stream` and `resume_token` are given together, to
    resume. `state`, of a gateway, is what the stream goes on from, as the results of another server told it.
    """

    TYPE: ClassVar[str] = "OPEN"
    client: str
    shape: tuple[int, int]
    dtype: str
    model: str | None = None
    mode: str = "lossless"
    axes: str = "YX"
    out_dtype: str = "uint16"
    deliver: str = "result"
    save: bool = False
    codecs: tuple[str, ...] = ("none",)
    checksum: str = "none"
    window: int | None = None
    pixel_size_um: float | None = None
    frame_interval_s: float | None = None
    channels: tuple[str, ...] = ()
    maps: bool = False
    sd: bool | None = None  # absent unless asked for: servers that do not know it refuse it
    split_every: int = 0
    offset: float | None = None
    gain: float | None = None
    match_pixel_size: bool | None = None
    priority: str | None = None
    weight: int | None = None
    deadline_ms: float | None = None
    next_result: int = 0
    stream: str | None = None
    resume_token: str | None = None
    user: str | None = None
    state: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Opened:
    """The stream is open; frames may be sent while ``seq < limit``.

    Frames are turned into photons by (value - `offset`) / `gain`; None: their values are taken as photons.
    When it was resumed, `references` are the frames, answered before, that are to be sent again first: they
    get no result, the next frames of their planes are compared with them.
    """

    TYPE: ClassVar[str] = "OPENED"
    stream: str
    resume_token: str
    boot_id: str
    next_seq: int
    limit: int
    reference_frames: int
    model: Model
    thresholds: Thresholds
    max_frame_bytes: int
    lease_s: float
    window: int
    codec: str = "none"
    checksum: str = "none"
    references: tuple[int, ...] = ()
    offset: float | None = None
    gain: float | None = None


@dataclass(frozen=True)
class Frame:
    """One raw frame: `pixels` (H, W), photon counts; `t_acq` seconds since 1970 by the sender's clock."""

    TYPE: ClassVar[str] = "FRAME"
    stream: str
    seq: int
    pixels: npt.NDArray[np.generic] = field(compare=False)
    index: PlaneIndex = field(default_factory=PlaneIndex)
    t_acq: float | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Skip:
    """Frames `seq_from` to `seq_to` (both included) will never come. Costs no credit.

    It takes its place in the sequence like a frame (the server refuses it with sequence_gap when something
    before it is missing), raises the limit on both sides by the number of frames skipped, and is
    answered by CREDIT.
    """

    TYPE: ClassVar[str] = "SKIP"
    stream: str
    seq_from: int
    seq_to: int
    reason: str


@dataclass(frozen=True)
class Result(FrameResult):
    """The answer to one frame; `pixels` (H, W) is None when the frame failed or only flags were asked for.

    `support` (H, W), where maps were asked for, says of each pixel: bits 0 and 1 are its class (0 background,
    1 uncertain, 2 signal), 4: signal is predicted there, 8: without support. `sd` (H, W) float32, where error
    bars were asked for, is the standard deviation of each denoised pixel, in counts. `state`, where OPEN had
    one, is what its plane would go on from.
    """

    TYPE: ClassVar[str] = "RESULT"
    stream: str
    pixels: npt.NDArray[np.generic] | None = field(compare=False)
    limit: int
    index: PlaneIndex = field(default_factory=PlaneIndex)
    error: Problem | None = None
    support: npt.NDArray[np.uint8] | None = field(default=None, compare=False)
    sd: npt.NDArray[np.float32] | None = field(default=None, compare=False)
    state: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Credit:
    """Frames may be sent while ``seq < limit``; limits are absolute and only grow."""

    TYPE: ClassVar[str] = "CREDIT"
    stream: str
    limit: int


@dataclass(frozen=True)
class Ack:
    """Every result before `next_result` has arrived; the server may forget them."""

    TYPE: ClassVar[str] = "ACK"
    stream: str
    next_result: int


@dataclass(frozen=True)
class Update:
    """Take this model or these thresholds from frame `from_seq` on; what is not named stays."""

    TYPE: ClassVar[str] = "UPDATE"
    stream: str
    from_seq: int
    model: str | None = None
    thresholds: Mapping[str, float] | None = None


@dataclass(frozen=True)
class Updated:
    """What is in force from frame `from_seq` on.

    `by` names the operator of the server who has changed it; None when this client has, by UPDATE.
    """

    TYPE: ClassVar[str] = "UPDATED"
    stream: str
    from_seq: int
    model: Model
    thresholds: Thresholds
    by: str | None = None


@dataclass(frozen=True)
class Close:
    """No frame comes after `last_seq`; None when none was ever sent."""

    TYPE: ClassVar[str] = "CLOSE"
    stream: str
    last_seq: int | None = None


@dataclass(frozen=True)
class Closed:
    """The stream is over and its files, each with name, bytes and sha256, are final.

    `error` says why a recording stopped before the stream did, and its files do not hold all of it.
    """

    TYPE: ClassVar[str] = "CLOSED"
    stream: str
    counts: Mapping[str, int]
    files: tuple[Mapping[str, Any], ...] = ()
    error: Problem | None = None


@dataclass(frozen=True)
class Ping:
    """Are you there? `t` comes back unchanged."""

    TYPE: ClassVar[str] = "PING"
    t: float


@dataclass(frozen=True)
class Pong:
    """Here; `boot_id` changes when the server restarts, `queue` is the number of frames waiting in it."""

    TYPE: ClassVar[str] = "PONG"
    t: float
    boot_id: str
    queue: int


@dataclass(frozen=True)
class Error(Problem):
    """A message was refused; with `seq` it was a FRAME or SKIP, without it the oldest unanswered request."""

    TYPE: ClassVar[str] = "ERROR"


Message = Union[
    Open, Opened, Frame, Skip, Result, Credit, Ack, Update, Updated, Close, Closed, Ping, Pong, Error
]  # fmt: skip
