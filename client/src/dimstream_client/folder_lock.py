"""A file that one program holds, so that no other uses the folder meanwhile; it ends with the program."""

from __future__ import annotations

import sys
from io import FileIO
from typing import BinaryIO


def take(file: BinaryIO | FileIO) -> None:
    """Hold an open file.

    Raises
    ------
    OSError
        Another program does.
    """
    if sys.platform == "win32":
        import msvcrt

        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
