"""Find the images in a folder, in natural order, and list its other files."""

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
"""Name of the record; a folder with it is an output of `dimstream denoise` and is not read."""
RESULT_ENDING: Final = ".denoised.ome.tif"
"""Ending of outputs of `dimstream watch` that are next to the images; they are not read."""
IMAGES: Final = frozenset((*ENDINGS, *hdf5.ENDINGS, *MICROSCOPES))
"""Endings of images, also of unsupported ones, for which the reader's error says how to export them."""
Key = tuple[tuple[Union[str, int], ...], ...]


@dataclass
class Scan:
    """The content of a folder.

    Parameters
    ----------
    files : list of Path
        Images, relative to the folder, in natural order: img2 before img10.
    others : Counter
        Endings of files that are not images, with their number.
    notes : list of str
        Other files and folders that were not read, with the reason.
    unreadable : dict
        Folders that cannot be listed, with the reason.
    results : int
        Number of outputs that are next to the images.
    """

    files: list[Path] = field(default_factory=list)
    others: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)
    unreadable: dict[Path, str] = field(default_factory=dict)
    results: int = 0


def natural_key(path: PurePath) -> Key:
    """Return a sort key for natural order: numbers by value, letters without case."""
    parts = []
    for part in (*path.parts[:-1], path.stem):
        pieces: list[str | int] = list(re.split(r"([0-9]+)", part.casefold()))
        pieces[1::2] = [int(digits) for digits in pieces[1::2]]
        parts.append(tuple(pieces))
    return (*parts, (str(path),))  # for names that differ only in case or in leading zeros


def scan(folder: Path, *, without: Path | None = None) -> Scan:
    """Find images in a folder and its subfolders.

    Hidden files and folders, links to folders, `without`, and outputs of earlier runs are skipped.

    Raises
    ------
    OSError
        When the folder itself cannot be listed.
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
    """Yield the visible files, relative to the folder."""

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
        found.notes.append(f"{name} contains the outputs of an earlier run and was not read")
        return False
    return True
