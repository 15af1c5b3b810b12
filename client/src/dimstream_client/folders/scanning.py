"""Which files of a folder are images to be denoised, in natural order, and what else lies there."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Final, Union

from dimstream_client.files import hdf5
from dimstream_client.files.formats import ENDINGS, MICROSCOPES

RECORD: Final = ".dimstream-folder.jsonl"
"""A folder that holds it is the output of `dimstream denoise`, and is not read."""
RESULT_ENDING: Final = ".denoised.ome.tif"
"""What `dimstream watch` calls its outputs that lie next to the images; they are not read."""
IMAGES: Final = frozenset((*ENDINGS, *hdf5.ENDINGS, *MICROSCOPES))
"""Endings of images, also of those that are not read: the reader says how they are exported."""
Key = tuple[tuple[Union[str, int], ...], ...]


@dataclass
class Scan:
    """What a folder holds.

    Parameters
    ----------
    files : list of Path
        Images, relative to the folder, in natural order: img2 before img10.
    others : Counter
        Endings of files that are no images, and how often each was met.
    notes : list of str
        What else was not read, and why.
    unreadable : dict
        Folders that cannot be listed, and why.
    results : int
        Outputs that lie next to the images.
    """

    files: list[Path] = field(default_factory=list)
    others: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)
    unreadable: dict[Path, str] = field(default_factory=dict)
    results: int = 0


def natural_key(path: PurePath) -> Key:
    """Return what sorts paths as people do: numbers by their value, letters whatever their case."""
    parts = []
    for part in (*path.parts[:-1], path.stem):
        pieces: list[str | int] = list(re.split(r"([0-9]+)", part.casefold()))
        pieces[1::2] = [int(digits) for digits in pieces[1::2]]
        parts.append(tuple(pieces))
    return (*parts, (str(path),))  # of names that differ in case, or in leading zeros


def scan(folder: Path, *, without: Path | None = None) -> Scan:
    """Look for images in a folder and all folders in it.

    Hidden files and folders, links to folders, `without`, and outputs of earlier runs are passed over.

    Raises
    ------
    OSError
        The folder itself cannot be listed.
    """
    os.listdir(folder)  # raises
    found = Scan()
    for name in _walk(folder, without, found):
        ending = name.suffix.lower()
        if name.name.lower().endswith(RESULT_ENDING):
            found.results += 1
        elif ending in IMAGES:
            found.files.append(name)
        else:
            found.others[ending or "no ending"] += 1
    found.files.sort(key=natural_key)
    if found.results:
        found.notes.append(f"{found.results} outputs of `dimstream watch` ({RESULT_ENDING}) were not read")
    return found


def _walk(folder: Path, without: Path | None, found: Scan) -> Iterator[Path]:
    """The visible files, relative to the folder."""

    def note(error: OSError) -> None:
        where = Path(error.filename or folder)
        found.unreadable[where.relative_to(folder)] = error.strerror or str(error)

    for where, folders, files in os.walk(folder, onerror=note):
        here = Path(where)
        folders[:] = [name for name in sorted(folders) if _is_entered(folder, here / name, without, found)]
        for name in files:
            if not name.startswith("."):
                yield (here / name).relative_to(folder)


def _is_entered(folder: Path, inner: Path, without: Path | None, found: Scan) -> bool:
    name = inner.relative_to(folder)
    if inner.name.startswith(".") or (without is not None and inner.resolve() == without.resolve()):
        return False
    if inner.is_symlink():
        found.notes.append(f"{name} is a link to a folder and was not entered")
        return False
    if (inner / RECORD).exists():
        found.notes.append(f"{name} holds the outputs of an earlier run and was not read")
        return False
    return True
