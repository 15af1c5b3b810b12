"""Open an image file of any supported format, choose one of its images, and name its axes."""

from __future__ import annotations

import io
import math
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, Final, Union

import numpy as np

from dimstream_client.errors import Code, TiffError
from dimstream_client.files.formats import ENDINGS, HEAD_BYTES, kind_of, refuse_others
from dimstream_client.files.found_image import UNNAMED, FoundImage, check_is_file
from dimstream_client.files.hdf5 import find_hdf5
from dimstream_client.files.image_joining import join
from dimstream_client.files.imspector import find_imspector
from dimstream_client.files.missing_planes import arranged, complete, some
from dimstream_client.files.npy import read_npy
from dimstream_client.files.ome import Ome, read_ome, steady_interval, xml_text
from dimstream_client.files.png import find_png
from dimstream_client.files.scale import Scale
from dimstream_client.files.stack import ImageStack, given_as
from dimstream_client.files.tiff import find_tiff
from dimstream_client.files.tiff_pages import as_tiff_errors
from dimstream_client.header_checks import MAX_SIDE

Source = Union[str, "os.PathLike[str]", BinaryIO, bytes, bytearray, memoryview]
FRAME_AXES: Final = "PTCZ"


@dataclass(frozen=True)
class ImageInfo:
    """Description of an image of a file, without its pixels."""

    name: str
    axes: str
    shape: tuple[int, ...]
    dtype: str

    def __str__(self) -> str:
        return f"{self.name!r} {self.axes} {self.shape} {self.dtype}"


def list_images(source: Source) -> list[ImageInfo]:
    """Return name, axes, shape and type of each image of a file; reduced copies are left out.

    Raises
    ------
    TiffError
    FileNotFoundError, PermissionError, IsADirectoryError
    """
    with as_tiff_errors("the file"):
        found = _find(source, axes=None, max_bytes=None)
        found[0].planes.close()
        return [_info(image) for image in found]


def open_images(
    source: Source,
    *,
    series: int | str | None = None,
    axes: str | None = None,
    max_bytes: int | None = None,
    take_incomplete: bool = False,
    below_zero: bool = False,
    pixel_size_um: float | tuple[float, float] | None = None,
    z_step_um: float | None = None,
    frame_interval_s: float | None = None,
) -> ImageStack:
    """Open one image of a file as a stack of counts; at first, only its first frame is read.

    Parameters
    ----------
    source : path, binary file or bytes
        TIFF of all dialects, NPY, Imspector files, grey PNG. Files of a set are read together if a path is
        given. A binary file must be seekable; it is read from its start, and stays open when the stack is
        closed.
    series : int or str, optional
        Number in `list_images` or name of the image; required if a file has images of several kinds. Images
        of one kind are read together as stage positions.
    axes : str, optional
        Axes that replace those of the file: for example ``"TYX"`` for a movie that was saved as slices.
    max_bytes : int, optional
        Largest size of the whole unpacked stack; a file that declares more is refused before memory is
        allocated.
    take_incomplete : bool
        Whether to use the existing planes of a stack that declares more or fewer.
    below_zero : bool
        Whether to accept values below zero, for which a detector offset is or was subtracted.
    pixel_size_um, z_step_um, frame_interval_s : float, optional
        Values that replace those of the file; a pixel size is one number, or (x, y).

    Raises
    ------
    TiffError
        bad_image: not a supported image, no frames, truncated, unknown compression, colour, several images,
        incomplete, or axes other than P, T, C, Z, Y, X; oversize; wrong_dtype; not_finite.
    FileNotFoundError, PermissionError, IsADirectoryError
    """
    with as_tiff_errors("the file"):
        found = _find(source, axes=axes, max_bytes=max_bytes, alone=take_incomplete)
        try:
            image = _named(_chosen(found, series), axes)
            _check_size(image, max_bytes)
            image = _timed(_positions_first(complete(image, take_incomplete=take_incomplete)))
            given = Scale(_sides(pixel_size_um), z_step_um, frame_interval_s)
            stack = _stack(replace(image, scale=given.filled(image.scale)), below_zero=below_zero)
            _look_at_first(stack)
        except BaseException:
            found[0].planes.close()
            raise
    return stack


def _look_at_first(stack: ImageStack) -> None:
    """Refuse a file whose first frame cannot be read; NaN in one of several frames is accepted here."""
    try:
        stack.read(0)
    except TiffError as error:
        if error.code != Code.NOT_FINITE or len(stack) == 1:
            raise


# -- finding


def _find(
    source: Source, *, axes: str | None, max_bytes: int | None, alone: bool = False
) -> list[FoundImage]:
    """Return the images of a file; with `alone`, also if its metadata are in a missing file."""
    path = Path(source) if isinstance(source, (str, os.PathLike)) else None
    head, size = _head(source)
    if size == 0:
        raise TiffError(Code.BAD_IMAGE, f"the file is empty, expected an image: {', '.join(ENDINGS)}")
    kind = kind_of(head)
    refuse_others("" if path is None else path.name, kind)
    file: Any = source
    if isinstance(source, (bytes, bytearray, memoryview)) and kind != "npy":
        file = io.BytesIO(source)
    if kind == "npy":
        return [read_npy(file, axes=axes, max_bytes=max_bytes)]
    if kind == "imspector":
        return find_imspector(file)
    if kind == "hdf5":
        return find_hdf5(path)
    if kind == "png":
        return find_png(file, max_bytes=max_bytes)
    if kind == "ome":
        return _find_companion(path, axes)
    if kind is None:
        raise TiffError(
            Code.BAD_IMAGE,
            f"the first bytes, {head[:8]!r}, are of no file type that can be read; expected an undamaged "
            f"image of counts: {', '.join(ENDINGS)}; export the counts as greyscale TIFF",
        )
    return find_tiff(file if path is None else str(path), path, axes=axes, alone=alone)


def _head(source: Any) -> tuple[bytes, int]:
    if isinstance(source, (bytes, bytearray, memoryview)):
        return bytes(source[:HEAD_BYTES]), len(source)
    if isinstance(source, (str, os.PathLike)):
        check_is_file(source)
        with open(source, "rb") as file:
            return file.read(HEAD_BYTES), os.path.getsize(source)
    size = source.seek(0, os.SEEK_END)
    source.seek(0)
    head: bytes = source.read(HEAD_BYTES)
    source.seek(0)
    return head, size


def _find_companion(path: Path | None, axes: str | None) -> list[FoundImage]:
    """Return the images of a file that has only metadata: the first of their files is opened."""
    if path is None:
        raise TiffError(Code.BAD_IMAGE, "the file holds only metadata, expected an image: send its TIFF")
    ome: Ome = read_ome(xml_text(path.read_bytes()))
    names = [
        os.path.basename(p.file.replace("\\", "/")) for image in ome.images for p in image.pieces if p.file
    ]
    there = next((name for name in names if (path.parent / name).is_file()), None)
    if there is None:
        raise TiffError(
            Code.BAD_IMAGE,
            f"none of the files is there that {path.name} names: {some(dict.fromkeys(names))}",
        )
    return find_tiff(str(path.parent / there), path.parent / there, axes=axes)


# -- choosing


def _info(image: FoundImage) -> ImageInfo:
    return ImageInfo(image.name, image.axes, image.shape, image.dtype.name)


def _chosen(found: list[FoundImage], series: int | str | None) -> FoundImage:
    if series is not None:
        return found[_number(found, series)]
    if len(found) == 1:
        return found[0]
    first = found[0]
    alike = all((i.kind, i.scale) == (first.kind, first.scale) for i in found)
    if alike and "P" not in first.axes and _are_positions(found):
        several = f"{len(found)} images of one kind are taken as stage positions (P)"
        return replace(join("P", found), name="", remarks=(*first.remarks, several))
    raise TiffError(
        Code.BAD_IMAGE,
        f"the file holds {len(found)} images of different kinds; choose one by --series (series=): "
        f"{_listing(found)}",
    )


def _are_positions(found: list[FoundImage]) -> bool:
    """Return whether images of one kind are stage positions; in Imspector files they are detectors."""
    return not any(type(image.planes).__name__ == "LazyPlanes" for image in found)


def _number(found: list[FoundImage], series: int | str) -> int:
    names = [image.name for image in found]
    if isinstance(series, str) and names.count(series) == 1:
        return names.index(series)
    text = str(series)
    if text.isdecimal() and len(text) < 9 and int(text) < len(found):
        return int(text)
    raise TiffError(
        Code.BAD_IMAGE,
        f"expected the name or number of one image as series, got {text[:100]!r}; the file has "
        f"{_listing(found)}",
    )


def _listing(found: list[FoundImage]) -> str:
    return some([f"{n}: {_info(image)}" for n, image in enumerate(found)], "; ")


# -- axes


def _named(image: FoundImage, stated: str | None) -> FoundImage:
    axes, shape = _without_unnamed_ones(*_relabelled(image, stated))
    unnamed = [axis for axis in axes if axis in UNNAMED]
    if len(unnamed) == 1 and "T" not in axes:
        axes = axes.replace(unnamed[0], "T")
    if axes[-2:] != "YX" or not set(axes[:-2]) <= set(FRAME_AXES) or len(set(axes)) != len(axes):
        raise TiffError(
            Code.BAD_IMAGE,
            f"axes {axes!r} of shape {shape} cannot be streamed; expected YX after any of P, T, C, Z "
            "(such as TYX, TZYX): save with named axes, or say which they are",
        )
    return replace(image, axes=axes, shape=shape)


def _without_unnamed_ones(axes: str, shape: tuple[int, ...]) -> tuple[str, tuple[int, ...]]:
    """Return the axes and their lengths, without unnamed axes of length 1."""
    kept = [k for k, axis in enumerate(axes) if axis not in UNNAMED or shape[k] > 1]
    return "".join(axes[k] for k in kept), tuple(shape[k] for k in kept)


def _relabelled(image: FoundImage, stated: str | None) -> tuple[str, tuple[int, ...]]:
    """Return the given axes, and the shape that they belong to."""
    if stated is None:
        return image.axes, image.shape
    axes = stated.upper()
    if sorted(axes) == sorted(image.axes) and axes != image.axes and _lie_in_order(image, axes):
        return image.axes, image.shape
    if len(axes) == len(image.shape):
        return axes, image.shape
    long = tuple(side for side in image.shape[:-2] if side > 1) + image.shape[-2:]
    if len(axes) == len(long):
        return axes, long
    raise TiffError(Code.BAD_IMAGE, f"axes {stated!r} were told, but the file has shape {image.shape}")


def _lie_in_order(image: FoundImage, axes: str) -> bool:
    """Return whether the pages of the file are in the order of these axes."""
    place_of = getattr(image.planes, "place", None)
    if place_of is None or (image.numbers < 0).any():
        return False
    order = [image.axes.index(axis) for axis in axes[:-2]]
    numbers = image.numbers.reshape(image.shape[:-2]).transpose(order).reshape(-1)
    places = [place_of(int(k)) for k in numbers]
    return all(a < b for a, b in zip(places, places[1:]))


def _positions_first(image: FoundImage) -> FoundImage:
    at = image.axes.find("P")
    if at <= 0:
        return image
    order = [at, *(k for k in range(len(image.axes) - 2) if k != at)]
    return arranged(image, order, [np.arange(side) for side in image.shape[:-2]])


# -- the stack


def _timed(image: FoundImage) -> FoundImage:
    """Return the image with the time step from its planes' times, if they are even and the file has none."""
    if image.scale.frame_interval_s is not None or image.delta_t_s is None:
        return image
    interval = steady_interval(image.delta_t_s, image.axes, image.shape)
    if interval is None:
        return image
    remark = f"the time step, {interval:g} s, is that of the planes' times"
    scale = image.scale.filled(Scale(frame_interval_s=interval))
    return replace(image, scale=scale, remarks=(*image.remarks, remark))


def _check_size(image: FoundImage, max_bytes: int | None) -> None:
    shape = image.shape
    nbytes = math.prod(shape) * image.dtype.itemsize
    if nbytes == 0:
        raise TiffError(Code.BAD_IMAGE, f"the file declares shape {shape}: no pixels, expected at least one")
    if max(shape[-2:]) > MAX_SIDE:
        raise TiffError(Code.OVERSIZE, f"the file declares frames of {shape[-2:]}, at most {MAX_SIDE} a side")
    if max_bytes is not None and nbytes > max_bytes:
        raise TiffError(
            Code.OVERSIZE, f"the file declares {nbytes} bytes of pixels, at most {max_bytes} are taken"
        )


def _sides(pixel_size_um: float | tuple[float, float] | None) -> tuple[float, float] | None:
    if pixel_size_um is None or isinstance(pixel_size_um, tuple):
        return pixel_size_um
    return pixel_size_um, pixel_size_um


def _stack(image: FoundImage, *, below_zero: bool) -> ImageStack:
    scale = image.scale
    if len(scale.channels) != dict(zip(image.axes, image.shape)).get("C", 1):
        scale = replace(scale, channels=())
    return ImageStack(
        axes=image.axes,
        shape=image.shape,
        dtype=given_as(image.dtype, image.offset, below_zero=below_zero),
        name=image.name,
        scale=scale,
        labels=tuple(image.labels),
        started_s=image.started_s,
        remarks=(*image.remarks, *_not_found(scale, image)),
        _planes=image.planes,
        _numbers=image.numbers,
        _delta_t_s=image.delta_t_s,
        _offset=image.offset,
        _below_zero=below_zero,
    )


def _not_found(scale: Scale, image: FoundImage) -> list[str]:
    """Yield notes on missing metadata."""
    missing = []
    if scale.pixel_size_um is None:
        missing.append("pixel size")
    elif scale.square_pixel_um is None:
        x, y = scale.pixel_size_um
        return [f"pixels are not square: {x:g} x {y:g} um", *_steps_not_found(scale, image)]
    return [*(f"no {what} was found in the file" for what in missing), *_steps_not_found(scale, image)]


def _steps_not_found(scale: Scale, image: FoundImage) -> list[str]:
    remark = []
    if "Z" in image.axes and scale.z_step_um is None:
        remark.append("no z step was found in the file")
    if "T" in image.axes and scale.frame_interval_s is None:
        known = image.delta_t_s is not None
        remark.append(
            "time points are not evenly spaced, so there is no time step; their times are kept"
            if known
            else "no time step was found in the file"
        )
    return remark
