"""Find the files that are read together: a set can be given by any of its files, and counts once."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from dimstream_client.errors import TiffError
from dimstream_client.files.formats import HEAD_BYTES, kind_of
from dimstream_client.files.found_image import check_is_file
from dimstream_client.files.tiff import find_tiff


def files_of_set(path: Path) -> tuple[Path, ...]:
    """Return the files of the set of this file, including itself; only itself if it belongs to no set.

    A file that cannot be read belongs to no set; it is refused when it is opened.
    """

    try:
        check_is_file(path)
        with path.open("rb") as file:
            if kind_of(file.read(HEAD_BYTES)) != "tiff":
                return (path,)
        found = find_tiff(str(path), path, axes="YX", alone=True)
    except (TiffError, OSError):
        return (path,)
    try:
        paths = dict.fromkeys(name for image in found for name in image.planes.paths())
    finally:
        found[0].planes.close()
    members = tuple(_as_given(Path(name), path) for name in paths)
    return members if path in members else (path, *members)


def _as_given(member: Path, given: Path) -> Path:
    """Return the path of a file of a set in the folder of the given path, even if that is a link."""
    if member.name == given.name or member.resolve() == given.resolve():
        return given
    beside = given.parent / member.name
    return beside if beside.exists() else member


def group_sets(paths: Iterable[Path]) -> list[tuple[Path, ...]]:
    """Return the files grouped by set, in the order of the first given file of each.

    A set also includes its files that were not given, because they are read with the others.
    """
    groups: list[tuple[Path, ...]] = []
    grouped: set[Path] = set()
    for path in paths:
        if path in grouped:
            continue
        members = files_of_set(path)
        group = (path, *(member for member in members if member != path))
        groups.append(group)
        grouped.update(group)
    return groups
