"""One frame as it can be shown: its figures in the words of the wire, its images, its row of the timeline."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from dimstream_client.quality import FrameResult, figures, parts_of, plain
from dimstream_server.recording.playback import PlayedFrame
from dimstream_server.streams import SeenFrame

FLAGS: Final = ("ok", "unjudged", "failed", "suspect")
"""What `flag` counts, the worst last; `failed` is the status of a frame that has no flag of its own."""

COLUMNS: Final[dict[str, np.dtype[Any]]] = {
    "seq": np.dtype("<f8"),
    "time": np.dtype("<f8"),  # t_acq, or when it was answered where the sender gives none; seconds
    "plane": np.dtype("<u2"),  # its place in the stream's list of planes
    "flag": np.dtype("<u1"),
    "ssim": np.dtype("<f4"),  # the better of both, as it is judged
    "correlation": np.dtype("<f4"),
    "structure_score": np.dtype("<f4"),
    "background": np.dtype("<f4"),
    "signal": np.dtype("<f4"),
    "unsupported_fraction": np.dtype("<f4"),
    "intensity": np.dtype("<f4"),  # mean of the raw frame, in units of the detector
    "total_ms": np.dtype("<f4"),
}
Row = tuple[float, ...]
"""One number for each of `COLUMNS`; NaN where there is none."""
Plane = tuple[int, int, int]
"""(channel, z, position)."""
_FIGURES: Final = (
    *("seq", "index", "t_acq", *(one.name for one in figures(FrameResult) if one.name != "seq")),
    *("model", "error"),
)


@dataclass(frozen=True, slots=True, eq=False)
class ShownFrame:
    """A frame that can be shown.

    Parameters
    ----------
    source : {"memory", "recording"}
        Where its images come from.
    answered_at : float or None
        Seconds since 1970; None of a recorded one.
    figures : dict
        What is known of it, in the words of RESULT and FRAME (`docs/wire-protocol.md`).
    images : dict
        `raw`, `denoised`, `support` as far as there are such: (H, W).
    """

    source: Literal["memory", "recording"]
    answered_at: float | None
    figures: dict[str, Any]
    images: dict[str, NDArray[Any]]

    @classmethod
    def of_seen(cls, seen: SeenFrame, answered_at: float) -> ShownFrame:
        """A frame that the engine has answered just now."""
        found = {"raw": seen.frame.pixels, "denoised": seen.result.pixels, "support": seen.result.support}
        images = {kind: pixels for kind, pixels in found.items() if pixels is not None}
        return cls("memory", answered_at, _figures_of(seen), images)

    @classmethod
    def of_played(cls, played: PlayedFrame) -> ShownFrame:
        """A recorded frame."""
        return cls("recording", None, {name: played.line.get(name) for name in _FIGURES}, played.images)

    @property
    def seq(self) -> int:
        """Its number in its stream."""
        return int(self.figures["seq"])

    @property
    def plane(self) -> Plane:
        """Where it belongs, but for its time."""
        return plane_of(self.figures["index"])

    @property
    def flag(self) -> str:
        """One of `FLAGS`."""
        return "failed" if self.figures["status"] == "failed" else str(self.figures["flag"])

    @property
    def nbytes(self) -> int:
        """Of its images."""
        return sum(image.nbytes for image in self.images.values())


def plane_of(index: Mapping[str, int]) -> Plane:
    """Where a frame belongs, but for its time."""
    return index["c"], index["z"], index["p"]


def row_of(
    figures: Mapping[str, Any], *, plane: int, intensity: float = math.nan, answered_at: float = math.nan
) -> Row:
    """The row of a frame by its figures."""
    quality, fractions = figures["quality"] or {}, figures["fractions"] or {}
    ssims = [value for value in (figures["ssim_prev"], quality.get("ssim_aligned")) if value is not None]
    failed = figures["status"] == "failed"
    return (
        figures["seq"],
        answered_at if figures["t_acq"] is None else figures["t_acq"],
        plane,
        FLAGS.index("failed" if failed else figures["flag"]),
        max(ssims, default=math.nan),
        _number(quality.get("correlation")),
        _number(quality.get("structure_score")),
        _number(fractions.get("background")),
        _number(fractions.get("signal")),
        _number(quality.get("unsupported_fraction")),
        intensity,
        _number(figures["t_ms"]["total"]),
    )


def _figures_of(seen: SeenFrame) -> dict[str, Any]:
    frame, result = seen.frame, seen.result
    return {
        "seq": frame.seq,
        "index": plain(frame.index),
        "t_acq": frame.t_acq,
        **{name: plain(value) for name, value in parts_of(result).items()},
        "model": result.model_id,
        "error": result.error,
    }


def _number(value: float | None) -> float:
    return math.nan if value is None else value
