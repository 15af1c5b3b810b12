"""The last frame of a plane, and whether the next one can be compared with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dimstream_models.quality.alignment import Overview


@dataclass(frozen=True, slots=True, eq=False)
class PreviousFrame:
    """The last frame of a plane, with which the next one is compared.

    Parameters
    ----------
    shape : (int, int)
        Rows and columns, px.
    normalised
        Its prediction (H, W), in the pipeline's form; None when there is none.
    overview : Overview or None
        The overview of its prediction.
    why_none : str
        Why there is no prediction when it is None.
    """

    seq: int
    t: int
    shape: tuple[int, int]
    model_sha256: str
    normalised: Any
    overview: Overview | None = None
    why_none: str = "failed"


def why_not_comparable(
    last: PreviousFrame | None,
    *,
    seq: int,
    t: int,
    shape: tuple[int, int],
    model_sha256: str,
    only_plane: bool,
) -> str | None:
    """Return why a frame cannot be compared with the last one of its plane; None when it can.

    Parameters
    ----------
    only_plane : bool
        Whether the stream has only one plane so far. Then frames need no time points of their own.
    """
    if last is None:
        return "first frame"
    if last.model_sha256 != model_sha256:
        return "model changed"
    if last.shape != shape:
        return "shape changed"
    if last.normalised is None:
        return f"the previous frame {last.seq} {last.why_none}"
    if t < last.t:
        return f"time point {t} came after {last.t}"
    if t == last.t and not only_plane and seq != last.seq + 1:
        return f"time point {t} came again"
    return None


def gap_before(last: PreviousFrame, *, seq: int, t: int, only_plane: bool) -> tuple[str | None, int]:
    """Return what is missing between a frame and the last one of its plane, as text, and the time points
    between.

        Parameters
        ----------
        only_plane : bool
            As in `why_not_comparable`. With one plane, a gap in the sequence is a gap in the plane. With
            several planes, the time points decide.
    """
    if only_plane and seq != last.seq + 1:
        return f"gap: {_range('frame', last.seq + 1, seq - 1)} skipped", max(seq - last.seq, t - last.t)
    if t > last.t + 1:
        return f"gap: {_range('time point', last.t + 1, t - 1)} missing", t - last.t
    return None, 1


def _range(noun: str, first: int, final: int) -> str:
    return f"{noun} {first}" if first == final else f"{noun}s {first}-{final}"
