"""Read images of TIFF files of all dialects: OME, Micro-Manager, tifffile, ImageJ, LSM, STK, plain."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final
from xml.etree import ElementTree

import numpy as np
import tifffile

from dimstream_client.errors import Code, TiffError
from dimstream_client.files.found_image import ArrayPlanes, FoundImage
from dimstream_client.files.image_joining import join
from dimstream_client.files.micromanager import find_micromanager
from dimstream_client.files.ome import Ome, check_planes, read_ome, xml_text
from dimstream_client.files.ome_tiff import images_of_ome, with_master
from dimstream_client.files.tiff_pages import (
    REDUCED,
    ContiguousPlanes,
    FileSet,
    PagePlanes,
    PathOrFile,
    as_tiff_errors,
    check_grey,
    is_copy,
    open_tiff,
    page_offsets,
    unknown_samples,
)
from dimstream_client.files.tiff_scale import of_micromanager, scale_of_tiff, times_of_pages

MAGICS: Final = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_SIGNED: Final = (0, -32768.0, 1.0)  # ImageJ's calibration of signed 16-bit images
_SERIES: Final = ("lsm", "fluoview", "stk", "sis", "scanimage", "nih")


def find_tiff(
    source: PathOrFile, path: Path | None, *, axes: str | None, alone: bool = False
) -> list[FoundImage]:
    """Return the images of a TIFF file, and of the files of its set next to `path`.

    Parameters
    ----------
    alone : bool
        Whether a file is read as plain pages when the file with its metadata is missing.

    Raises
    ------
    TiffError FileNotFoundError, PermissionError, IsADirectoryError
    """
    file = open_tiff(source)
    try:
        with as_tiff_errors("the file"):
            return _find(file, path, axes, alone)
    except BaseException:
        file.close()
        raise


def _find(file: tifffile.TiffFile, path: Path | None, axes: str | None, alone: bool) -> list[FoundImage]:
    offsets = page_offsets(file)
    check_planes(len(offsets))
    ome = _ome(file, path, axes, alone)
    if ome is not None and ome.images:
        found = images_of_ome(file, ome, path, axes=axes)
        return [_completed(image, file, by_ome=True) for image in found]
    return [_completed(image, file) for image in _without_ome(file, offsets, path, axes)]


def _ome(file: tifffile.TiffFile, path: Path | None, axes: str | None, alone: bool) -> Ome | None:
    """Return the content of a file's OME-XML; None if there is none, or it is damaged and axes are given."""
    description = str(file.pages.first.description)
    if description.startswith(("ÿþ", "þÿ")):  # UTF-16, which tifffile reads as Latin-1
        raw = description.encode("latin-1", "replace")  # without the zeros at its end
        description = xml_text(raw + bytes(len(raw) % 2))
    xml = file.ome_metadata or (description if "<OME" in description[:2000] else "")
    if not xml:
        return None
    try:
        images = read_ome(xml)
    except (ElementTree.ParseError, ValueError, KeyError) as error:
        if axes is not None:
            return None
        raise TiffError(
            Code.BAD_IMAGE,
            f"the OME-XML of the file is damaged ({error}); save it again, or say the axes (--axes, axes=): "
            "then its pages are taken as they come",
        ) from error
    return with_master(images, path, alone=alone)


def _without_ome(
    file: tifffile.TiffFile, offsets: list[int], path: Path | None, axes: str | None
) -> list[FoundImage]:
    stated = axes is not None
    if file.is_micromanager and (found := find_micromanager(file, offsets, path)) is not None:
        return [found]
    if file.is_shaped:
        return _shaped(file, len(offsets), stated)
    if file.is_lsm or (not file.is_imagej and any(getattr(file, f"is_{kind}") for kind in _SERIES)):
        return [_of_series(file, series, len(offsets)) for series in _main_series(file)]
    if file.is_imagej:
        return [_imagej(file, len(offsets))]
    return _plain(file, len(offsets), stated)


def _completed(image: FoundImage, file: tifffile.TiffFile, *, by_ome: bool = False) -> FoundImage:
    """Return the image with scale and times from tags, if the description does not have them.

    With OME-XML, other tags can be only defaults, which Bio-Formats and Bruker write if the pixel size is
    unknown.
    """
    if image.dtype.kind not in "buif":
        raise TiffError(
            Code.WRONG_DTYPE, f"the file holds {image.dtype.name}, expected counts: integers or floats"
        )
    scale, remarks = (of_micromanager(file), ()) if by_ome else scale_of_tiff(file)
    image = replace(image, scale=image.scale.filled(scale), remarks=(*image.remarks, *remarks))
    return image if image.delta_t_s is not None else replace(image, delta_t_s=times_of_pages(file, image))


# -- tifffile's own ("shaped")


def _shaped(file: tifffile.TiffFile, pages: int, stated_axes: bool) -> list[FoundImage]:
    """Return images, each from a page with a description on; images of one kind are frames of a script."""
    files, (numbers, copies) = FileSet(file), _without_copies(file, pages)
    begin = [k for k, n in enumerate(numbers) if k == 0 or _is_described(file.pages.get(n, aspage=True))]
    found = []
    for start, stop in zip(begin, [*begin[1:], len(numbers)]):
        page = file.pages.get(numbers[start], aspage=True)
        found.append(_shaped_image(files, page, _described(page), numbers[start:stop], stated_axes))
    return _with_remark_on_copies(_joined(found), copies)


def _without_copies(file: tifffile.TiffFile, pages: int) -> tuple[list[int], int]:
    """Return the pages that are not copies of others, and the number of copies."""
    first = file.pages.first
    numbers = [n for n in range(pages) if n == 0 or not is_copy(file.pages.get(n, aspage=True), first)]
    return numbers, pages - len(numbers)


def _with_remark_on_copies(images: list[FoundImage], copies: int) -> list[FoundImage]:
    if not copies:
        return images
    remark = f"{copies} reduced pages (thumbnails, pyramids, masks) are left out"
    return [replace(image, remarks=(*image.remarks, remark)) for image in images]


def _described(page: Any) -> Mapping[str, Any]:
    text = page.shaped_description
    if text is None:
        return {}
    stated = tifffile.tifffile.shaped_description_metadata(text)
    return stated if isinstance(stated, dict) else {}


def _is_described(page: Any) -> bool:
    return page.shaped_description is not None


def _shaped_image(
    files: FileSet, page: Any, stated: Mapping[str, Any], pages: Sequence[int], stated_axes: bool
) -> FoundImage:
    if page.dtype is None:
        raise unknown_samples(page, pages[0])
    shape = tuple(int(side) for side in stated.get("shape", page.shape))
    axes = str(stated.get("axes") or "").upper()
    planar = page.samplesperpixel > 1
    fits = len(shape) >= 2 and min(shape) >= 1 and shape[-2:] == page.shape[-2:]
    if not fits or (len(page.shape) != 2 and not planar):
        return _one_kind(files, page, pages, stated_axes)
    remarks: tuple[str, ...] = ()
    if len(axes) != len(shape):
        axes = "Q" * (len(shape) - 2) + "YX"
        if planar and not stated_axes:
            _check_no_picture(page)
            remarks = (
                f"the {page.samplesperpixel} colours of a pixel are taken as frames: tifffile made them so",
            )
    check_grey(page, samples_are_planes="S" not in axes or stated_axes, inverted=False)
    depth = math.prod(page.shape[:-2])
    declared = math.prod(shape[:-2])
    check_planes(declared)
    image = FoundImage(
        axes=axes,
        shape=shape,
        dtype=page.dtype.newbyteorder("="),
        planes=PagePlanes(files, _refs(pages), depth),
        name=str(stated.get("name") or ""),
        remarks=remarks,
    )
    if len(pages) == 1 and declared > depth and page.is_contiguous:
        return _virtual(image, files, page, declared)
    return _counted(image, len(pages) * depth)


def _check_no_picture(page: Any) -> None:
    """Refuse possible colour images: tifffile writes three or four frames as RGB unless told otherwise."""
    check_grey(page, samples_are_planes=page.dtype.name != "uint8" and page.planarconfig == 2, inverted=False)


def _virtual(image: FoundImage, files: FileSet, page: Any, declared: int) -> FoundImage:
    """Return the image of a single page with all planes after it."""
    height, width = page.shape[-2:]
    dtype = page.dtype.newbyteorder(files.tiff(0).byteorder)
    start = page.dataoffsets[0]
    room = files.tiff(0).filehandle.size - start
    there = min(declared, room // (height * width * dtype.itemsize))
    planes = ContiguousPlanes(files, start, dtype, (height, width), there)
    return _counted(replace(image, planes=planes), there)


def _counted(image: FoundImage, there: int) -> FoundImage:
    """Return the image with only its first `there` planes."""
    declared = len(image)
    if there < declared:
        where = np.arange(declared)
        where[there:] = -1
        return replace(image, where=where)
    return replace(image, spare=there - declared)


def _refs(pages: Sequence[int]) -> Any:
    return np.stack([np.zeros(len(pages), np.int64), np.array(pages, np.int64)], axis=1)


# -- ImageJ


def _imagej(file: tifffile.TiffFile, pages: int) -> FoundImage:
    stated = file.imagej_metadata or {}
    files, page = FileSet(file), file.pages.first
    if page.dtype is None:
        raise unknown_samples(page, 0)
    sizes = {
        axis: max(int(stated.get(name, 1)), 1) for axis, name in zip("TZC", ("frames", "slices", "channels"))
    }
    planar = page.samplesperpixel > 1 and page.planarconfig == 2 and page.samplesperpixel == sizes["C"]
    check_grey(page, samples_are_planes=planar, inverted=True)
    axes, declared = _imagej_axes(stated, sizes, pages)
    check_planes(declared)
    shape = tuple(sizes[axis] for axis in axes)
    image = FoundImage(
        axes=axes + "YX",
        shape=(*shape, *page.shape[-2:]),
        dtype=page.dtype.newbyteorder("="),
        planes=PagePlanes(files, _refs(range(pages)), math.prod(page.shape[:-2])),
        labels=_labels(stated, declared),
        offset=_imagej_offset(stated),
    )
    if pages == 1 and declared > 1 and not planar and page.compression == 1:
        return _virtual(image, files, page, declared)
    return _counted(image, pages * math.prod(page.shape[:-2]))


def _imagej_axes(stated: Mapping[str, Any], sizes: dict[str, int], pages: int) -> tuple[str, int]:
    """Return the axes before YX that are longer than 1, and their product; unnamed ones are added to
    `sizes`."""
    order = {"ctz": "ZTC", "zct": "TCZ", "ztc": "CTZ", "tcz": "ZCT", "tzc": "CZT"}
    axes = "".join(axis for axis in order.get(str(stated.get("order", "")).lower(), "TZC") if sizes[axis] > 1)
    named, images = math.prod(sizes.values()), max(int(stated.get("images", 1)), 1)
    if named == 1 and images == 1:
        images = pages
    if images > named and images % named == 0:
        sizes["I"] = images // named
        return "I" + axes, images
    return axes, named


def _labels(stated: Mapping[str, Any], planes: int) -> tuple[str, ...]:
    labels = stated.get("Labels")
    if not isinstance(labels, (list, tuple)):
        return ()
    texts = [str(label) for label in labels]
    return tuple(texts) if len(texts) == planes and any(texts) else ()


def _imagej_offset(stated: Mapping[str, Any]) -> int:
    """Return the offset that the file adds to each count: ImageJ adds 32,768 to signed 16 bit."""
    if "cf" not in stated:
        return 0
    if (stated["cf"], stated.get("c0"), stated.get("c1")) == _SIGNED:
        return 32768
    raise TiffError(
        Code.BAD_IMAGE, "ImageJ calibrated the grey values of this file; expected counts, uncalibrated"
    )


# -- what tifffile knows best


def _main_series(file: tifffile.TiffFile) -> list[tifffile.TiffPageSeries]:
    """Return the series of a file, without those of reduced pages."""
    whole = [series for series in file.series if not series.keyframe.subfiletype & REDUCED]
    return whole or list(file.series)


def _is_reduced(file: tifffile.TiffFile, number: int) -> bool:
    page: Any = file.pages.get(number, aspage=True)
    return bool(page.subfiletype & REDUCED)


def _of_series(file: tifffile.TiffFile, series: tifffile.TiffPageSeries, pages: int) -> FoundImage:
    files, page = FileSet(file), series.keyframe
    axes, shape = str(series.axes).replace("R", "P"), tuple(int(side) for side in series.shape)
    if page.dtype is None:
        raise unknown_samples(page, 0)
    check_grey(page, samples_are_planes="S" not in axes and page.planarconfig == 2, inverted=False)
    if axes[-2:] != "YX":
        return _one_kind(files, page, range(pages), False)
    check_planes(math.prod(float(side) for side in shape[:-2]))
    depth = math.prod(page.shape[:-2])
    numbers = [None if each is None else each.index for each in series.pages]
    if file.is_lsm:  # every second page is a thumbnail, unless the file was saved without them
        numbers = [n for n in range(pages) if not _is_reduced(file, n)]
    image = FoundImage(
        axes=axes,
        shape=shape,
        dtype=page.dtype.newbyteorder("="),
        planes=ArrayPlanes(np.empty((0, 1, 1))),
        name=str(series.name or ""),
    )
    if len(numbers) == 1 and len(image) > depth:
        return _virtual(image, files, page, len(image))
    there = [n for n in numbers if n is not None]
    where = np.full((len(numbers), depth), -1, np.int64)
    where[[n is not None for n in numbers]] = np.arange(len(there) * depth).reshape(len(there), depth)
    refs = np.stack([np.zeros(len(there), np.int64), np.asarray(there, np.int64)], axis=1)
    image = replace(image, planes=PagePlanes(files, refs, depth))
    if where.size != len(image):
        return _counted(image, len(there) * depth)
    return replace(image, where=where.reshape(-1))


# -- pages and nothing else


def _plain(file: tifffile.TiffFile, pages: int, stated_axes: bool) -> list[FoundImage]:
    """Return pages of one kind as frames, without reduced ones."""
    files = FileSet(file)
    kinds: dict[Any, list[int]] = {}
    whole, copies = _without_copies(file, pages)
    for number in whole:
        page: Any = file.pages.get(number, aspage=True)
        key = page.shape, str(page.dtype), page.samplesperpixel, page.photometric
        kinds.setdefault(key, []).append(number)
    found = [
        _one_kind(files, file.pages.get(numbers[0], aspage=True), numbers, stated_axes)
        for numbers in kinds.values()
    ]
    return _with_remark_on_copies(found, copies)


def _one_kind(files: FileSet, page: Any, pages: Sequence[int], stated_axes: bool) -> FoundImage:
    """Return pages of one kind as an image, along an axis without a name."""
    if page.dtype is None:
        raise unknown_samples(page, 0)
    planar = page.samplesperpixel > 1 and page.planarconfig == 2
    check_grey(page, samples_are_planes=planar and stated_axes, inverted=False)
    numbers = np.asarray(pages, np.int64)
    lengths = (len(numbers),) if len(numbers) > 1 else ()
    return FoundImage(
        axes="I" * len(lengths) + "Q" * planar + "YX",
        shape=(*lengths, *page.shape),
        dtype=page.dtype.newbyteorder("="),
        planes=PagePlanes(
            files, np.stack([np.zeros_like(numbers), numbers], axis=1), page.samplesperpixel if planar else 1
        ),
    )


def _joined(images: list[FoundImage]) -> list[FoundImage]:
    """Return the images; those of one kind and one name are joined along an axis without a name."""
    kinds: dict[Any, list[FoundImage]] = {}
    for image in images:
        kinds.setdefault((image.kind, image.name), []).append(image)
    return [group[0] if len(group) == 1 else _frames(group) for group in kinds.values()]


def _frames(images: list[FoundImage]) -> FoundImage:
    """Return images that a script wrote one after the other, as time points."""
    joined = replace(join("I", images), spare=sum(image.spare for image in images))
    if len(joined.shape) == 3:
        return joined
    remark = (
        f"{len(images)} images of one kind, written one after the other, are taken along an axis of their own"
    )
    return replace(joined, remarks=(*joined.remarks, remark))
