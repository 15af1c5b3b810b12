"""Planes and pixel size of TIFF files, as Fiji, Imspector, Micro-Manager and Python write them."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import tifffile
from numpy.typing import NDArray

from dimstream_models.training.errors import InvalidPairs

_UNIT_NM = {
    "pm": 1e-3,
    "nm": 1.0,
    "µm": 1e3,  # micro sign
    "μm": 1e3,  # Greek mu
    "\\u00b5m": 1e3,  # as Fiji spells it
    "um": 1e3,
    "micron": 1e3,
    "microns": 1e3,
    "mm": 1e6,
    "cm": 1e7,
    "m": 1e9,
}
_IMAGEJ_SIGNED = {"cf": 0, "c0": -32768.0, "c1": 1.0}  # ImageJ's calibration of signed 16-bit images


def read_tiff(path: Path, stack: str | None) -> tuple[NDArray[Any], tuple[float, float] | None]:
    """Return planes (..., H, W) and a pixel's sides (y, x) in nm, None where the file states none.

    Raises
    ------
    InvalidPairs
        When the file holds several channels, colours or sizes of image.
    """
    if stack is not None:
        raise InvalidPairs(f"a TIFF file has no stack {stack!r}: name the file alone")
    with _complaints_raised(), tifffile.TiffFile(path) as file:
        first = file.series[0]
        if any((each.shape, each.dtype) != (first.shape, first.dtype) for each in file.series):
            raise InvalidPairs("expected planes of one size, got several sizes: save each as its own file")
        # tifffile calls the planes of a stack channels (C, S) when it is told nothing; beside another axis,
        # or last, as in a coloured image, they are channels
        if not first.axes.endswith("YX") or (first.ndim > 3 and set("CS") & set(first.axes)):
            raise InvalidPairs(
                f"expected planes of one channel, got axes {first.axes} of {first.shape}: save the"
                " channel that was counted on its own; a coloured copy for display holds no counts"
            )
        values = np.stack([each.asarray() for each in file.series])
        return _signed(values, file.imagej_metadata or {}), _sides_nm(file)


@contextmanager
def _complaints_raised() -> Iterator[None]:
    """Raise what tifffile only logs: of a truncated stack it returns the planes that are left."""
    complaints: list[str] = []
    handler = logging.Handler(logging.ERROR)
    handler.emit = lambda record: complaints.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("tifffile")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
    if complaints:
        raise ValueError("; ".join(complaints))


def _signed(values: NDArray[Any], imagej: Mapping[str, Any]) -> NDArray[Any]:
    """Return the values that ImageJ shows: it stores signed 16-bit images with 32768 added."""
    if values.dtype == np.uint16 and all(imagej.get(key) == value for key, value in _IMAGEJ_SIGNED.items()):
        return values.astype(np.int32) - 32768
    return values


def _sides_nm(file: tifffile.TiffFile) -> tuple[float, float] | None:
    if file.ome_metadata:
        return _ome_sides(file.ome_metadata)
    if file.imagej_metadata:
        return _imagej_sides(file)
    return None  # resolution without ImageJ or OME is dots per inch of a printed page


def _ome_sides(xml: str) -> tuple[float, float] | None:
    for element in ElementTree.fromstring(xml).iter():
        if element.tag.rpartition("}")[2] == "Pixels" and "PhysicalSizeX" in element.attrib:
            x = _length_nm(element, "PhysicalSizeX")
            y = _length_nm(element, "PhysicalSizeY") if "PhysicalSizeY" in element.attrib else x
            return None if x is None or y is None else (y, x)
    return None


def _length_nm(element: ElementTree.Element, name: str) -> float | None:
    unit = _UNIT_NM.get(element.get(f"{name}Unit", "µm").lower())
    return None if unit is None else float(element.attrib[name]) * unit


def _imagej_sides(file: tifffile.TiffFile) -> tuple[float, float] | None:
    unit = _UNIT_NM.get(str((file.imagej_metadata or {}).get("unit", "")).lower())
    tags = file.pages.first.tags
    if unit is None or "XResolution" not in tags or "YResolution" not in tags:
        return None
    (x, x_per), (y, y_per) = tags["XResolution"].value, tags["YResolution"].value
    return (y_per / y * unit, x_per / x * unit) if x and y else None
