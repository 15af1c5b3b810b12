"""Pixel size, time step and channel names of a TIFF file: read from OME-XML or ImageJ."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from xml.etree import ElementTree

_MICROMETRES: Final[Mapping[str, float]] = {
    **dict.fromkeys(("um", "µm", "μm", "micron", "microns", "micrometer", "\\u00b5m"), 1.0),
    **dict.fromkeys(("nm", "nanometer"), 1e-3),
    **dict.fromkeys(("mm", "millimeter"), 1e3),
    **dict.fromkeys(("cm", "centimeter"), 1e4),
    "m": 1e6,
    "pm": 1e-6,
    "Å": 1e-4,
}
_SECONDS: Final[Mapping[str, float]] = {
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), 1.0),
    **dict.fromkeys(("ms", "msec"), 1e-3),
    **dict.fromkeys(("µs", "μs", "us"), 1e-6),
    **dict.fromkeys(("min", "minute", "minutes"), 60.0),
    **dict.fromkeys(("h", "hour", "hours"), 3600.0),
}
_PRINTED_UM: Final = 10.0  # coarser than this, the resolution tag is meant for a printer


@dataclass(frozen=True)
class Scale:
    """What one step along the axes means; None where the file does not say."""

    pixel_size_um: float | None = None
    z_step_um: float | None = None
    frame_interval_s: float | None = None
    channels: tuple[str, ...] = ()


def scale_of_ome(xml: str) -> Scale:
    """Return the scale that the first image of OME-XML declares."""
    root = ElementTree.fromstring(xml)
    pixels = next((node for node in root.iter() if node.tag.rpartition("}")[2] == "Pixels"), None)
    if pixels is None:
        return Scale()
    names = [node.get("Name") for node in pixels if node.tag.rpartition("}")[2] == "Channel"]
    return Scale(
        pixel_size_um=_measure(pixels, "PhysicalSizeX", _MICROMETRES, "µm"),
        z_step_um=_measure(pixels, "PhysicalSizeZ", _MICROMETRES, "µm"),
        frame_interval_s=_measure(pixels, "TimeIncrement", _SECONDS, "s"),
        channels=tuple(name for name in names if name) if all(names) else (),
    )


def planes_of_ome(xml: str) -> float:
    """Return how many planes OME-XML declares: of all images, of all their entries, or along a lifetime axis.

    Whoever reads the file makes lists of that length, so it is to be looked at first.
    """
    images, entries, along = 0.0, 0.0, 0.0
    for node in ElementTree.fromstring(xml).iter():
        name = node.tag.rpartition("}")[2]
        if name == "Pixels":
            images += math.prod(float(node.get(f"Size{axis}", 1)) for axis in "ZCT")
        elif name == "TiffData":
            entries += float(node.get("PlaneCount", node.get("NumPlanes", 1)))
        elif name.startswith("ModuloAlong") and "Start" in node.attrib:
            length = float(node.get("End", 0)) - float(node.get("Start", 0))
            along = max(along, abs(length) / max(abs(float(node.get("Step", 1))), 1e-9))
    return max(images, entries, along)


def scale_of_imagej(metadata: Mapping[str, Any], pixels_per_unit: float | None) -> Scale:
    """Return the scale that ImageJ wrote; `pixels_per_unit` is the resolution tag."""
    unit = _MICROMETRES.get(str(metadata.get("unit", "")).strip())
    spacing = _positive(metadata.get("spacing"))
    rate = _positive(metadata.get("fps"))
    interval = _positive(metadata.get("finterval")) or (1 / rate if rate else None)
    second = _SECONDS.get(str(metadata.get("tunit", "s")).strip())
    return Scale(
        pixel_size_um=_positive(unit / pixels_per_unit if unit and pixels_per_unit else None),
        z_step_um=_positive(unit * spacing if unit and spacing else None),
        frame_interval_s=_positive(interval * second if second and interval else None),
    )


def scale_of_resolution(pixels_per_unit: float | None, unit: int) -> Scale:
    """Return the scale of a plain TIFF: resolutions that only a printer means are passed over."""
    per_unit_um = {2: 25_400.0, 3: 10_000.0}.get(unit)
    if per_unit_um is None or not pixels_per_unit:
        return Scale()
    size = per_unit_um / pixels_per_unit
    return Scale(pixel_size_um=_positive(size) if size < _PRINTED_UM else None)


def _measure(
    pixels: ElementTree.Element, name: str, units: Mapping[str, float], default: str
) -> float | None:
    text, unit = pixels.get(name), units.get(pixels.get(name + "Unit", default))
    if text is None or unit is None:
        return None
    try:
        return _positive(float(text) * unit)
    except ValueError:
        return None


def _positive(value: Any) -> float | None:
    if isinstance(value, (int, float)) and 0 < value < float("inf"):
        return float(f"{value:.9g}")
    return None
