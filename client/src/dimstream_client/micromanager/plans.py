"""The plan of a run before its first frame, and the settings of its streams."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class StreamSettings:
    """Settings of the streams, as in `Client.open`."""

    model: str | None = None
    out_dtype: str | None = None
    deliver: str | None = None
    save: bool | None = None
    checksum: str | None = None
    window: int | None = None
    maps: bool | None = None
    sd: bool | None = None
    split_every: int | None = None
    user: str | None = None


@dataclass(frozen=True)
class Plan:
    """Data of a run at its start.

    Parameters
    ----------
    events : iterable or None
        The planned events, in order; None if they are made during the run.
    cameras : int
        Number of cameras that give a frame at each event.
    axes, channels, frame_interval_s
        As in `Client.open`; None if unknown.
    is_live : bool
        Live mode: only the newest frames matter, and skipped images are not errors.
    """

    events: Iterable[Any] | None = None
    cameras: int = 1
    axes: str | None = None
    channels: tuple[str, ...] | None = None
    frame_interval_s: float | None = None
    is_live: bool = False


def plan_of(sequence: Any, summary: Mapping[str, Any]) -> Plan:
    """Return the plan of a ``useq.MDASequence``.

    Parameters
    ----------
    summary : mapping
        Summary of the microscope from ``sequenceStarted``.
    """
    infos: Sequence[Mapping[str, Any]] = summary.get("image_infos") or ({},)
    cameras = int(infos[0].get("num_camera_adapter_channels", 1))
    if not getattr(sequence, "axis_order", ()):  # means that events are made during the run
        return Plan(cameras=cameras)
    used = [str(getattr(axis, "value", axis)) for axis in sequence.used_axes]
    names = [channel.config for channel in sequence.channels]
    if cameras > 1:
        labels = [info.get("camera_label", str(n)) for n, info in enumerate(infos)]
        labels += [str(n) for n in range(len(labels), cameras)]
        names = [f"{name} {label}".strip() for name in names or [""] for label in labels[:cameras]]
    interval = getattr(sequence.time_plan, "interval", None)
    interval_s = interval.total_seconds() if interval is not None else 0.0
    return Plan(
        events=sequence,
        cameras=cameras,
        axes="".join(axis.upper() for axis in used if axis in "tpcz") + "YX",
        channels=tuple(names[:64]) or None,
        frame_interval_s=interval_s if interval_s > 0 else None,
    )
