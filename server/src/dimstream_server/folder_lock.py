"""A lock on a folder itself: it holds whatever becomes of the files in it, and ends with the process."""

import os
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows, where nobody can delete files that are open
    fcntl = None  # type: ignore[assignment]


class FolderIsLocked(OSError):
    """Another process has the folder."""


class FolderLock:
    """Holds a folder, which is made when it is not there.

    Raises
    ------
    FolderIsLocked
    OSError
        It cannot be made or opened.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._held: int | None = None
        self.renew()

    def renew(self) -> None:
        """Hold the folder that now has this name, which may be another one than before.

        Raises
        ------
        FolderIsLocked, OSError
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        if fcntl is None or self._is_held():
            return
        opened = os.open(self._folder, os.O_RDONLY)
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(opened)
            raise FolderIsLocked(f"another server has {self._folder}") from None
        except OSError:
            os.close(opened)
            raise
        self.release()
        self._held = opened

    def release(self) -> None:
        """Let others have it."""
        if self._held is not None:
            os.close(self._held)
            self._held = None

    def _is_held(self) -> bool:
        return self._held is not None and os.path.samestat(os.fstat(self._held), os.stat(self._folder))
