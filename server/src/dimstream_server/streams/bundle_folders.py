"""Which bundles may be loaded while the server runs: those in the folders of its settings, by name."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from dimstream_server.errors import UnknownBundle
from dimstream_server.problem_details import RequestRefused

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", re.ASCII)
_LISTED: Final = 20


def find_bundle(folders: Sequence[Path], name: str) -> Path:
    """Return the bundle with this name: a folder or file directly inside one of these folders; the first one
    wins.

    Names have no separators, so no path can be given. A link is followed only within its folder.

    Raises
    ------
    RequestRefused
        not_supported: there are no such folders; bad_field: it is not a valid name.
    UnknownBundle
        When no folder contains it.
    """
    if not folders:
        raise RequestRefused(
            "not_supported",
            "this server cannot load bundles while it runs, because server.bundle_folders is not set; name "
            "the bundle in server.bundles and restart the server",
        )
    if not _NAME.fullmatch(name):
        raise RequestRefused(
            "bad_field",
            "expected the name of a folder or zip in one of server.bundle_folders, without a path: "
            f"letters, digits, '.', '_' and '-', beginning with a letter or digit, got {name[:200]!r}",
        )
    for folder in folders:
        if (found := _within(folder, name)) is not None:
            return found
    known = sorted({one for folder in folders for one in _names(folder)})
    shown = ", ".join(known[:_LISTED]) + (", …" if len(known) > _LISTED else "")
    raise UnknownBundle(
        f"expected a bundle in one of server.bundle_folders, got {name!r}; there are: {shown or 'none'}"
    )


def _within(folder: Path, name: str) -> Path | None:
    """Return the path of `name` in this folder, with links resolved; None if it does not exist or is
    elsewhere."""
    try:
        inside = folder.resolve()
        found = (inside / name).resolve()
    except (OSError, RuntimeError):  # links that refer to each other
        return None
    is_inside = found.is_relative_to(inside) and found != inside
    return found if is_inside and (found.is_dir() or found.is_file()) else None


def _names(folder: Path) -> list[str]:
    try:
        return [path.name for path in folder.iterdir() if _NAME.fullmatch(path.name)]
    except OSError:
        return []
