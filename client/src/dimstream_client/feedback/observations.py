"""Input of rules: the server's assessment of a frame, and the settings of its acquisition."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from dimstream_client.messages import PlaneIndex
from dimstream_client.quality import FlagName, FrameResult

EXPOSURE = "exposure_ms"
"""Name of the exposure among the settings of a frame."""
Plane = tuple[int, int, int]


@dataclass(frozen=True)
class Observation:
    """One frame, as input of rules.

    Parameters
    ----------
    seq : int
        Number of the frame in its stream.
    t_acq : float or None
        Time of acquisition, seconds since 1970.
    flag, reason, notes
        The server's assessment; None if the frame failed.
    shift_px : (int, int) or None
        Motion since the previous frame: rows and columns, pixels.
    mean_photons : float or None
        Mean of the raw frame, photons per pixel; None if unknown.
    minutes_left, frames_left : float or None
        Forecast of the time until the plane is suspect; None without a significant decline. Minutes are also
        None if the frame interval is unknown.
    settings : mapping of str to float
        Settings of the acquisition: ``exposure_ms`` in milliseconds, ``DEVICE/PROPERTY`` in the device's
        unit.
    """

    seq: int
    index: PlaneIndex = field(default_factory=PlaneIndex)
    t_acq: float | None = None
    flag: FlagName | None = None
    reason: str | None = None
    notes: tuple[str, ...] = ()
    shift_px: tuple[int, int] | None = None
    mean_photons: float | None = None
    minutes_left: float | None = None
    frames_left: float | None = None
    settings: Mapping[str, float] = field(default_factory=dict)

    @property
    def plane(self) -> Plane:
        """Channel, z plane and position; each plane has its own history."""
        return self.index.c, self.index.z, self.index.p


def observation_of(
    result: FrameResult,
    index: PlaneIndex,
    *,
    t_acq: float | None = None,
    mean_photons: float | None = None,
    settings: Mapping[str, float] | None = None,
) -> Observation:
    """Return the input of rules for a frame and its result."""
    quality = result.quality
    forecast = None if quality is None else quality.forecast
    return Observation(
        seq=result.seq,
        index=index,
        t_acq=t_acq,
        flag=result.flag if result.status == "done" else None,
        reason=result.reason,
        notes=() if quality is None else tuple(quality.notes),
        shift_px=None if quality is None else quality.shift_px,
        mean_photons=mean_photons,
        minutes_left=None if forecast is None else forecast.minutes,
        frames_left=None if forecast is None else forecast.frames,
        settings=dict(settings or {}),
    )
