"""TIFF stacks: read page by page with every declared size checked first, written page by page as OME-TIFF.

Needs the extra ``tiff`` (tifffile, imagecodecs).
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
import tifffile

from dimstream_client.errors import Code, TiffError
from dimstream_client.fields import DTYPES, MAX_SIDE
from dimstream_client.messages import PlaneIndex
from dimstream_client.tiff_metadata import (
    Scale,
    planes_of_ome,
    scale_of_imagej,
    scale_of_ome,
    scale_of_resolution,
)
from dimstream_client.tiff_writer import Source, StackWriter

__all__ = ["Scale", "Stack", "StackWriter", "open_stack"]

MAX_PLANES: Final = 1_000_000  # more take minutes only to be listed
MAX_XML: Final = 64 * 2**20  # characters
MAX_ELEMENTS: Final = 1_000_000  # tags of OME-XML: some seconds, and some 100 MB
_FRAME_AXES: Final = "PTCZ"
_UNNAMED_AXES: Final = "QI"  # tifffile's letters for an axis that the file does not name
_CASTS: Final = {"int16": "uint16", "float64": "float32"}
_PALETTE, _GREY, _GREY_INVERTED = 3, 1, 0
# Codecs that are told how much they may unpack. The others (JPEG, PNG, JPEG 2000 ...) take as much memory as
# their own headers say: 700 bytes can stand for gigabytes.
_BOUNDED_CODECS: Final[Mapping[int, str]] = {
    1: "none",
    5: "LZW",
    8: "deflate",
    32946: "deflate",
    32773: "PackBits",
    34925: "LZMA",
    34926: "Zstandard",
    50000: "Zstandard",
}


@dataclass(frozen=True)
class Stack:
    """An open stack of counts; use it as a context manager, or `close` it.

    Parameters
    ----------
    axes : str
        One letter for each axis, slowest first, ending in ``YX``: ``"TZYX"``.
    shape : tuple of int
    dtype : {"uint8", "uint16", "float32"}
        Of the frames that `read` returns. int16 and float64 files are cast, with a check.
    scale : Scale
        Pixel size, z step, frame interval and channel names where the file says them.
    """

    axes: str
    shape: tuple[int, ...]
    dtype: str
    scale: Scale
    _reader: _Reader

    @property
    def pixel_size_um(self) -> float | None:
        """Side of a pixel in micrometres."""
        return self.scale.pixel_size_um

    @property
    def frame_interval_s(self) -> float | None:
        """Seconds from one time point to the next."""
        return self.scale.frame_interval_s

    @property
    def frame_shape(self) -> tuple[int, int]:
        """(H, W)."""
        return self.shape[-2], self.shape[-1]

    def __len__(self) -> int:
        return math.prod(self.shape[:-2])

    def index(self, n: int) -> PlaneIndex:
        """Return where frame `n` belongs, in the order in which the file stores the frames."""
        places = np.unravel_index(n, self.shape[:-2]) if len(self.shape) > 2 else ()
        return PlaneIndex(**{axis.lower(): int(place) for axis, place in zip(self.axes, places)})

    def read(self, n: int) -> npt.NDArray[Any]:
        """Return frame `n`, (H, W) of `dtype`, photon counts.

        Raises
        ------
        TiffError
            bad_image: truncated or damaged; not_finite; wrong_dtype: counts that the cast would change.
        """
        with _as_tiff_errors(f"frame {n}"):
            stored = self._reader.stored(n)
        return _counts(stored, offset=self._reader.offset, dtype=self.dtype, n=n)

    def frames(self) -> Iterator[npt.NDArray[Any]]:
        """Iterate over the frames in the order in which the file stores them."""
        return (self.read(n) for n in range(len(self)))

    def asarray(self) -> npt.NDArray[Any]:
        """Return the whole stack in the shape of `axes`."""
        out = np.empty((len(self), *self.frame_shape), self.dtype)
        for n in range(len(self)):
            out[n] = self.read(n)
        return out.reshape(self.shape)

    def close(self) -> None:
        """Close the file, when `open_stack` opened it."""
        self._reader.file.close()

    def __enter__(self) -> Stack:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def open_stack(source: Source, *, max_bytes: int | None = None, axes: str | None = None) -> Stack:
    """Open a TIFF, ImageJ or OME-TIFF file of counts; only its first frame is read now.

    Parameters
    ----------
    source : path or binary file
        A binary file must be able to seek, is read from its start, and stays open when the stack is closed.
    max_bytes : int, optional
        Largest size of the whole stack, unpacked; a file that declares more is refused before
        memory is taken.
    axes : str, optional
        Overrules what the file says of its axes: ``"TYX"`` for a movie that ImageJ saved as slices.

    Raises
    ------
    TiffError
        bad_image: no TIFF, no frames, truncated, unknown compression, colour, palette, axes that are not
        among P, T, C, Z, Y, X; oversize; wrong_dtype; not_finite.
    FileNotFoundError, PermissionError, IsADirectoryError
    """
    if isinstance(source, (str, os.PathLike)):
        source = os.fspath(source)
        size = os.path.getsize(source)
    else:
        size = source.seek(0, os.SEEK_END)
        source.seek(0)
    if size == 0:
        raise TiffError(Code.BAD_IMAGE, "the file is empty, expected a TIFF")
    with _as_tiff_errors("the file"):
        file = tifffile.TiffFile(source, _multifile=False)
    try:
        with _as_tiff_errors("the file"):
            stack = _stack(file, max_bytes=max_bytes, axes=axes)
        stack.read(0)
    except BaseException:
        file.close()
        raise
    return stack


class _as_tiff_errors:
    """Translate whatever tifffile and its codecs raise on damaged bytes."""

    def __init__(self, what: str) -> None:
        self._what = what

    def __enter__(self) -> None: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, Exception) and not isinstance(
            error, (TiffError, FileNotFoundError, PermissionError, IsADirectoryError)
        ):
            raise TiffError(
                Code.BAD_IMAGE,
                f"{self._what} cannot be read as TIFF ({type(error).__name__}: {str(error)[:200]}); "
                "expected an undamaged greyscale TIFF, save it anew",
            ) from error


@dataclass(frozen=True)
class _Reader:
    file: tifffile.TiffFile
    series: tuple[tifffile.TiffPageSeries, ...]
    offset: int  # what the file adds to each count

    def stored(self, n: int) -> npt.NDArray[Any]:
        """Return frame `n` as the file stores it."""
        per_series = math.prod(self.series[0].shape[:-2])
        series, n = self.series[n // per_series], n % per_series
        height, width = series.shape[-2:]
        if len(series.pages) == per_series and series.keyframe.shape == (height, width):
            return self._page(series.pages[n], n)
        if series.dataoffset is None:
            raise TiffError(
                Code.BAD_IMAGE, "several frames share one compressed page; expected one page for each frame"
            )
        nbytes = height * width * series.dtype.itemsize
        start = series.dataoffset + n * nbytes
        if start + nbytes > self.file.filehandle.size:
            raise _truncated(n)
        dtype = series.dtype.newbyteorder(self.file.byteorder)
        read = self.file.filehandle.read_array(dtype, height * width, start)
        return np.asarray(read).reshape(height, width)

    def _page(self, page: Any, n: int) -> npt.NDArray[Any]:
        if page is None:
            raise TiffError(Code.BAD_IMAGE, f"frame {n} is missing from the file; expected all in one file")
        end = max((o + c for o, c in zip(page.dataoffsets, page.databytecounts)), default=0)
        if end > self.file.filehandle.size or 0 in page.databytecounts or not page.databytecounts:
            raise _truncated(n)
        key, first = page.keyframe, self.series[0].keyframe
        if (key.shape, key.dtype) != (first.shape, first.dtype):
            raise TiffError(
                Code.BAD_IMAGE,
                f"frame {n} is {key.shape} of {key.dtype}, the first is {first.shape} of {first.dtype}; "
                "expected frames of one kind",
            )
        if key.compression not in _BOUNDED_CODECS:
            raise _unbounded(n, key.compression)
        if key.compression == 1 and sum(page.databytecounts) < key.nbytes:
            raise _truncated(n)
        pixels = np.asarray(page.asarray())
        if pixels.shape != key.shape:  # tifffile gives nothing for samples of a kind that it does not know
            raise TiffError(
                Code.BAD_IMAGE,
                f"frame {n} has samples of {key.bitspersample} bits, format {key.sampleformat}, that cannot "
                "be read; expected counts of 8, 16 or 32 bits: save it anew",
            )
        return pixels


def _unbounded(n: int, compression: int) -> TiffError:
    name = getattr(compression, "name", compression)
    return TiffError(
        Code.BAD_IMAGE,
        f"frame {n} cannot be read as TIFF that is packed by {name}; expected "
        f"{', '.join(dict.fromkeys(_BOUNDED_CODECS.values()))}: save it anew",
    )


def _truncated(n: int) -> TiffError:
    return TiffError(
        Code.BAD_IMAGE, f"the file is truncated: frame {n} ends beyond its end; copy or save it again"
    )


def _stack(file: tifffile.TiffFile, *, max_bytes: int | None, axes: str | None) -> Stack:
    _check_planes(_count_pages(file))
    if file.ome_metadata:
        _check_text(file.ome_metadata)
        _check_planes(planes_of_ome(file.ome_metadata))
    series = tuple(file.series)
    first = series[0]
    if any((s.axes, s.shape, s.dtype) != (first.axes, first.shape, first.dtype) for s in series):
        raise TiffError(
            Code.BAD_IMAGE, f"the file holds {len(series)} images of different kinds; expected one stack"
        )
    _check_kind(file, first)
    found, shape = first.axes, tuple(first.shape)
    if len(series) > 1:
        found, shape = "P" + found, (len(series), *shape)
    declared = (file.imagej_metadata or {}).get("images", 1)
    if declared > math.prod(shape[:-2]):
        raise _truncated(math.prod(shape[:-2]))
    found = _named_axes(found, shape, axes)
    _check_size(shape, first.dtype.itemsize, max_bytes)
    offset = _imagej_offset(file)
    stored = "int16" if offset else first.dtype.name
    dtype = _CASTS.get(stored, stored)
    if dtype not in DTYPES:
        raise TiffError(
            Code.WRONG_DTYPE,
            f"the file holds {first.dtype.name}, expected counts as {', '.join(DTYPES)}, int16 or float64",
        )
    reader = _Reader(file=file, series=series, offset=offset)
    return Stack(axes=found, shape=shape, dtype=dtype, scale=_scale(file), _reader=reader)


def _check_planes(declared: float) -> None:
    if not declared <= MAX_PLANES:  # nor NaN, which is neither
        raise TiffError(
            Code.OVERSIZE,
            f"the file declares {declared:.0f} planes, at most {MAX_PLANES} are taken; split it",
        )


def _check_text(xml: str) -> None:
    """Refuse OME-XML whose tree of objects, tens of times as large as the text, would fill the memory."""
    elements = xml.count("<")
    if len(xml) > MAX_XML or elements > MAX_ELEMENTS:
        raise TiffError(
            Code.OVERSIZE,
            f"the file has OME-XML of {len(xml)} characters and {elements} tags, at most {MAX_XML} and "
            f"{MAX_ELEMENTS} are taken; split it",
        )


def _count_pages(file: tifffile.TiffFile) -> int:
    """Return the number of pages; refuse a broken chain, of which tifffile takes the sound part."""
    layout, handle = file.tiff, file.filehandle
    handle.seek(8 if layout.is_bigtiff else 4)
    seen: set[int] = set()
    while offset := int.from_bytes(handle.read(layout.offsetsize), _byteorder(file)):
        handle.seek(min(offset, handle.size))
        n_tags = int.from_bytes(handle.read(layout.tagnosize), _byteorder(file))
        end = offset + layout.tagnosize + n_tags * layout.tagsize
        if end + layout.offsetsize > handle.size or offset in seen:
            raise _truncated(len(seen))
        seen.add(offset)
        if len(seen) > MAX_PLANES:
            break
        handle.seek(end)
    if not seen:
        raise TiffError(Code.BAD_IMAGE, "the TIFF holds no pages, expected at least one frame")
    return len(seen)


def _byteorder(file: tifffile.TiffFile) -> Literal["little", "big"]:
    return "little" if file.byteorder == "<" else "big"


def _check_kind(file: tifffile.TiffFile, series: tifffile.TiffPageSeries) -> None:
    page = series.keyframe
    grey = page.photometric == _GREY or (page.photometric == _GREY_INVERTED and file.is_imagej)
    if page.photometric == _PALETTE:
        raise TiffError(Code.BAD_IMAGE, "the file is paletted (colour-mapped); expected greyscale counts")
    if not grey or page.samplesperpixel != 1 or "S" in series.axes:
        kind = getattr(page.photometric, "name", page.photometric)
        raise TiffError(
            Code.BAD_IMAGE,
            f"the file is {kind} with {page.samplesperpixel} samples a pixel; expected greyscale counts "
            "(MINISBLACK, 1 sample): export channels as separate pages",
        )


def _named_axes(found: str, shape: tuple[int, ...], told: str | None) -> str:
    axes = found if told is None else told.upper()
    if told is not None and len(told) != len(shape):
        raise TiffError(Code.BAD_IMAGE, f"axes {told!r} were told, but the file has shape {shape}")
    unnamed = [axis for axis in axes if axis in _UNNAMED_AXES]
    if len(unnamed) == 1 and "T" not in axes:
        axes = axes.replace(unnamed[0], "T")
    frame_axes = axes[:-2]
    if axes[-2:] != "YX" or not set(frame_axes) <= set(_FRAME_AXES) or len(set(axes)) != len(axes):
        raise TiffError(
            Code.BAD_IMAGE,
            f"axes {axes!r} of shape {shape} cannot be streamed; expected YX after any of P, T, C, Z "
            "(such as TYX, TZYX): save with named axes, or say which they are",
        )
    return axes


def _check_size(shape: tuple[int, ...], itemsize: int, max_bytes: int | None) -> None:
    nbytes = math.prod(shape) * itemsize
    if nbytes == 0:
        raise TiffError(Code.BAD_IMAGE, f"the file declares shape {shape}: no pixels, expected at least one")
    if max(shape[-2:]) > MAX_SIDE:
        raise TiffError(Code.OVERSIZE, f"the file declares frames of {shape[-2:]}, at most {MAX_SIDE} a side")
    if max_bytes is not None and nbytes > max_bytes:
        raise TiffError(
            Code.OVERSIZE, f"the file declares {nbytes} bytes of pixels, at most {max_bytes} are taken"
        )


def _imagej_offset(file: tifffile.TiffFile) -> int:
    """Return what the file adds to each count: ImageJ stores signed 16 bit with 32,768 added."""
    metadata = file.imagej_metadata or {}
    if "cf" not in metadata:
        return 0
    if (metadata["cf"], metadata.get("c0"), metadata.get("c1")) == (0, -32768.0, 1.0):
        return 32768
    raise TiffError(
        Code.BAD_IMAGE, "ImageJ calibrated the grey values of this file; expected counts, uncalibrated"
    )


def _scale(file: tifffile.TiffFile) -> Scale:
    tags = file.pages.first.tags
    tag = tags.get("XResolution")
    per_unit = tag.value[0] / tag.value[1] if tag is not None and tag.value[1] else None
    if file.ome_metadata:
        return scale_of_ome(file.ome_metadata)
    if file.imagej_metadata:
        return scale_of_imagej(file.imagej_metadata, per_unit)
    unit = tags.get("ResolutionUnit")
    return scale_of_resolution(per_unit, 2 if unit is None else int(unit.value))


def _counts(stored: npt.NDArray[Any], *, offset: int, dtype: str, n: int) -> npt.NDArray[Any]:
    if offset:
        stored = stored.astype(np.int32) - offset
    if stored.dtype.kind == "f" and not np.isfinite(stored).all():
        raise TiffError(Code.NOT_FINITE, f"frame {n} holds NaN or infinity, expected finite counts")
    if stored.dtype.kind == "i" and stored.min() < 0:
        raise TiffError(
            Code.WRONG_DTYPE,
            f"frame {n} holds {stored.min()}, expected photon counts from 0 on; subtract the offset first",
        )
    with np.errstate(over="ignore"):
        counts = np.ascontiguousarray(stored, dtype=dtype)
    if stored.dtype == np.float64 and not np.isfinite(counts).all():
        raise TiffError(Code.WRONG_DTYPE, f"frame {n} holds values beyond the range of float32")
    return counts
