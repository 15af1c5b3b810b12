"""The state of a stream after each frame: small enough to be stored, and sufficient to resume from.

Predictions are not part of it: they are calculated again from the last raw frame of each plane, which the
client keeps.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dimstream_client.quality import Thresholds

Plane = tuple[int, int, int]
"""(channel, z, position)."""


@dataclass(frozen=True, slots=True)
class Counts:
    """Numbers of frames of a stream, by outcome."""

    done: int = 0
    failed: int = 0
    skipped: int = 0
    ok: int = 0
    suspect: int = 0
    unjudged: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class PlaneRecord:
    """State of a plane after one of its frames.

    Parameters
    ----------
    plane : tuple of int
        (channel, z, position).
    seq, t : int
        Number and time point of the frame.
    model_sha256 : str
        The model that denoised it.
    predicted : bool
        Whether there is a prediction of it; False if it failed.
    judge : mapping
        `dimstream_models.judging.PlaneJudge.state` after it, as JSON values.
    fallback : bool
        Whether it was answered with the raw frame because of the deadline.
    """

    plane: Plane
    seq: int
    t: int
    model_sha256: str
    predicted: bool
    judge: Mapping[str, Any]
    fallback: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class ResumeState:
    """The state from which a stream is resumed.

    Parameters
    ----------
    next_seq : int
        The next frame.
    planes : tuple of PlaneRecord
        State of each plane after its last frame before that.
    counts : Counts
        Counts of the frames before that.
    thresholds : Thresholds
        Present thresholds; the model is the one with which the stream is opened.
    decided : mapping
        For frames from `next_seq` on that were answered before: whether they were fallbacks, which is
        repeated.
    """

    next_seq: int
    planes: tuple[PlaneRecord, ...]
    counts: Counts
    thresholds: Thresholds
    decided: Mapping[int, bool] = field(default_factory=dict)
