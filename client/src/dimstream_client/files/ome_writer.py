"""OME-XML (2016-06) of a stack that is written page by page: axes, scale, channels, times, labels."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Final
from xml.sax.saxutils import quoteattr

import numpy as np

from dimstream_client.files.ome import LABELS
from dimstream_client.files.scale import Scale

NAMESPACE: Final = "http://www.openmicroscopy.org/Schemas/OME/2016-06"
MOST_PLANES: Final = 100_000
"""Most planes with their own times and labels; readers would need minutes for more."""
UNDATED_BEFORE: Final = 365 * 86_400.0
"""A time of acquisition in 1970 is not a date: its sender knew only the seconds after its start."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=timezone.utc)


@dataclass(frozen=True)
class PlaneNotes:
    """Times and labels of single planes; each list is empty, or has an entry for every plane of the stack.

    Parameters
    ----------
    times_s : sequence of (float or None)
        Seconds after the start of the acquisition.
    labels : sequence of str
        Labels that Fiji shows above the slices; "" for none.
    started_at : float or None
        Start of the acquisition, seconds since 1970; None if unknown.
    """

    times_s: Sequence[float | None] = ()
    labels: Sequence[str] = ()
    started_at: float | None = None


def ome_xml(
    axes: str, shape: tuple[int, ...], dtype: str, scale: Scale, notes: PlaneNotes | None = None
) -> bytes:
    """Return OME-XML for pages stored in the order of `axes`, the first varying slowest; P comes first."""
    sizes = dict(zip(axes, shape))
    positions = sizes.pop("P", 1)
    stored = axes.replace("P", "")[:-2]
    planes = math.prod(sizes[axis] for axis in stored)
    notes = notes or PlaneNotes()
    labels = _labels(notes, positions * planes)
    images = "".join(
        _image(
            p,
            pixels=pixels_attributes(
                "XY" + stored[::-1] + "".join(axis for axis in "CZT" if axis not in stored),
                sizes,
                dtype,
                scale,
            ),
            channels=channels_xml(p, sizes.get("C", 1), scale.channels),
            planes="".join(_planes(stored, sizes, notes, first=p * planes, n=planes)),
            n_planes=planes,
            started_at=notes.started_at,
            labelled=bool(labels),
        )
        for p in range(positions)
    )
    return document(images + labels)


def document(content: str) -> bytes:
    """Return the complete document for its images and annotations."""
    return (
        f'<?xml version="1.0" encoding="UTF-8"?><OME xmlns="{NAMESPACE}" '
        'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" '
        f'xsi:schemaLocation="{NAMESPACE} {NAMESPACE}/ome.xsd" Creator="dimstream">{content}</OME>'
    ).encode()


def pixels_attributes(order: str, sizes: Mapping[str, int], dtype: str, scale: Scale) -> str:
    """Return the attributes of an image; `order` has the fastest axis first, after XY."""
    attributes = {
        "DimensionOrder": order,
        "Type": {"float32": "float"}.get(dtype, dtype),
        **{f"Size{axis}": str(sizes.get(axis, 1)) for axis in "XYCZT"},
    }
    if scale.pixel_size_um:
        attributes["PhysicalSizeX"], attributes["PhysicalSizeY"] = map(repr, scale.pixel_size_um)
    if scale.z_step_um and "Z" in sizes:
        attributes["PhysicalSizeZ"] = repr(scale.z_step_um)
    if scale.frame_interval_s:
        attributes["TimeIncrement"] = repr(scale.frame_interval_s)
    return " ".join(f"{name}={quoted(value)}" for name, value in attributes.items())


def channels_xml(position: int, n: int, names: tuple[str, ...]) -> str:
    """Return the channels of an image, with names if all have one."""
    named = names if len(names) == n else (None,) * n
    return "".join(
        f'<Channel ID="Channel:{position}:{c}" SamplesPerPixel="1"'
        + (f" Name={quoted(name)}/>" if name else "/>")
        for c, name in enumerate(named)
    )


def date_of(started_at: float | None) -> str | None:
    """Return a date in the format of OME; None if unknown, or outside the calendar."""
    try:
        when = None if started_at is None else _EPOCH + timedelta(seconds=started_at)
    except (OverflowError, ValueError):
        return None
    return None if when is None else when.strftime("%Y-%m-%dT%H:%M:%S")


def is_undated(t_acq: float) -> bool:
    """Return whether a time of acquisition is only in seconds after a start without a known date."""
    return abs(t_acq) < UNDATED_BEFORE


def plane_xml(place: Mapping[str, int], time_s: float) -> str:
    """Return the element with the time of a plane; `place` has T, C and Z."""
    where = " ".join(f'The{axis}="{place[axis]}"' for axis in "TCZ")
    return f'<Plane {where} DeltaT="{round(time_s, 6)!r}" DeltaTUnit="s"/>'


def printable(text: str) -> str:
    """Return the text with characters replaced that XML does not allow."""
    return re.sub(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "?", text)


def quoted(text: str) -> str:
    """Return the text as the value of an attribute."""
    return quoteattr(printable(text))


def _planes(stored: str, sizes: Mapping[str, int], notes: PlaneNotes, *, first: int, n: int) -> Iterator[str]:
    """Return the times of the planes of one position, if known."""
    if len(notes.times_s) > MOST_PLANES:
        return
    lengths = tuple(sizes[axis] for axis in stored)
    for plane, time_s in enumerate(notes.times_s[first : first + n]):
        if time_s is not None and math.isfinite(time_s):
            at = np.unravel_index(plane, lengths) if lengths else ()
            yield plane_xml({"T": 0, "C": 0, "Z": 0, **{a: int(i) for a, i in zip(stored, at)}}, time_s)


def _image(
    position: int,
    *,
    pixels: str,
    channels: str,
    planes: str,
    n_planes: int,
    started_at: float | None,
    labelled: bool,
) -> str:
    date = date_of(started_at)
    return (
        f'<Image ID="Image:{position}" Name="Image{position}">'
        + (f"<AcquisitionDate>{date}</AcquisitionDate>" if date else "")
        + f'<Pixels ID="Pixels:{position}" {pixels}>{channels}'
        + f'<TiffData IFD="{position * n_planes}" PlaneCount="{n_planes}"/>{planes}</Pixels>'
        + ('<AnnotationRef ID="Annotation:labels"/>' if labelled else "")
        + "</Image>"
    )


def _labels(notes: PlaneNotes, n_planes: int) -> str:
    """Return the labels of all planes, by page number."""
    if not any(notes.labels) or n_planes > MOST_PLANES:
        return ""
    values = "".join(
        f'<M K="{n}">{_escaped(label)}</M>' for n, label in enumerate(notes.labels[:n_planes]) if label
    )
    return (
        f'<StructuredAnnotations><MapAnnotation ID="Annotation:labels" Namespace="{LABELS}">'
        f"<Value>{values}</Value></MapAnnotation></StructuredAnnotations>"
    )


def _escaped(text: str) -> str:
    return printable(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
