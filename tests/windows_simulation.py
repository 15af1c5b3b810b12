"""What Windows refuses, refused here: a pytest plugin, `pytest -p windows_simulation`, for the client alone.

While a test runs, code of `dimstream_client` sees `sys.platform == "win32"` and the module `msvcrt`, finds no
`fcntl`, cannot remove or rename a file that this process has open, nor make a file of a name that Windows
does not take. It is a simulation: locks are those of this system, and ZeroMQ is.
"""

import errno
import fcntl
import importlib
import os
import pkgutil
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePath
from types import FrameType, ModuleType
from typing import Any

import pytest

import dimstream_client

_SOURCES = str(Path(dimstream_client.__file__).parent)
_TESTS = str(Path(__file__).parent)
_POSIX_ONLY = ("fcntl", "grp", "posix", "pwd", "resource", "syslog", "termios")
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
_FORBIDDEN = re.compile(r'[<>:"|?*\x00-\x1f]')
_IN_USE = "the process cannot access the file because it is being used by another process"
_WRITES = os.O_CREAT | os.O_WRONLY | os.O_RDWR
_is_on = False


class _Sys:
    """`sys`, of another platform."""

    platform = "win32"

    def __getattr__(self, name: str) -> Any:
        return getattr(sys, name)


def bad_name(path: str) -> bool:
    """Whether Windows takes no file of this name."""
    name = PurePath(path).name
    return bool(_FORBIDDEN.search(name) or _RESERVED.fullmatch(name)) or name.endswith((".", " "))


def _of_the_client() -> bool:
    """Whether the innermost code that is no library's is the client's."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        file = frame.f_code.co_filename
        if file.startswith(_SOURCES):
            return True
        if file.startswith(_TESTS) and file != __file__:
            return False
        frame = frame.f_back
    return False


def _opened() -> list[str]:
    found = []
    for number in os.listdir("/proc/self/fd"):
        try:
            found.append(os.readlink(f"/proc/self/fd/{number}"))
        except OSError:
            continue
    return found


def _refuse(event: str, arguments: tuple[Any, ...]) -> None:
    """Audit hook: raise what Windows raises."""
    if not _is_on or event not in {"open", "os.remove", "os.rename", "os.rmdir", "os.mkdir"}:
        return
    if event == "open" and not (isinstance(arguments[0], str) and arguments[2] & _WRITES):
        return
    if not _of_the_client():
        return
    paths = [os.fspath(each) for each in arguments[: 2 if event == "os.rename" else 1]]
    if event in {"open", "os.mkdir", "os.rename"} and bad_name(paths[-1]):
        raise OSError(
            errno.EINVAL, "the filename, directory name, or volume label syntax is incorrect", paths[-1]
        )
    if event in {"os.remove", "os.rename", "os.rmdir"}:
        real = [os.path.realpath(path) for path in paths]
        if any(opened == path or opened.startswith(path + os.sep) for opened in _opened() for path in real):
            raise PermissionError(errno.EACCES, _IN_USE, paths[0])


def _msvcrt() -> ModuleType:
    module: Any = ModuleType("msvcrt")
    module.LK_NBLCK, module.LK_UNLCK = 2, 0

    def locking(number: int, mode: int, nbytes: int) -> None:
        assert nbytes > 0
        fcntl.flock(number, fcntl.LOCK_UN if mode == module.LK_UNLCK else fcntl.LOCK_EX | fcntl.LOCK_NB)

    module.locking = locking
    return module


sys.addaudithook(_refuse)


@contextmanager
def refusing() -> Iterator[None]:
    """Refuse the client what Windows does."""
    global _is_on
    _is_on = True
    try:
        yield
    finally:
        _is_on = False


@pytest.fixture(autouse=True)
def on_windows(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The client believes that it is on Windows."""
    for found in pkgutil.walk_packages(dimstream_client.__path__, "dimstream_client."):
        if found.name.startswith("dimstream_client.napari_plugin."):
            continue  # needs napari, which has an environment of its own
        module: Any = importlib.import_module(found.name)
        if hasattr(module, "sys"):
            monkeypatch.setattr(module, "sys", _Sys())
    monkeypatch.setitem(sys.modules, "msvcrt", _msvcrt())
    for name in _POSIX_ONLY:
        monkeypatch.setitem(sys.modules, name, None)
    with refusing():
        yield
