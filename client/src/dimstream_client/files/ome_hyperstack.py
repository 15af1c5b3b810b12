"""Write OME-XML for pages in any order, with the page of each plane."""

from __future__ import annotations

import math
from collections.abc import Iterator

from dimstream_client.files.hyperstack import Hyperstack, Series
from dimstream_client.files.ome_writer import (
    MOST_PLANES,
    channels_xml,
    date_of,
    document,
    is_undated,
    pixels_attributes,
    plane_xml,
)
from dimstream_client.files.scale import Scale


def hyperstack_xml(
    stack: Hyperstack, *, shape: tuple[int, int], dtype: str, scale: Scale, blank: int | None
) -> bytes:
    """Return the OME-XML of a file with such pages; each position is an image.

    Parameters
    ----------
    shape : tuple of int
        (H, W)
    blank : int or None
        Page of zeros that is used for missing planes.
    """
    times, channels, depth = stack.sizes
    sizes = {"Y": shape[0], "X": shape[1], "T": times, "C": channels, "Z": depth}
    pixels = pixels_attributes(stack.order, sizes, dtype, scale)
    started_at = start_of([page.t_acq for one in stack.series for page in one.planes.values()])
    date = date_of(started_at) if started_at else None
    shown = sum(len(one.planes) for one in stack.series)
    images = []
    for n, one in enumerate(stack.series):
        planes = "".join(plane_times(one, started_at)) if shown <= MOST_PLANES else ""
        images.append(
            f'<Image ID="Image:{n}" Name="Position{one.position}">'
            + (f"<AcquisitionDate>{date}</AcquisitionDate>" if date else "")
            + f'<Pixels ID="Pixels:{n}" {pixels}>{channels_xml(n, channels, scale.channels)}'
            + "".join(tiff_data(stack, one, blank))
            + f"{planes}</Pixels></Image>"
        )
    return document("".join(images))


def start_of(times: list[float | None]) -> float | None:
    """Return the start of the times of planes: the first time, or 0 if the sender had no date."""
    first = min((time for time in times if time is not None), default=None)
    return 0.0 if first is not None and is_undated(first) else first


def tiff_data(stack: Hyperstack, series: Series, blank: int | None) -> Iterator[str]:
    """Yield the elements with the page of each plane."""
    if series.first_page is not None:
        yield f'<TiffData IFD="{series.first_page}" PlaneCount="{len(series.planes)}"/>'
        return
    for place in stack.places(stack.order):
        placed = series.planes.get(place)
        page = blank if placed is None else placed.page
        t, c, z = place
        yield f'<TiffData IFD="{page}" FirstT="{t}" FirstC="{c}" FirstZ="{z}" PlaneCount="1"/>'


def plane_times(series: Series, started_at: float | None) -> Iterator[str]:
    """Yield the elements with the time of each plane, in seconds after `started_at`."""
    for (t, c, z), placed in sorted(series.planes.items()):
        if placed.t_acq is not None and started_at is not None:
            after = placed.t_acq - started_at
            if math.isfinite(after):
                yield plane_xml({"T": t, "C": c, "Z": z}, after)
