"""Read images of OME-TIFF files: assign pages of one or several files to planes, and find missing ones."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import tifffile

from dimstream_client.errors import Code, TiffError
from dimstream_client.files.found_image import FoundImage
from dimstream_client.files.ome import Ome, OmeImage, Piece, check_planes, read_ome, xml_text
from dimstream_client.files.tiff_pages import (
    FileSet,
    PagePlanes,
    as_tiff_errors,
    check_grey,
    is_copy,
    open_tiff,
    page_offsets,
    unknown_samples,
)

MAX_NEIGHBOURS: Final = 10_000  # files of a folder in which a UUID is searched
TIFF_ENDINGS: Final = (".tif", ".tiff", ".tf2", ".tf8", ".btf")


class SetOfFiles:
    """Finds the files of a set that OME-XML names, in the folder of the opened file.

    Parameters
    ----------
    tiff : TiffFile
        The opened file, number 0.
    path : Path, optional
        Its path; without it, no other files are found.
    """

    def __init__(self, tiff: tifffile.TiffFile, path: Path | None, ome: Ome) -> None:
        self.files = FileSet(tiff)
        self.pages = {0: len(page_offsets(tiff))}
        self.absent: dict[str, None] = {}
        self.remarks: list[str] = []
        self._path, self._ome = path, ome
        self._numbers: dict[tuple[str, str], int] = {}
        self._by_uuid: dict[str, Path] | None = None
        named = {(p.uuid, p.file) for image in ome.images for p in image.pieces if p.uuid or p.file}
        self._is_one_file = len({uuid or file for uuid, file in named}) <= 1

    def number(self, piece: Piece) -> int | None:
        """Return the number of the file with a piece; None if it is missing."""
        key = (piece.uuid, piece.file)
        if key not in self._numbers:
            found = 0 if self._is_this(piece) else self._neighbour(piece)
            if found is None:
                self.absent[piece.file or piece.uuid] = None
                return None
            self._numbers[key] = found
        return self._numbers[key]

    def _is_this(self, piece: Piece) -> bool:
        if self._is_one_file or not (piece.uuid or piece.file):
            return True
        if self._ome.uuid and piece.uuid:
            return piece.uuid == self._ome.uuid
        return self._path is not None and piece.file.lower() == self._path.name.lower()

    def _neighbour(self, piece: Piece) -> int | None:
        if self._path is None:
            return None
        name = os.path.basename(piece.file.replace("\\", "/"))  # never outside the folder
        path = self._path.parent / name if name else None
        if path is None or not path.is_file() or not _fits(path, piece.uuid):
            renamed = self._renamed(piece.uuid)
            if renamed is None and path is not None and path.is_file():
                self.remarks.append(f"{name} has another UUID than the set says")
            path = renamed or path
        if path is None or not path.is_file() or path.samefile(self._path):
            return None
        with open_tiff(path) as tiff:
            pages = len(page_offsets(tiff))
        number = self.files.add(str(path))
        self.pages[number] = pages
        check_planes(sum(self.pages.values()))
        return number

    def _renamed(self, uuid: str) -> Path | None:
        if not uuid or self._path is None:
            return None
        if self._by_uuid is None:
            self._by_uuid = {}
            near = (p for p in self._path.parent.iterdir() if p.name.lower().endswith(TIFF_ENDINGS))
            beside = (p for p in near if p.is_file())
            for path in sorted(beside)[:MAX_NEIGHBOURS]:
                self._by_uuid.setdefault(root_uuid(path), path)
        return self._by_uuid.get(uuid)


def _fits(path: Path, uuid: str) -> bool:
    return not uuid or root_uuid(path) in ("", uuid)


def ome_of(path: Path) -> Ome | None:
    """Return the content of the OME-XML of a TIFF or companion file; None if it has none."""
    try:
        if not path.name.lower().endswith(TIFF_ENDINGS):
            return read_ome(xml_text(path.read_bytes()))
        with open_tiff(path) as tiff:
            return read_ome(tiff.ome_metadata) if tiff.ome_metadata else None
    except Exception:  # any error of tifffile on a damaged file: it does not belong to the set
        return None


def root_uuid(path: Path) -> str:
    """Return the UUID of an OME-TIFF file; empty if it has none."""
    ome = ome_of(path)
    return "" if ome is None else ome.uuid


def with_master(ome: Ome, path: Path | None, *, alone: bool) -> Ome:
    """Return the metadata, from another file if this one only refers to it.

    Raises
    ------
    TiffError
        When the other file is missing.
    """
    if ome.images or ome.master is None:
        return ome
    name = os.path.basename(ome.master[0].replace("\\", "/"))
    master = None if path is None or not name else path.parent / name
    found = None if master is None or not master.is_file() else ome_of(master)
    if (found is None or not found.images) and alone:
        return ome
    if found is None or not found.images:
        where = "; by HTTP a file comes alone" if path is None else f", which is not next to {path.name}"
        raise TiffError(
            Code.BAD_IMAGE,
            f"the file is one of a set whose metadata are in {name!r}{where}: give the set by its path, "
            "or take this file alone by --incomplete (by HTTP incomplete=true)",
        )
    return replace(found, uuid=ome.uuid)


def images_of_ome(
    tiff: tifffile.TiffFile, ome: Ome, path: Path | None, *, axes: str | None
) -> list[FoundImage]:
    """Return the images that OME-XML declares, with the existing pages.

    Raises
    ------
    TiffError
    """
    if ome.modulo and axes is None:
        raise TiffError(
            Code.BAD_IMAGE,
            f"the file has an axis beyond P, T, C, Z, Y and X, {', '.join(ome.modulo)}, that cannot be "
            "streamed; say by axes how its planes are to be taken",
        )
    files = SetOfFiles(tiff, path, ome)
    used: Counter[tuple[int, int]] = Counter()
    located = [_locate(image, pieces, files, used) for image, pieces in zip(ome.images, _pieces(ome))]
    if not any((refs >= 0).any() for refs in located):
        where = f"; {', '.join(files.absent)} are not there" if files.absent else ""
        raise TiffError(
            Code.BAD_IMAGE, f"no plane that the OME-XML declares is in the file{where}; save it again"
        )
    spare, reduced = _spare(files, used)
    repeated = sum(max(times - 1, 0) for times in used.values())
    remarks = list(dict.fromkeys(files.remarks))
    if repeated:
        remarks.append(f"{repeated} planes are the same page as another: the file repeats it")
    if reduced:
        remarks.append(f"{reduced} reduced pages (thumbnails, pyramids, masks) are left out")
    return [
        replace(_found(image, files, refs, spare, remarks), labels=_labels(ome, refs))
        for image, refs in zip(ome.images, located)
    ]


def _labels(ome: Ome, refs: npt.NDArray[np.int64]) -> tuple[str, ...]:
    """Return the labels of an image's planes; empty if no plane has one."""
    labels = (
        tuple(ome.labels.get(int(ifd), "") if file == 0 else "" for file, ifd in refs) if ome.labels else ()
    )
    return labels if any(labels) else ()


def _pieces(ome: Ome) -> Iterator[tuple[Piece, ...]]:
    """Return the location of the planes of each image; images without locations follow each other."""
    start = 0
    for image in ome.images:
        if image.pieces:
            yield image.pieces
        else:
            yield (Piece((0, 0, 0), start, image.planes, "", ""),)
            start += image.planes


def _locate(
    image: OmeImage, pieces: tuple[Piece, ...], files: SetOfFiles, used: Counter[tuple[int, int]]
) -> npt.NDArray[np.int64]:
    """Return file and page of each plane, (N, 2); -1 if it is missing."""
    refs = np.full((image.planes, 2), -1, np.int64)
    looked_at = 0
    for piece in pieces:
        number = files.number(piece)
        if number is None:
            continue
        pages = files.pages[number]
        count = pages - piece.ifd if piece.count is None else piece.count
        looked_at += max(count, 0)
        check_planes(looked_at)
        for k, place in enumerate(image.places(piece, max(count, 0))):
            ifd = piece.ifd + k
            if 0 <= ifd < pages and place >= 0:
                if refs[place, 0] >= 0:  # of two pages for one plane the last one is used
                    used[int(refs[place, 0]), int(refs[place, 1])] -= 1
                refs[place] = number, ifd
                used[number, ifd] += 1
    return refs


def _spare(files: SetOfFiles, used: Counter[tuple[int, int]]) -> tuple[int, int]:
    """Return the number of pages that belong to no plane, and how many of those are only reduced copies."""
    spare = reduced = 0
    for number, pages in files.pages.items():
        unused = [ifd for ifd in range(pages) if not used[number, ifd]]
        if not unused:
            continue
        with as_tiff_errors("the file"):
            for ifd in unused:
                pages_of = files.files.tiff(number).pages
                if is_copy(pages_of.get(ifd, aspage=True), pages_of.first):
                    reduced += 1
                else:
                    spare += 1
    return spare, reduced


def _found(
    image: OmeImage, files: SetOfFiles, refs: npt.NDArray[np.int64], spare: int, remarks: list[str]
) -> FoundImage:
    there = refs[:, 0] >= 0
    where = np.full(len(refs), -1, np.int64)
    where[there] = np.arange(int(there.sum()))
    planes = PagePlanes(files.files, refs[there])
    with as_tiff_errors("the file"):
        page = planes.page(0) if len(planes) else files.files.tiff(0).pages.first
    check_grey(page, samples_are_planes=False, inverted=False)
    if page.dtype is None:
        raise unknown_samples(page, 0)
    if page.shape != image.shape[-2:] and len(planes):
        raise TiffError(
            Code.BAD_IMAGE,
            f"the OME-XML declares frames of {image.shape[-2:]}, the pages hold {page.shape}; save it again",
        )
    absent = dict.fromkeys(piece.file or piece.uuid for piece in image.pieces)
    return FoundImage(
        axes=image.axes,
        shape=image.shape,
        dtype=page.dtype.newbyteorder("="),
        planes=planes,
        name=image.name,
        scale=image.scale,
        where=None if there.all() else where,
        delta_t_s=image.delta_t_s,
        started_s=image.started_s,
        spare=spare,
        absent_files=tuple(name for name in absent if name in files.absent),
        remarks=(*image.remarks, *remarks),
    )
