"""The ready file: where a server that takes work is found."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path


class CannotStart(Exception):
    """Why the server did not start, in one line for the operator."""


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where a running server is found; what the ready file says."""

    zmq: str
    http: str
    pid: int


def check_ready_file(path: Path | None) -> None:
    """Refuse a file in a folder that is not there.

    Raises
    ------
    CannotStart
    """
    if path is not None and not path.parent.is_dir():
        raise CannotStart(f"cannot write the ready file {path}: there is no such folder")


@contextlib.contextmanager
def ready_file(path: Path | None, addresses: Addresses) -> Iterator[None]:
    """The file is there, whole, exactly as long as work is taken.

    Raises
    ------
    CannotStart
        It cannot be written.
    """
    if path is None:
        yield
        return
    unfinished = path.with_name(f".{path.name}.{addresses.pid}")
    try:
        unfinished.write_text(json.dumps(asdict(addresses)) + "\n", encoding="utf-8")
        unfinished.replace(path)
    except OSError as error:
        raise CannotStart(f"cannot write the ready file {path}: {error.strerror}") from error
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
