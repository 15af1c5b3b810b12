"""What a stream leaves behind after each frame: little enough to be written down, enough to go on from.

Predictions are not in it: they are made again from the last raw frame of each plane, which the client keeps.
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
    """What became of the frames of a stream."""

    done: int = 0
    failed: int = 0
    skipped: int = 0
    ok: int = 0
    suspect: int = 0
    unjudged: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class PlaneRecord:
    """A plane after one of its frames.

    Parameters
    ----------
    plane : tuple of int
        (channel, z, position).
    seq, t : int
        Of the frame.
    model_sha256 : str
        The model that denoised it.
    predicted : bool
        Whether there is a prediction of it; False when it failed.
    judge : mapping
        `dimstream_models.judging.PlaneJudge.state` after it, which JSON holds.
    fallback : bool
        Whether it was answered by itself, for want of time.
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
    """What a stream goes on from.

    Parameters
    ----------
    next_seq : int
        The frame that comes next.
    planes : tuple of PlaneRecord
        The last frame of each plane before it.
    counts : Counts
        Of the frames before it.
    thresholds : Thresholds
        In force, with the model that the stream is opened with.
    decided : mapping
        Of frames from `next_seq` on that were answered before, whether it was a fallback: it is again.
    """

    next_seq: int
    planes: tuple[PlaneRecord, ...]
    counts: Counts
    thresholds: Thresholds
    decided: Mapping[int, bool] = field(default_factory=dict)
