"""One frame as OME-TIFF, to be kept: raw, denoised and map in one file, with all that is known of it."""

from __future__ import annotations

import io
import json
from typing import Any

import tifffile

from dimstream_server.endpoints.http.live.shown_frame import ShownFrame


def file_of_frame(frame: ShownFrame, *, stream: str, pixel_size_um: float | None) -> bytes:
    """The file; the description of each image has the figures of the frame as JSON."""
    content = io.BytesIO()
    described = json.dumps({"stream": stream, **frame.figures})
    size: dict[str, Any] = {}
    if pixel_size_um is not None:
        for axis in "XY":
            size |= {f"PhysicalSize{axis}": pixel_size_um, f"PhysicalSize{axis}Unit": "µm"}
    with tifffile.TiffWriter(content, ome=True) as file:
        for kind, image in frame.images.items():
            metadata = {"axes": "YX", "Name": kind, "Description": described, **size}
            file.write(image, photometric="minisblack", metadata=metadata)
    return content.getvalue()
