"""OME-XML (2016-06) of a recording: axes, scale, times, the plane of each page, and the processing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final
from xml.sax.saxutils import escape

from dimstream_client.files.hyperstack import Hyperstack, Series
from dimstream_client.files.ome_hyperstack import plane_times, start_of, tiff_data
from dimstream_client.files.ome_writer import MOST_PLANES, NAMESPACE, printable, quoted
from dimstream_client.quality import plain
from dimstream_server.recording.description import Description, InForceFrom, utc
from dimstream_server.recording.frame_log import FrameLog

_MOST_NAMED: Final = 1000  # most numbers in a list
_XSI: Final = "http://www.w3.org/2001/XMLSchema-instance"
_TYPES: Final = {"float32": "float"}
_IMAGES: Final = {
    "raw": "Photon counts as received",
    "denoised": "Denoised by the models that the annotations name; a frame that failed is a page of zeros",
    "support": "Support maps: bits 0 and 1 class (0 background, 1 uncertain, 2 signal), 4 predicted signal, "
    "8 without support",
    "sd": "Error bars: the standard deviation of each denoised pixel, counts",
}


@dataclass(frozen=True)
class _Image:
    """Data for the OME-XML of one file."""

    description: Description
    lines: FrameLog
    stack: Hyperstack
    kind: str
    blank: int | None
    started_at: float | None

    @property
    def annotations(self) -> list[tuple[str, dict[str, str]]]:
        """Return (namespace, texts) of each annotation."""
        processing = [_processing(each) for each in (self.description.in_force(), *self.lines.in_force)]
        return [
            ("urn:dimstream:recording", _recording(self)),
            *[("urn:dimstream:processing", texts) for texts in processing],
        ]


def ome_xml(
    description: Description, lines: FrameLog, stack: Hyperstack, *, kind: str, blank: int | None
) -> Iterator[bytes]:
    """Yield the OME-XML of one file, in pieces.

    Parameters
    ----------
    kind : {"raw", "denoised", "support", "sd"}
    blank : int or None
        Page of zeros that is used for missing planes.
    """
    started_at = start_of([each.t_acq for each in lines.recorded])
    image = _Image(description, lines, stack, kind, blank, started_at)
    creator = f"dimstream-server {description.versions.get('dimstream-server', '')}".strip()
    yield (
        f'<?xml version="1.0" encoding="UTF-8"?><OME xmlns="{NAMESPACE}" xmlns:xsi="{_XSI}" '
        f'xsi:schemaLocation="{NAMESPACE} {NAMESPACE}/ome.xsd" Creator={quoted(creator)}>'
    ).encode()
    if description.user:
        yield f'<Experimenter ID="Experimenter:0" UserName={quoted(description.user)}/>'.encode()
    for n, series in enumerate(stack.series):
        yield from _image_xml(image, n, series)
    yield b"<StructuredAnnotations>"
    for n, (namespace, texts) in enumerate(image.annotations):
        values = "".join(f"<M K={quoted(k)}>{escape(printable(v))}</M>" for k, v in texts.items())
        yield (
            f'<MapAnnotation ID="Annotation:{n}" Namespace="{namespace}"><Value>{values}</Value>'
            "</MapAnnotation>"
        ).encode()
    yield b"</StructuredAnnotations></OME>"


def _image_xml(image: _Image, n: int, series: Series) -> Iterator[bytes]:
    description = image.description
    name = f"{description.stream} {image.kind}"
    if len(image.stack.series) > 1:
        name += f" position {series.position}"
    yield (
        f'<Image ID="Image:{n}" Name={quoted(name)}>{_started(image)}'
        + ('<ExperimenterRef ID="Experimenter:0"/>' if description.user else "")
        + f"<Description>{escape(_IMAGES[image.kind])}</Description>"
        + f'<Pixels ID="Pixels:{n}" {_pixels(image)}>'
        + _channels(n, image)
    ).encode()
    for element in tiff_data(image.stack, series, image.blank):
        yield element.encode()
    if sum(len(each.planes) for each in image.stack.series) <= MOST_PLANES:
        for element in plane_times(series, image.started_at):
            yield element.encode()
    references = "".join(f'<AnnotationRef ID="Annotation:{k}"/>' for k in range(len(image.annotations)))
    yield f"</Pixels>{references}</Image>".encode()


def _started(image: _Image) -> str:
    """Return the time of the first frame by the sender's clock, if it is known and plausible."""
    if image.started_at == 0:
        return ""
    try:
        date = utc(image.description.opened_at if image.started_at is None else image.started_at)
    except (ValueError, OverflowError, OSError):
        date = image.description.opened_at_utc
    return f"<AcquisitionDate>{date}</AcquisitionDate>"


def _pixels(image: _Image) -> str:
    description = image.description
    height, width = description.shape
    dtype = description.dtypes[image.kind]
    times, channels, depth = image.stack.sizes
    attributes = {
        "DimensionOrder": image.stack.order,
        "Type": _TYPES.get(dtype, dtype),
        "BigEndian": "false",
        "SizeX": width,
        "SizeY": height,
        "SizeC": channels,
        "SizeZ": depth,
        "SizeT": times,
    }
    if description.pixel_size_um:
        attributes["PhysicalSizeX"] = attributes["PhysicalSizeY"] = repr(description.pixel_size_um)
        attributes["PhysicalSizeXUnit"] = attributes["PhysicalSizeYUnit"] = "µm"
    if description.frame_interval_s:
        attributes["TimeIncrement"] = repr(description.frame_interval_s)
        attributes["TimeIncrementUnit"] = "s"
    return " ".join(f'{name}="{value}"' for name, value in attributes.items())


def _channels(n: int, image: _Image) -> str:
    names = image.description.channels
    return "".join(
        f'<Channel ID="Channel:{n}:{c}" SamplesPerPixel="1"'
        + (f" Name={quoted(names[c])}/>" if c < len(names) and names[c] else "/>")
        for c in range(image.stack.sizes[1])
    )


def _recording(image: _Image) -> dict[str, str]:
    description, lines = image.description, image.lines
    texts = {
        "kind": image.kind,
        "stream": description.stream,
        "opened_at": description.opened_at_utc,
        "client": description.client,
        "frames": str(len(lines.recorded)),
        **_detector(description),
        **{f"version {name}": number for name, number in description.versions.items()},
    }
    failed = [each.page for each in lines.recorded if not each.has_image]
    lists = {"pages_failed": failed, "pages_without_place": list(image.stack.without_place)}
    texts.update({name: _numbers(pages) for name, pages in lists.items() if pages})
    if image.blank is not None:
        texts["page_for_missing_planes"] = str(image.blank)
    if image.stack.as_movie:
        texts["order"] = "in the order of arrival, because the frames' indices leave too many planes out"
    if lines.devices:
        texts["devices"] = ", ".join(lines.devices)
    if lines.stopped:
        texts["stopped"] = lines.stopped
    return texts


def _detector(description: Description) -> dict[str, str]:
    """Return the conversion of raw values to photons; empty if they are photons."""
    if description.detector is None:
        return {}
    detector = description.detector
    return {"detector_offset": str(detector.offset), "detector_gain": str(detector.gain)}


def _processing(in_force: InForceFrom) -> dict[str, str]:
    model, thresholds = in_force.model, in_force.thresholds
    values = {
        "from_frame": in_force.from_seq,
        "model_id": model.id,
        "model_name": model.name,
        "model_sha256": model.sha256,
        "gain": model.gain,
        "offset": model.offset,
        **{f"threshold_{name}": value for name, value in plain(thresholds).items()},
    }
    return {name: "none" if value is None else str(value) for name, value in values.items()}


def _numbers(pages: list[int]) -> str:
    stated = ",".join(map(str, pages[:_MOST_NAMED]))
    return stated if len(pages) <= _MOST_NAMED else f"{stated},... ({len(pages)} in all)"
