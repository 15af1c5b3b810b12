"""Read OME-XML: images, their scale, and the location and time of each plane."""

from __future__ import annotations

import codecs
import datetime
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final
from xml.etree import ElementTree

import numpy as np
import numpy.typing as npt

from dimstream_client.errors import Code, TiffError
from dimstream_client.files.scale import Scale, magnitude, micrometres, pair, positive, seconds

MAX_PLANES: Final = 1_000_000  # more would take minutes to list
MAX_XML: Final = 64 * 2**20  # characters
MAX_ELEMENTS: Final = 1_000_000  # tags of OME-XML: some seconds, and some 100 MB
LABELS: Final = "urn:dimstream:labels"
"""Namespace of the annotation with the labels of planes, for which OME has no element."""
_AXES: Final = "TCZ"


@dataclass(frozen=True)
class Piece:
    """Location of planes of an image: `count` pages of a file from `ifd` on; None: all pages."""

    first: tuple[int, int, int]  # (t, c, z)
    ifd: int
    count: int | None
    uuid: str
    file: str


@dataclass(frozen=True)
class OmeImage:
    """One image that OME-XML declares.

    Parameters
    ----------
    axes, shape
        The axes that are longer than 1, slowest first, ending in ``YX``.
    delta_t_s : (N,) float, optional
        In the order of `axes`.
    """

    name: str
    axes: str
    shape: tuple[int, ...]
    sizes: dict[str, int]
    order: str
    type: str
    samples: int
    scale: Scale
    pieces: tuple[Piece, ...]
    delta_t_s: npt.NDArray[np.float64] | None
    started_s: float | None
    remarks: tuple[str, ...] = ()

    @property
    def planes(self) -> int:
        """Number of declared planes."""
        return math.prod(self.sizes.values())

    def number(self, t: int, c: int, z: int) -> int:
        """Return the number of a plane in the order of `axes`; -1 if it does not exist."""
        at = {"T": t, "C": c, "Z": z}
        number = 0
        for axis in self.order:
            if not 0 <= at[axis] < self.sizes[axis]:
                return -1
            number = number * self.sizes[axis] + at[axis]
        return number

    def places(self, piece: Piece, count: int) -> Iterator[int]:
        """Yield the number of each plane of a piece, in the order of the axes."""
        start = self.number(*piece.first)
        for k in range(count):
            number = start + k
            yield number if start >= 0 and number < self.planes else -1


@dataclass(frozen=True)
class Ome:
    """Content of OME-XML."""

    uuid: str
    images: tuple[OmeImage, ...]
    master: tuple[str, str] | None = None  # name and UUID of the file that has the metadata
    modulo: tuple[str, ...] = ()
    labels: Mapping[int, str] = field(default_factory=dict)
    """Labels of pages, by page number, as written by dimstream."""


def xml_text(data: bytes) -> str:
    """Return the text of an XML file: UTF-16 if it has a byte order mark, else UTF-8 if valid, else
    Latin-1."""
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return data.decode("utf-16", "replace")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def check_text(xml: str) -> None:
    """Refuse OME-XML that is too large: its object tree needs tens of times the memory of the text."""
    elements = xml.count("<")
    if len(xml) > MAX_XML or elements > MAX_ELEMENTS:
        raise TiffError(
            Code.OVERSIZE,
            f"the file has OME-XML of {len(xml)} characters and {elements} tags, at most {MAX_XML} and "
            f"{MAX_ELEMENTS} are taken; split it",
        )


def check_planes(declared: float) -> None:
    """Refuse too many planes."""
    if not declared <= MAX_PLANES:  # nor NaN, which is neither
        raise TiffError(
            Code.OVERSIZE,
            f"the file declares {declared:.0f} planes, at most {MAX_PLANES} are taken; split it",
        )


def read_ome(xml: str) -> Ome:
    """Return the content of OME-XML, after a check of its sizes.

    Raises
    ------
    TiffError
        oversize.
    xml.etree.ElementTree.ParseError, ValueError, KeyError
        When it is not OME-XML.
    """
    check_text(xml)
    root = ElementTree.fromstring(xml)
    check_planes(_declared(root))
    master = next(((n.get("MetadataFile", ""), n.get("UUID", "")) for n in _named(root, "BinaryOnly")), None)
    images = tuple(
        _image(node, pixels) for node in _named(root, "Image") for pixels in list(_named(node, "Pixels"))[:1]
    )
    modulo = tuple(
        f"{_tag(node)} ({node.get('Type', '?')})"
        for node in root.iter()
        if _tag(node).startswith("ModuloAlong") and len(node.attrib) > 0
    )
    return Ome(root.get("UUID", ""), images, master, modulo, _labels(root))


def _labels(root: ElementTree.Element) -> dict[int, str]:
    """Return the labels of pages, by page number."""
    annotated = (a for s in _named(root, "StructuredAnnotations") for a in _named(s, "MapAnnotation"))
    values = (v for a in annotated if a.get("Namespace") == LABELS for v in _named(a, "Value"))
    entries = (entry for value in values for entry in _named(value, "M"))
    return {int(e.get("K", "")): e.text or "" for e in entries if e.get("K", "").isdecimal()}


def _declared(root: ElementTree.Element) -> float:
    """Return the number of declared planes: of all images, of all their entries, or along a lifetime axis."""
    images, entries, along = 0.0, 0.0, 0.0
    for node in root.iter():
        name = _tag(node)
        if name == "Pixels":
            images += math.prod(float(node.get(f"Size{axis}", 1)) for axis in _AXES)
        elif name == "TiffData":
            entries += float(node.get("PlaneCount", node.get("NumPlanes", 1)))
        elif name.startswith("ModuloAlong") and "Start" in node.attrib:
            length = float(node.get("End", 0)) - float(node.get("Start", 0))
            along = max(along, abs(length) / max(abs(float(node.get("Step", 1))), 1e-9))
    return max(images, entries, along)


def _image(node: ElementTree.Element, pixels: ElementTree.Element) -> OmeImage:
    sizes = {axis: int(pixels.get(f"Size{axis}", 1)) for axis in _AXES}
    channels = list(_named(pixels, "Channel")) or list(_named(node, "LogicalChannel"))
    samples = max((int(c.get("SamplesPerPixel") or 1) for c in channels), default=1)
    if samples > 1 and sizes["C"] % samples == 0:
        sizes["C"] //= samples
    if min(sizes.values()) < 1:
        raise ValueError(f"sizes {sizes}")
    order = _order(pixels.get("DimensionOrder", "XYCZT"))
    axes = "".join(axis for axis in order if sizes[axis] > 1) + "YX"
    sides = (int(pixels.get(f"Size{axis}", 0)) for axis in "YX")
    shape = (*(sizes[axis] for axis in axes[:-2]), *sides)
    bare = OmeImage(
        name=node.get("Name") or node.get("ID") or "",
        axes=axes,
        shape=shape,
        sizes={axis: sizes[axis] for axis in order},
        order=order,
        type=pixels.get("Type", pixels.get("PixelType", "")),
        samples=samples,
        scale=Scale(),
        pieces=tuple(_piece(data) for data in _named(pixels, "TiffData")),
        delta_t_s=None,
        started_s=_started(node),
    )
    delta_t_s, remarks = _delta_t(bare, pixels)
    scale, more = _scale(pixels, channels)
    scale = scale.filled(_scale_of_2003(node))
    return replace(bare, delta_t_s=delta_t_s, scale=scale, remarks=remarks + more)


def _order(text: str) -> str:
    """Return the axes next to X and Y, slowest first."""
    order = text.upper()[2:][::-1]
    return order if sorted(order) == sorted(_AXES) else "TZC"


def _piece(node: ElementTree.Element) -> Piece:
    first = (int(node.get("FirstT", 0)), int(node.get("FirstC", 0)), int(node.get("FirstZ", 0)))
    stated = node.get("PlaneCount", node.get("NumPlanes"))
    count = int(stated) if stated is not None else (1 if node.get("IFD") is not None else None)
    uuid = next(_named(node, "UUID"), None)
    text = "" if uuid is None else (uuid.text or "").strip()
    file = "" if uuid is None else uuid.get("FileName", "")
    return Piece(first, int(node.get("IFD", 0)), count, text, file)


def _scale(
    pixels: ElementTree.Element,
    channels: list[ElementTree.Element],
) -> tuple[Scale, tuple[str, ...]]:
    names = [(node.get("Name") or "").strip() for node in channels]
    interval = _measure(pixels, "TimeIncrement", seconds, "s")
    remarks: tuple[str, ...] = ()
    x, y = (_measure(pixels, f"PhysicalSize{axis}", micrometres, "µm") for axis in "XY")
    if x is not None and "PhysicalSizeY" not in pixels.attrib:
        y = x
        remarks += ("the file states only the width of a pixel: pixels are assumed to be square",)
    return (
        Scale(
            pair(x, y),
            magnitude(pixels.get("PhysicalSizeZ"), micrometres(pixels.get("PhysicalSizeZUnit", "µm"))),
            interval,
            tuple(names) if names and all(names) else (),
        ),
        remarks,
    )


def _scale_of_2003(image: ElementTree.Element) -> Scale:
    """Return the scale at the image in early versions of OME, in micrometres and seconds."""
    x, y, z, t = (positive(image.get(f"PixelSize{axis}"), 1.0) for axis in "XYZT")
    return Scale(pair(x, y), z, t)


def _measure(pixels: ElementTree.Element, name: str, factor: Any, default: str) -> float | None:
    return positive(pixels.get(name), factor(pixels.get(name + "Unit", default)))


def _delta_t(
    image: OmeImage, pixels: ElementTree.Element
) -> tuple[npt.NDArray[np.float64] | None, tuple[str, ...]]:
    """Return the time of each plane, and notes on doubtful times."""
    times = np.full(image.planes, np.nan)
    unknown = ""
    for node in _named(pixels, "Plane"):
        stated = node.get("DeltaT")
        if stated is None:
            continue
        unit = node.get("DeltaTUnit", "s")
        number = image.number(*(int(node.get(f"The{axis}", 0)) for axis in _AXES))
        second = seconds(unit)
        if second is None:
            unknown = unit
        elif number >= 0:
            times[number] = float(stated) * second
    remarks = (f"times of planes in {unknown!r} are not understood",) if unknown else ()
    return known_times(times, remarks)


def known_times(
    times: npt.NDArray[np.float64], remarks: tuple[str, ...] = ()
) -> tuple[npt.NDArray[np.float64] | None, tuple[str, ...]]:
    """Return the times of planes, (N,) s, NaN if unknown; None if all are unknown or equal."""
    times = np.where(np.isfinite(times) & (np.abs(times) < 1e12), times, np.nan)
    known = times[~np.isnan(times)]
    if not len(known) or (len(times) > 1 and len(known) > 1 and np.ptp(known) == 0):
        if len(known) > 1:
            remarks += ("all planes have the same time in the file, which is ignored",)
        return None, remarks
    return times, remarks


def steady_interval(delta_t_s: npt.NDArray[np.float64], axes: str, shape: tuple[int, ...]) -> float | None:
    """Return the seconds between time points; None if they vary by more than a tenth.

    Parameters
    ----------
    delta_t_s : (N,) float64
        Time of each plane, seconds, in the order of the axes before YX.
    axes, shape
        Axes and shape of the whole image.
    """
    if "T" not in axes:
        return None
    times = np.moveaxis(delta_t_s.reshape(shape[:-2]), axes.index("T"), 0)
    steps = np.diff(times.reshape(len(times), -1)[:, 0])
    if not len(steps) or np.isnan(steps).any() or steps.min() <= 0:
        return None
    middle = float(np.median(steps))
    return positive(middle) if np.abs(steps - middle).max() <= 0.1 * middle else None


def _started(node: ElementTree.Element) -> float | None:
    """Return the time of acquisition, seconds since 1970; a time without a zone is read as UTC."""
    date = next((child.text for child in node if _tag(child) in ("AcquisitionDate", "AcquiredDate")), None)
    return since_1970(date)


def since_1970(date: str | None) -> float | None:
    """Return an ISO 8601 time in seconds since 1970; one without a zone is read as UTC."""
    if not date:
        return None
    try:
        time = datetime.datetime.fromisoformat(date.strip().replace("Z", "+00:00"))
    except ValueError:
        return None
    if time.tzinfo is None:
        time = time.replace(tzinfo=datetime.timezone.utc)
    return time.timestamp()


def _named(node: ElementTree.Element, name: str) -> Iterator[ElementTree.Element]:
    return (child for child in node if _tag(child) == name)


def _tag(node: ElementTree.Element) -> str:
    return str(node.tag).rpartition("}")[2]
