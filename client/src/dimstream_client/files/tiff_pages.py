"""Read pages of TIFF files, after a check of size, kind and codec."""

from __future__ import annotations

import logging
import math
import os
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, BinaryIO, Final, Literal, Union

import numpy as np
import numpy.typing as npt
import tifffile

from dimstream_client.errors import Code, TiffError
from dimstream_client.files import ome
from dimstream_client.files.found_image import check_is_file, truncated
from dimstream_client.files.lzw import check_lzw

MAX_OPEN: Final = 16  # files of a set
LZW: Final = 5
GREY_INVERTED, GREY, RGB, PALETTE = 0, 1, 2, 3
REDUCED: Final = 1  # bit of NewSubfileType: a smaller copy of another page
MASK: Final = 4  # and: which pixels of another page are transparent
# Codecs with a limit of unpacked bytes. The others (JPEG, PNG, JPEG 2000 ...) take as much memory as
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

# What tifffile only logs of odd tags must not be printed where no logging is set up: it is checked here.
logging.getLogger("tifffile").addHandler(logging.NullHandler())

PathOrFile = Union[str, "os.PathLike[str]", BinaryIO]


class as_tiff_errors:
    """Convert errors of tifffile and its codecs on damaged bytes into TiffError."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._quiet = np.errstate(all="ignore")  # tifffile divides by what stands in tags

    def __enter__(self) -> None:
        self._quiet.__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._quiet.__exit__(kind, error, trace)
        if isinstance(error, Exception) and not isinstance(
            error, (TiffError, FileNotFoundError, PermissionError, IsADirectoryError)
        ):
            raise TiffError(
                Code.BAD_IMAGE,
                f"{self._what} cannot be read ({type(error).__name__}: {str(error)[:200]}); "
                "expected an undamaged image of counts, such as a greyscale TIFF: save it again",
            ) from error


def open_tiff(source: PathOrFile) -> tifffile.TiffFile:
    """Return the open file; tifffile does not open other files next to it."""
    if isinstance(source, (str, os.PathLike)):
        check_is_file(source)
    with as_tiff_errors("the file"):
        return tifffile.TiffFile(source, _multifile=False)


def page_offsets(file: tifffile.TiffFile) -> list[int]:
    """Return the position of each page, bytes; refuse a broken chain, of which tifffile reads a part."""
    layout, handle = file.tiff, file.filehandle
    order: Literal["little", "big"] = "little" if file.byteorder == "<" else "big"
    handle.seek(8 if layout.is_bigtiff else 4)
    seen: dict[int, None] = {}
    while offset := int.from_bytes(handle.read(layout.offsetsize), order):
        handle.seek(min(offset, handle.size))
        n_tags = int.from_bytes(handle.read(layout.tagnosize), order)
        end = offset + layout.tagnosize + n_tags * layout.tagsize
        if end + layout.offsetsize > handle.size or offset in seen:
            raise truncated(len(seen))
        seen[offset] = None
        if len(seen) > ome.MAX_PLANES:
            break
        handle.seek(end)
    if not seen:
        raise TiffError(Code.BAD_IMAGE, "the TIFF holds no pages, expected at least one frame")
    return list(seen)


class FileSet:
    """The TIFF files of a set. Only a few are open at a time; the first stays open."""

    def __init__(self, first: tifffile.TiffFile, paths: Sequence[str] = ()) -> None:
        self._first = first
        self._paths: list[str] = list(paths)
        self._open: OrderedDict[int, tifffile.TiffFile] = OrderedDict()

    def add(self, path: str) -> int:
        """Add a file and return its number."""
        self._paths.append(path)
        return len(self._paths)

    def tiff(self, number: int) -> tifffile.TiffFile:
        """Return the file of this number, 0 the first."""
        if number == 0:
            return self._first
        if number in self._open:
            self._open.move_to_end(number)
            return self._open[number]
        while len(self._open) >= MAX_OPEN:
            self._open.popitem(last=False)[1].close()
        self._open[number] = open_tiff(self._paths[number - 1])
        return self._open[number]

    def path(self, number: int) -> str:
        """Return the path of the file of this number; empty if it has none."""
        return str(self._first.filehandle.path or "") if number == 0 else self._paths[number - 1]

    def close(self) -> None:
        """Close all."""
        self._first.close()
        while self._open:
            self._open.popitem()[1].close()


class PagePlanes:
    """Planes that are pages, or several planes per page.

    Parameters
    ----------
    refs : (N, 2) int
        File and page of each.
    depth : int
        Number of planes in a page, one after the other.
    """

    def __init__(self, files: FileSet, refs: npt.NDArray[np.int64], depth: int = 1) -> None:
        self._files, self._refs, self._depth = files, refs, depth
        self._kind: tuple[Any, Any] | None = None
        self._unpacked: tuple[int, npt.NDArray[Any]] | None = None

    def __len__(self) -> int:
        return len(self._refs) * self._depth

    def stored(self, k: int) -> npt.NDArray[Any]:
        """Return plane `k` as stored in the file, (H, W)."""
        n, within = divmod(k, self._depth)
        if self._depth == 1:
            return self._pixels(n)
        if self._unpacked is None or self._unpacked[0] != n:
            self._unpacked = n, self._pixels(n).reshape(self._depth, *self._page(n).shape[-2:])
        plane: npt.NDArray[Any] = self._unpacked[1][within]
        return plane

    def check(self, k: int) -> bool:
        """Raise TiffError if plane `k` is missing; return whether it is packed."""
        return bool(self._checked(k // self._depth, k).compression != 1)

    def close(self) -> None:
        """Close the files."""
        self._files.close()

    def place(self, k: int) -> tuple[int, int]:
        """Return file and page of plane `k`."""
        file, page = self._refs[k // self._depth]
        return int(file), int(page)

    def paths(self) -> tuple[str, ...]:
        """Return the paths of the files that the planes lie in, where they have paths."""
        paths = (self._files.path(int(number)) for number in np.unique(self._refs[:, 0]))
        return tuple(path for path in paths if path)

    def page(self, k: int) -> Any:
        """Return the page of plane `k`."""
        return self._page(k // self._depth)

    def _page(self, n: int) -> Any:
        file, ifd = (int(part) for part in self._refs[n])
        return self._files.tiff(file).pages.get(ifd, aspage=True)

    def _checked(self, n: int, k: int) -> Any:
        with as_tiff_errors(f"frame {k}"):
            page = self._page(n)
            if self._kind is None:
                first = self._page(0)
                self._kind = first.shape, first.dtype
            number = int(self._refs[n][0])
            of = f" ({os.path.basename(self._files.path(number))})" if number else ""
            check_page(page, self._kind, self._files.tiff(number).filehandle.size, k, of)
        return page

    def _pixels(self, n: int) -> npt.NDArray[Any]:
        page = self._checked(n, n * self._depth)
        with as_tiff_errors(f"frame {n * self._depth}"):
            if page.compression == LZW:
                _check_codes(page)
            pixels = np.asarray(page.asarray())
        if pixels.shape != page.shape:  # tifffile gives nothing for samples of a kind that it does not know
            raise unknown_samples(page, n)
        return pixels


class ContiguousPlanes:
    """Planes stored one after the other after a single page, as ImageJ stores more than 4 GB."""

    def __init__(
        self, files: FileSet, start: int, dtype: np.dtype[Any], shape: tuple[int, int], n: int
    ) -> None:
        self._files, self._start, self._dtype, self._shape, self._n = files, start, dtype, shape, n

    def __len__(self) -> int:
        return self._n

    def stored(self, k: int) -> npt.NDArray[Any]:
        """Return plane `k` as stored in the file, (H, W)."""
        self.check(k)
        size = math.prod(self._shape)
        at = self._start + k * size * self._dtype.itemsize
        with as_tiff_errors(f"frame {k}"):
            read = self._files.tiff(0).filehandle.read_array(self._dtype, size, at)
        return np.asarray(read).reshape(self._shape)

    def check(self, k: int) -> bool:
        """Raise TiffError if the file ends before the end of plane `k`."""
        end = self._start + (k + 1) * math.prod(self._shape) * self._dtype.itemsize
        if end > self._files.tiff(0).filehandle.size:
            raise truncated(k)
        return False

    def close(self) -> None:
        """Close the file."""
        self._files.close()

    def paths(self) -> tuple[str, ...]:
        """Return the paths of the files that the planes lie in, where they have paths."""
        return tuple(path for path in (self._files.path(0),) if path)


def _check_codes(page: Any) -> None:
    handle = page.parent.filehandle
    for offset, count in zip(page.dataoffsets, page.databytecounts):
        handle.seek(offset)
        check_lzw(handle.read(count))


def check_page(page: Any, kind: tuple[Any, Any], file_size: int, k: int, of: str = "") -> None:
    """Raise TiffError unless the page is complete, has this shape and type, and a codec with a limit."""
    if (page.shape, page.dtype) != kind:
        raise TiffError(
            Code.BAD_IMAGE,
            f"frame {k}{of} is {page.shape} of {page.dtype}, the first is {kind[0]} of {kind[1]}; expected "
            "frames of one kind",
        )
    if page.dtype is None:
        raise unknown_samples(page, k)
    end = max((o + c for o, c in zip(page.dataoffsets, page.databytecounts)), default=0)
    if end > file_size or 0 in page.databytecounts or not page.databytecounts:
        raise truncated(k)
    if page.compression not in _BOUNDED_CODECS:
        name = getattr(page.compression, "name", page.compression)
        raise TiffError(
            Code.BAD_IMAGE,
            f"frame {k} cannot be read as TIFF that is packed by {name}; expected "
            f"{', '.join(dict.fromkeys(_BOUNDED_CODECS.values()))}: save it again",
        )
    if page.compression == 1 and sum(page.databytecounts) < _stored_bytes(page):
        raise truncated(k)


def _stored_bytes(page: Any) -> int:
    """Return the bytes of an unpacked page in the file; rows are padded to whole bytes."""
    bits = page.bitspersample if isinstance(page.bitspersample, int) else max(page.bitspersample)
    samples = math.prod(page.shape) // max(page.imagewidth, 1)  # rows of all planes and samples
    return int(samples * ((page.imagewidth * bits + 7) // 8))


def is_copy(page: Any, first: Any) -> bool:
    """Return whether a page is only a reduced copy of another one, or a transparency mask."""
    kind = int(page.subfiletype)
    return bool(kind & MASK or (kind & REDUCED and page.shape != first.shape))


def unknown_samples(page: Any, k: int) -> TiffError:
    """Return the error for a page with an unknown pixel type."""
    return TiffError(
        Code.BAD_IMAGE,
        f"frame {k} has samples of {page.bitspersample} bits, format {page.sampleformat}, that cannot "
        "be read; expected counts of 8, 16 or 32 bits: save it again",
    )


def check_grey(page: Any, *, samples_are_planes: bool, inverted: bool) -> None:
    """Refuse colours: pages with several samples per pixel, unless each sample is a plane."""
    grey = page.photometric in (GREY, PALETTE) or (page.photometric == GREY_INVERTED and inverted)
    if (grey or (samples_are_planes and page.photometric == RGB)) and (
        page.samplesperpixel == 1 or samples_are_planes
    ):
        return
    kind = getattr(page.photometric, "name", page.photometric)
    if page.photometric == GREY_INVERTED and page.samplesperpixel == 1:
        raise TiffError(
            Code.BAD_IMAGE,
            "the file is MINISWHITE: its numbers may stand for darkness; expected counts (MINISBLACK): "
            "save it again, so that 0 is black",
        )
    planar = "; if its samples are frames or channels, say so by axes" if page.planarconfig == 2 else ""
    raise TiffError(
        Code.BAD_IMAGE,
        f"the file is {kind} with {page.samplesperpixel} samples a pixel; expected greyscale counts "
        f"(MINISBLACK, 1 sample): export channels as separate pages{planar}",
    )
