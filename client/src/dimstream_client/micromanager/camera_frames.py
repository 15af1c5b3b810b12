"""Frames from the microscope, with their metadata."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from dimstream_client.feedback.observations import EXPOSURE
from dimstream_client.messages import PlaneIndex
from dimstream_client.micromanager.expected_events import EventKey

_MOST_PROPERTIES: Final = 100
_OTHER_AXES: Final = ("t", "c", "z", "cam")


@dataclass(frozen=True, eq=False)
class CameraFrame:
    """One frame that will be sent to the server.

    Parameters
    ----------
    pixels : (H, W) ndarray
        Counts of the camera; a copy.
    key : EventKey
        Index of its event.
    t_acq : float
        Time of acquisition, seconds since 1970.
    pixel_size_um : float or None
        Side of a pixel; None if unknown.
    meta : mapping
        Metadata that are sent with it.
    settings : mapping of str to float
        Settings of the acquisition, by their names in rules.
    """

    pixels: npt.NDArray[Any]
    key: EventKey
    t_acq: float
    pixel_size_um: float | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, float] = field(default_factory=dict)


class PlaneNumbers:
    """Maps the index of each event to the index in the stream: t, c, z, p.

    Each camera has its own channels. Grids and other axes are numbered as positions, in the order in which
    they come.

    Parameters
    ----------
    cameras : int
        Number of cameras that give a frame at each event.
    """

    def __init__(self, cameras: int = 1) -> None:
        self._cameras = cameras
        self._positions: dict[EventKey, int] = {}

    def index_of(self, key: EventKey) -> PlaneIndex:
        """Return the index in the stream of an event's frame."""
        index = dict(key)
        place = tuple((axis, n) for axis, n in key if axis not in _OTHER_AXES)
        is_plain = all(axis == "p" for axis, _ in place)
        p = index.get("p", 0) if is_plain else self._positions.setdefault(place, len(self._positions))
        c = index.get("c", 0) * self._cameras + index.get("cam", 0)
        return PlaneIndex(t=index.get("t", 0), c=c, z=index.get("z", 0), p=p)


def meta_of(event: Any, meta: Mapping[str, Any]) -> dict[str, Any]:
    """Return the metadata of a frame: its event's index, exposure, position, channel and properties."""
    found: dict[str, Any] = {"event": {str(axis): int(n) for axis, n in event.index.items()}}
    channel = getattr(event, "channel", None)
    values = {
        "channel": getattr(channel, "config", None),
        "channel_group": getattr(channel, "group", None),
        "position_name": getattr(event, "pos_name", None),
        "camera": meta.get("camera_device"),
        EXPOSURE: meta.get(EXPOSURE),
        "position_um": meta.get("position"),
        "runner_time_ms": meta.get("runner_time_ms"),
        "hardware_triggered": meta.get("hardware_triggered"),
    }
    found.update({name: value for name, value in values.items() if value is not None})
    if "position_um" not in found:  # for frames triggered by hardware, the stages are not read
        planned = {axis: getattr(event, f"{axis}_pos", None) for axis in "xyz"}
        found["planned_position_um"] = {axis: um for axis, um in planned.items() if um is not None}
    properties = {f"{one['dev']}/{one['prop']}": one["val"] for one in meta.get("property_values") or ()}
    if properties:
        found["properties"] = dict(list(properties.items())[:_MOST_PROPERTIES])
    if len(properties) > _MOST_PROPERTIES:
        found["properties_left_out"] = len(properties) - _MOST_PROPERTIES
    return found


def settings_of(event: Any, meta: Mapping[str, Any]) -> dict[str, float]:
    """Return the exposure and the numeric properties of a frame's acquisition."""
    found: dict[str, float] = {}
    _add_number(found, EXPOSURE, meta.get(EXPOSURE))
    for one in meta.get("property_values") or ():
        _add_number(found, f"{one['dev']}/{one['prop']}", one["val"])
    for device, prop, value in getattr(event, "properties", None) or ():
        _add_number(found, f"{device}/{prop}", value)
    return found


def pixel_size_of(meta: Mapping[str, Any]) -> float | None:
    """Return the side of a pixel, micrometres; None if unknown (0 in Micro-Manager)."""
    size = meta.get("pixel_size_um")
    return float(size) if size and size > 0 else None


def is_grey(pixels: npt.NDArray[Any]) -> bool:
    """Whether an array of this shape and type can be a frame (H, W) of a stream."""
    return pixels.ndim == 2 and pixels.dtype in (np.uint8, np.uint16, np.float32)


def _add_number(found: dict[str, float], name: str, value: Any) -> None:
    try:
        found[name] = float(value)
    except (TypeError, ValueError):
        pass  # a text, such as the name of a filter
