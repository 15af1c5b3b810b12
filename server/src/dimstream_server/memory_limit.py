"""How much memory this process may have: the machine's, or that of its container or service."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

CONTROL_GROUPS: Final = Path("/sys/fs/cgroup")
OWN_GROUPS: Final = Path("/proc/self/cgroup")
_FILES: Final = ("memory.max", "memory.limit_in_bytes")  # of versions 2 and 1


def memory_limit(groups: Path = CONTROL_GROUPS, own: Path = OWN_GROUPS) -> int | None:
    """The least of what limits this process, bytes; None where the system says nothing.

    Parameters
    ----------
    groups : Path
        Where control groups are.
    own : Path
        The file that names those of this process.
    """
    found = [*_machine(), *_limits(groups, own)]
    return min(found, default=None)


def _machine() -> Iterator[int]:
    try:
        yield os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # Windows
        return


def _limits(groups: Path, own: Path) -> Iterator[int]:
    """Limits of this process's control groups and of all above them."""
    for folder in {groups, groups / "memory", *_folders(groups, own)}:
        for name in _FILES:
            try:
                text = (folder / name).read_text(encoding="ascii").strip()
            except (OSError, ValueError):
                continue
            if text.isdigit():  # or "max"
                yield int(text)


def _folders(groups: Path, own: Path) -> Iterator[Path]:
    try:
        lines = own.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers in ("", "memory") and ".." not in path:
            folder = groups / controllers / path.lstrip("/")
            yield from (one for one in (folder, *folder.parents) if one.is_relative_to(groups))
