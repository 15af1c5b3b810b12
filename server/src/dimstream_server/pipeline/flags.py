"""Whether a prediction can be believed: the flag of a frame and the reason for it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final, Literal

from dimstream_models.bundle import Bundle
from dimstream_server.errors import BadUpdate

FlagName = Literal["ok", "suspect", "unjudged"]
HIGHEST_COUNT: Final = 1e12
"""Photons in a window, as a threshold: far above any detector and exact enough in float32."""


@dataclass(frozen=True, slots=True)
class Thresholds:
    """What a stream's frames are judged by.

    Parameters
    ----------
    ssim : float or None
        Below this SSIM with the plane's previous prediction a frame is suspect; None: never judged.
    background_max, signal_min : float
        Photon counts in a window: at most `background_max` is background, above `signal_min` is signal.
    """

    ssim: float | None
    background_max: float = 5.0
    signal_min: float = 25.0


@dataclass(frozen=True, slots=True)
class NewThresholds:
    """Thresholds that are to change; None: unchanged."""

    ssim: float | None = None
    background_max: float | None = None
    signal_min: float | None = None

    def over(self, before: Thresholds) -> Thresholds:
        """What is in force once these were put over `before`.

        Raises
        ------
        BadUpdate
            A window could be background and signal at once, or a threshold is no photon count.
        """
        after = Thresholds(
            ssim=before.ssim if self.ssim is None else self.ssim,
            background_max=before.background_max if self.background_max is None else self.background_max,
            signal_min=before.signal_min if self.signal_min is None else self.signal_min,
        )
        if not 0 <= after.background_max <= after.signal_min <= HIGHEST_COUNT:
            raise BadUpdate(
                f"expected 0 <= background_max <= signal_min <= {HIGHEST_COUNT:g}, "
                f"got {after.background_max:g} and {after.signal_min:g}; change both in one UPDATE"
            )
        return after


@dataclass(frozen=True, slots=True)
class Flag:
    """Judgement of one frame; `reason` is None when it is "ok"."""

    flag: FlagName
    reason: str | None


@dataclass(frozen=True, slots=True, eq=False)
class Remembered:
    """The last frame of a plane, with which the next is compared.

    Parameters
    ----------
    normalised
        Its prediction on the model's device; None when the frame failed.
    """

    seq: int
    t: int
    shape: tuple[int, int]
    model_sha256: str
    normalised: Any


def thresholds_of(bundle: Bundle) -> Thresholds:
    """The thresholds that a bundle brings."""
    own = bundle.thresholds
    return Thresholds(ssim=own.ssim, background_max=own.background_max, signal_min=own.signal_min)


def obstacle(
    last: Remembered | None,
    *,
    seq: int,
    t: int,
    shape: tuple[int, int],
    model_sha256: str,
    only_plane: bool,
) -> str | None:
    """Why a frame cannot be compared with the last one of its plane; None when it can.

    Parameters
    ----------
    only_plane : bool
        Whether the stream has one plane so far. Then a hole in the sequence is a hole in the plane; with
        several planes the time points tell.
    """
    if last is None:
        return "first frame"
    if last.normalised is None:
        return f"the previous frame {last.seq} failed"
    if last.model_sha256 != model_sha256:
        return "model changed"
    if last.shape != shape:
        return "shape changed"
    return _gap(last, seq, t, only_plane=only_plane)


def judge(
    *,
    obstacle: str | None,
    ssim: float | None,
    thresholds: Thresholds,
    minimum: float,
    maximum: float,
    background: float,
) -> Flag:
    """Flag of a frame that was denoised.

    Parameters
    ----------
    obstacle : str or None
        Why there is no comparison, from `obstacle`; then `ssim` is not looked at.
    ssim : float or None
        SSIM with the plane's previous prediction.
    minimum, maximum : float
        Of the raw frame. One value everywhere carries no image, whatever the network makes of it.
    background : float
        Fraction of background pixels. Where a calibrated bundle finds nothing else there is no signal to
        restore; two such predictions can be alike only because both are flat.
    """
    if minimum == maximum:
        return Flag("suspect", f"blank frame: every pixel is {minimum:g}")
    if thresholds.ssim is not None and background >= 1:
        return Flag("suspect", f"no signal: no window holds more than {thresholds.background_max:g} photons")
    if obstacle is not None:
        return Flag("unjudged", obstacle)
    if thresholds.ssim is None:
        return Flag("unjudged", "no SSIM threshold in the bundle")
    if ssim is None or not math.isfinite(ssim):
        return Flag("unjudged", "SSIM is not a number")
    if ssim < thresholds.ssim:
        digits = 2 if round(ssim, 2) != round(thresholds.ssim, 2) else 5
        return Flag("suspect", f"SSIM {ssim:.{digits}f} below {thresholds.ssim:.{digits}f}")
    return Flag("ok", None)


def _gap(last: Remembered, seq: int, t: int, *, only_plane: bool) -> str | None:
    if only_plane and seq != last.seq + 1:
        return f"gap: {_range('frame', last.seq + 1, seq - 1)} skipped"
    if t < last.t:
        return f"gap: time point {t} came after {last.t}"
    if t > last.t + 1:
        return f"gap: {_range('time point', last.t + 1, t - 1)} missing"
    if t == last.t and seq != last.seq + 1:
        return f"gap: time point {t} came again"
    return None


def _range(noun: str, first: int, final: int) -> str:
    return f"{noun} {first}" if first == final else f"{noun}s {first}-{final}"
