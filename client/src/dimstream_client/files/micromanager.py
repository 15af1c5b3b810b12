"""Read images of Micro-Manager without OME-XML, with the planes from its index or the pages."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import tifffile

from dimstream_client.files.found_image import FoundImage
from dimstream_client.files.ome import check_planes
from dimstream_client.files.scale import Scale
from dimstream_client.files.tiff_pages import (
    FileSet,
    PagePlanes,
    as_tiff_errors,
    check_grey,
    open_tiff,
    page_offsets,
)

PAGE_TAG: Final = 51123
NDTIFF: Final = 483729  # behind a TIFF's first eight bytes
INDEX: Final = "NDTiff.index"
MAX_FILES: Final = 10_000  # of one acquisition
_AXES: Final = {"time": "T", "position": "P", "z": "Z", "channel": "C"}
_COUNTS: Final = {"T": "Frames", "P": "Positions", "Z": "Slices", "C": "Channels"}
_AT_PAGES: Final = {
    "T": ("FrameIndex", "Frame"),
    "P": ("PositionIndex",),
    "Z": ("SliceIndex", "Slice"),
    "C": ("ChannelIndex",),
}
Place = Mapping[str, int]


def find_micromanager(
    file: tifffile.TiffFile, offsets: Sequence[int], path: Path | None
) -> FoundImage | None:
    """Return the image of an acquisition, with its other files if a path is given; None for other TIFF files.

    Parameters
    ----------
    offsets : sequence of int
        Positions of the pages of `file`, bytes.
    """
    stated = _header(file, {"Summary"})
    summary = stated.get("Summary")
    if not isinstance(summary, dict):
        return None
    files = FileSet(file)
    names: list[str] = []
    is_ndtiff, pages = _is_ndtiff(file), len(offsets)
    if is_ndtiff and path is not None and (path.parent / INDEX).is_file():
        found = _of_index(files, path, names)
    else:
        found = _of_pages(files, 0, offsets, names)
        if path is not None and not is_ndtiff:
            for neighbour in _neighbours(path):
                with open_tiff(neighbour) as tiff:
                    more = page_offsets(tiff)
                pages += len(more)
                found += _of_pages(files, files.add(str(neighbour)), more, names)
    return _image(files, found, summary, tuple(names), pages) if found else None


def page_metadata(page: Any) -> Mapping[str, Any]:
    """Return Micro-Manager's metadata of a page; empty if there are none."""
    tag = page.tags.get(PAGE_TAG)
    value = tag.value if tag is not None else None
    return value if isinstance(value, dict) else {}


def _header(file: tifffile.TiffFile, keys: set[str]) -> Mapping[str, Any]:
    try:
        return dict(tifffile.tifffile.read_micromanager_metadata(file.filehandle, keys))
    except Exception:  # any error of tifffile on a file of another kind
        return {}


def _is_ndtiff(file: tifffile.TiffFile) -> bool:
    file.filehandle.seek(8)
    return int.from_bytes(file.filehandle.read(4), "little") == NDTIFF


def _neighbours(path: Path) -> list[Path]:
    """Return the other files of an acquisition: of other stage positions, and continuations after 4 GB."""
    stem, mark, _ = path.name.partition("_MMStack")
    if not mark:
        return []
    beside = sorted(
        p for p in path.parent.iterdir() if p.name.startswith(stem + mark) and p != path and p.is_file()
    )
    return [p for p in beside if p.suffix.lower() in (".tif", ".tiff")][:MAX_FILES]


def _of_pages(
    files: FileSet, number: int, offsets: Sequence[int], names: list[str]
) -> list[tuple[tuple[int, int], Place]]:
    """Return the pages of a file with the index of each, from its index map or the pages' metadata."""
    with as_tiff_errors("the file"):
        tiff = files.tiff(number)
        rows = _header(tiff, {"IndexMap"}).get("IndexMap")
        if rows is not None and len(rows):
            page_at = {offset: page for page, offset in enumerate(offsets)}
            return [
                ((number, page_at[int(row[4])]), dict(zip("CZTP", map(int, row[:4]))))
                for row in rows
                if int(row[4]) in page_at
            ]
        pages = [page_metadata(tiff.pages.get(page, aspage=True)) for page in range(len(offsets))]
    places = [_place(stated, names) for stated in pages]
    return [((number, page), place) for page, place in enumerate(places) if place is not None]


def _place(stated: Mapping[str, Any], names: list[str]) -> Place | None:
    """Return the index of a page; None if unknown. Channel names are added to `names`."""
    axes = stated.get("Axes")
    if isinstance(axes, dict):
        return _numbered(axes, names)
    found = {
        axis: next((stated[key] for key in keys if type(stated.get(key)) is int), None)
        for axis, keys in _AT_PAGES.items()
    }
    return None if found["T"] is None else {axis: max(at or 0, 0) for axis, at in found.items()}


def _numbered(axes: Mapping[str, Any], names: list[str]) -> Place | None:
    place = {}
    for name, at in axes.items():
        axis = _AXES.get(str(name).lower(), "Q")
        if isinstance(at, str):
            if at not in names:
                names.append(at)
            at = names.index(at)
        if not isinstance(at, int):
            return None
        place[axis] = at
    return place


def _of_index(files: FileSet, path: Path, names: list[str]) -> list[tuple[tuple[int, int], Place]]:
    """Return the pages of all files in an NDTiff index, in its order."""
    found: list[tuple[tuple[int, int], Place]] = []
    numbers, pages = {path.name: 0}, Counter[str]()
    for axes, name, *_ in tifffile.tifffile.read_ndtiff_index(path.parent / INDEX):
        name = Path(name).name
        if name not in numbers:
            if not (path.parent / name).is_file() or len(numbers) > MAX_FILES:
                continue
            numbers[name] = files.add(str(path.parent / name))
        place = _numbered(axes, names)
        if place is not None:
            found.append(((numbers[name], pages[name]), place))
        pages[name] += 1
    return found


def _image(
    files: FileSet,
    found: list[tuple[tuple[int, int], Place]],
    summary: Mapping[str, Any],
    names: tuple[str, ...],
    pages: int,
) -> FoundImage:
    page: Any = files.tiff(0).pages.first
    check_grey(page, samples_are_planes=False, inverted=False)
    order = ("TP" if summary.get("TimeFirst", True) else "PT") + (
        "ZC" if summary.get("SlicesFirst", True) else "CZ"
    )
    order = "Q" * any("Q" in place for _, place in found) + order
    lowest = {axis: min(place.get(axis, 0) for _, place in found) for axis in order}
    first = {axis: min(low, 0) for axis, low in lowest.items()}  # NDTiff counts z from below 0
    sizes = [_size(axis, first, found, summary) for axis in order]
    check_planes(math.prod(float(size) for size in sizes))
    where = np.full(math.prod(sizes), -1, np.int64)
    for k, (_, place) in enumerate(found):
        at = [place.get(axis, 0) - first[axis] for axis in order]
        where[np.ravel_multi_index(at, sizes)] = k
    kept = [k for k, size in enumerate(sizes) if size > 1]
    n_channels = sizes[order.index("C")]
    return FoundImage(
        axes="".join(order[k] for k in kept) + "YX",
        shape=(*(sizes[k] for k in kept), *page.shape[-2:]),
        dtype=page.dtype.newbyteorder("="),
        planes=PagePlanes(files, np.asarray([ref for ref, _ in found], np.int64)),
        name=str(summary.get("Prefix", "")),
        scale=Scale(channels=names if len(names) == n_channels else ()),
        where=where,
        spare=max(pages - int((where >= 0).sum()), 0),
    )


def _size(axis: str, first: Place, found: Any, summary: Mapping[str, Any]) -> int:
    """Return the length of an axis: as found, or as planned if that is larger."""
    met = int(max(place.get(axis, 0) for _, place in found)) - first[axis] + 1
    stated = summary.get(_COUNTS.get(axis, ""), 1)
    return max(met, int(stated) if isinstance(stated, int) else 1)
