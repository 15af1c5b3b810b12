"""Small disks that can be filled, and folders that turn read-only under a program that has them open."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_FILLER = "filler"
_PAGE = 4096


class NoDisk(Exception):
    """Why this machine cannot have such a disk."""


class Disk:
    """A disk of its own, mounted at `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def fill(self) -> None:
        """Take all room, as far as others do not take or leave some meanwhile."""
        size = shutil.disk_usage(self.folder).free
        with (self.folder / _FILLER).open("ab", buffering=0) as file:
            while size >= _PAGE:
                try:
                    os.posix_fallocate(file.fileno(), os.fstat(file.fileno()).st_size, size)
                except OSError:
                    size //= 2
                else:
                    size = shutil.disk_usage(self.folder).free

    def keep_full(self, seconds: float) -> None:
        """Take all room, and whatever becomes free, for a while."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if shutil.disk_usage(self.folder).free:
                self.fill()
            time.sleep(0.02)
        self.free()

    def free(self) -> None:
        """Give it back."""
        (self.folder / _FILLER).unlink(missing_ok=True)


@contextmanager
def small_disk(folder: Path, nbytes: int) -> Iterator[Disk]:
    """Mount a tmpfs of so many bytes.

    Raises
    ------
    NoDisk
    """
    folder.mkdir(parents=True, exist_ok=True)
    _do("mount", "-t", "tmpfs", "-o", f"size={nbytes}", "tmpfs", str(folder))
    try:
        yield Disk(folder)
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False)


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Make a folder and every file in it immutable: also who has a file open can write it no more.

    A disk with open files cannot be mounted read-only by hand; this is what such a one looks like from above.

    Raises
    ------
    NoDisk
    """
    _do("chattr", "-R", "+i", str(folder))
    try:
        yield
    finally:
        subprocess.run(["chattr", "-R", "-i", str(folder)], check=True)


def _do(*words: str) -> None:
    try:
        subprocess.run(words, check=True, capture_output=True, text=True)
    except FileNotFoundError as error:
        raise NoDisk(f"there is no command `{words[0]}`") from error
    except subprocess.CalledProcessError as error:
        raise NoDisk(f"`{' '.join(words)}`: {error.stderr.strip()}") from error
