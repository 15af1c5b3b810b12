"""Read scale and times from the tags of TIFF files of different writers."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import tifffile

from dimstream_client.files.found_image import FoundImage
from dimstream_client.files.micromanager import PAGE_TAG, page_metadata
from dimstream_client.files.ome import known_times, since_1970
from dimstream_client.files.scale import (
    Scale,
    magnitude,
    micrometres,
    of_resolution,
    pair,
    plain_unit,
    positive,
    seconds,
)

CENTIMETRE: Final = 3
DEFAULT_UM: Final = (1.0, 1.0)
MAX_TIMED_PAGES: Final = 20_000  # whose own metadata are read for their times


def scale_of_tiff(file: tifffile.TiffFile) -> tuple[Scale, tuple[str, ...]]:
    """Return the scale of tags and descriptions, and notes on what was not understood."""
    scale = Scale()
    remarks: tuple[str, ...] = ()
    if file.is_lsm:
        scale = _of_lsm(file.lsm_metadata or {})
    scale = scale.filled(of_micromanager(file))
    if file.is_imagej:
        found, remarks = of_imagej(file.imagej_metadata or {}, *_per_unit(file), _resolution_unit(file))
        scale = scale.filled(found)
    if file.is_metaseries:
        scale = scale.filled(_of_metaseries(file.metaseries_metadata or {}))
    if file.is_stk:
        scale = scale.filled(_of_stk(file.stk_metadata or {}))
    if file.is_fluoview:
        scale = scale.filled(_of_fluoview(file.fluoview_metadata or {}))
    resolution = of_resolution(*_per_unit(file), _resolution_unit(file))
    if scale.pixel_size_um is None and resolution.pixel_size_um == DEFAULT_UM:
        remarks += ("resolution tags of 1 um, which Bio-Formats writes where it knows none, are passed over",)
        resolution = Scale()
    return scale.filled(resolution), remarks


def _per_unit(file: tifffile.TiffFile) -> tuple[float | None, float | None]:
    """Return the pixels per unit of the resolution tags, along x and y."""
    found = []
    for name in ("XResolution", "YResolution"):
        tag = file.pages.first.tags.get(name)
        value = tag.value if tag is not None else None
        is_ratio = isinstance(value, tuple) and len(value) == 2 and value[1]
        found.append(value[0] / value[1] if is_ratio and isinstance(value, tuple) else None)
    return found[0], found[1]


def _resolution_unit(file: tifffile.TiffFile) -> int:
    tag = file.pages.first.tags.get("ResolutionUnit")
    return 2 if tag is None else int(tag.value)


def of_imagej(
    stated: Mapping[str, Any], x_per_unit: float | None, y_per_unit: float | None, resolution_unit: int
) -> tuple[Scale, tuple[str, ...]]:
    """Return the scale that ImageJ wrote, and notes on what was not understood.

    Parameters
    ----------
    x_per_unit, y_per_unit : float, optional
    resolution_unit : int
        The resolution tags.
    """
    unit = stated.get("unit", "")
    x, y, z = (micrometres(stated.get(name, unit)) for name in ("unit", "yunit", "zunit"))
    if unit == "um" and resolution_unit == CENTIMETRE:  # as Micro-Manager writes it and ImageJ reads it
        x = y = micrometres("cm")
    interval = positive(stated.get("finterval"), seconds(stated.get("tunit", "s")))
    remarks = []
    if plain_unit(unit) not in ("", "pixel", "pixels") and x is None:
        remarks.append(f"the unit {unit!r} is not understood")
    if interval is None and positive(stated.get("fps")):
        remarks.append(f"{stated['fps']:g} frames per second is the speed of playing, and no time step")
    return (
        Scale(
            pair(
                positive(1 / x_per_unit if x_per_unit else None, x),
                positive(1 / y_per_unit if y_per_unit else None, y),
            ),
            magnitude(stated.get("spacing"), z),
            interval,
        ),
        tuple(remarks),
    )


def of_micromanager(file: tifffile.TiffFile) -> Scale:
    """Return the scale that Micro-Manager wrote at the pages; empty for files of other programs."""
    if PAGE_TAG not in file.pages.first.tags and not file.is_micromanager:
        return Scale()
    summary = (file.micromanager_metadata or {}).get("Summary") or {}
    page = page_metadata(file.pages.first)
    pixel = positive(page.get("PixelSizeUm", page.get("PixelSize_um"))) or positive(
        summary.get("PixelSize_um")
    )
    names = summary.get("ChNames") or []
    if isinstance(names, str):
        names = [name.strip(' "') for name in names.strip("[]").split(",")]
    return Scale(
        pair(pixel, pixel),
        magnitude(summary.get("z-step_um")),
        positive(summary.get("Interval_ms"), 1e-3) or positive(summary.get("WaitInterval"), 1e-3),
        tuple(str(name) for name in names) if isinstance(names, (list, tuple)) and all(names) else (),
    )


def _of_metaseries(stated: Mapping[str, Any]) -> Scale:
    plane = stated.get("PlaneInfo")
    if not isinstance(plane, dict) or str(plane.get("spatial-calibration-state", "on")).lower() in (
        "off",
        "false",
    ):
        return Scale()
    unit = micrometres(plane.get("spatial-calibration-units", "um"))
    return Scale(
        pair(
            positive(plane.get("spatial-calibration-x"), unit),
            positive(plane.get("spatial-calibration-y"), unit),
        )
    )


def _of_stk(stated: Mapping[str, Any]) -> Scale:
    if not stated.get("SpatialCalibration"):
        return Scale()
    unit = micrometres(stated.get("CalibrationUnits", ""))
    distances = np.abs(np.atleast_1d(np.asarray(stated.get("ZDistance", 0), float)))
    distances = distances[np.isfinite(distances) & (distances > 0)]
    return Scale(
        pair(positive(stated.get("XCalibration"), unit), positive(stated.get("YCalibration"), unit)),
        positive(np.median(distances), unit) if len(distances) else None,
    )


def _of_lsm(stated: Mapping[str, Any]) -> Scale:
    metre = 1e6
    names = (stated.get("ChannelColors") or {}).get("ColorNames") or []
    return Scale(
        pair(positive(stated.get("VoxelSizeX"), metre), positive(stated.get("VoxelSizeY"), metre)),
        magnitude(stated.get("VoxelSizeZ"), metre),
        positive(stated.get("TimeInterval", stated.get("TimeIntervall"))),
        tuple(str(name) for name in names) if all(names) else (),
    )


def _of_fluoview(stated: Mapping[str, Any]) -> Scale:
    found: dict[str, float | None] = {}
    for name, _, _, resolution, unit in stated.get("Dimensions") or []:
        axis = str(name).strip().upper()
        factor = seconds(unit) if axis.startswith("T") else micrometres(unit)
        found[axis[:1]] = magnitude(resolution, factor)
    return Scale(pair(found.get("X"), found.get("Y")), found.get("Z"), found.get("T"))


def times_of_pages(file: tifffile.TiffFile, image: FoundImage) -> npt.NDArray[np.float64] | None:
    """Return the times of the pages, (N,) seconds since the first; None if they have none."""
    page_of = getattr(image.planes, "page", None)
    if page_of is None or len(image) > MAX_TIMED_PAGES or len(image.planes) == 0:
        return None
    time_of = _reader_of_times(file)
    if time_of is None:
        return None
    times = np.full(len(image), np.nan)
    for n, k in enumerate(image.numbers):
        stated = None if k < 0 else time_of(page_of(int(k)))
        times[n] = np.nan if stated is None else stated
    known, _ = known_times(times - np.nanmin(times)) if np.isfinite(times).any() else (None, ())
    return known


def _reader_of_times(file: tifffile.TiffFile) -> Any:
    if "ElapsedTime-ms" in page_metadata(file.pages.first):
        return _elapsed
    if file.is_metaseries:
        return _metaseries_time
    return None


def _elapsed(page: Any) -> float | None:
    stated = page_metadata(page).get("ElapsedTime-ms")
    return float(stated) / 1e3 if isinstance(stated, (int, float)) else None


def _metaseries_time(page: Any) -> float | None:
    try:
        stated = tifffile.tifffile.metaseries_description_metadata(page.description)
        date = stated["PlaneInfo"]["acquisition-time-local"]
    except Exception:  # any error of tifffile on a description of another kind
        return None
    if isinstance(date, datetime.datetime):
        return date.replace(tzinfo=date.tzinfo or datetime.timezone.utc).timestamp()
    text = str(date)
    return since_1970(f"{text[:4]}-{text[4:6]}-{text[6:]}" if text[:8].isdigit() else text)
