"""The files of a bundle, from a folder or a zip: confined to it, bounded in size, checked by hash."""

import hashlib
import io
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

from dimstream_models.bundle.errors import (
    BundleNotFound,
    ChangedFile,
    InvalidBundle,
    MissingFile,
    TooLarge,
    UnsafePath,
)

DESCRIPTION_NAMES = ("bioimageio.yaml", "rdf.yaml")
"""Names of the description; the second one is older."""

MAX_FILE_BYTES = 512 * 2**20
"""Largest size of the weights, of a test tensor and of an attachment."""
MAX_ENTRIES = 1000
"""Most files in a zip."""
MAX_DIRECTORY_BYTES = 2**20
"""Largest size of a zip's central directory: about 1,000 bytes a file."""
MAX_TOTAL_BYTES = 4 * 2**30
"""Largest unpacked size of all files in a zip. Without a limit, a zip of a few megabytes could take hours to
hash."""
MAX_NAME_LENGTH = 200
BLOCK_BYTES = 2**20


WRONG_ZIP = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    NotImplementedError,
    EOFError,
    UnicodeError,
    OverflowError,
)
"""Errors that zipfile raises for damaged bytes; the last three come from impossible names, offsets and
sizes."""


class Contents(Protocol):
    """Files of one bundle, by their path inside it."""

    def size(self, name: str) -> int | None:
        """Bytes of the file, or None when there is none."""

    def open(self, name: str) -> IO[bytes]:
        """Return the file, opened for reading; `size` must not be None for it."""


@dataclass(frozen=True, slots=True)
class Folder:
    """A bundle in a folder."""

    root: Path

    def size(self, name: str) -> int | None:
        """Bytes of the file, or None when there is none."""
        path = self._path(name)
        return path.stat().st_size if path.is_file() else None

    def open(self, name: str) -> IO[bytes]:
        """Return the file, opened for reading."""
        return self._path(name).open("rb")

    def _path(self, name: str) -> Path:
        path = self.root / name
        if not _resolved(path).is_relative_to(_resolved(self.root)):
            raise UnsafePath(f"{name!r} is a link that leads out of the bundle {self.root}; copy the file in")
        return path


@dataclass(frozen=True, slots=True)
class Archive:
    """A bundle in a zip, which is not unpacked to the disk."""

    zip: zipfile.ZipFile

    def size(self, name: str) -> int | None:
        """Bytes of the file, or None when there is none."""
        try:
            return self.zip.getinfo(name).file_size
        except KeyError:
            return None

    def open(self, name: str) -> IO[bytes]:
        """Return the file, opened for reading."""
        return self.zip.open(name)


@contextmanager
def open_contents(source: Path) -> Iterator[Contents]:
    """Yield the files of the bundle at `source`.

    Raises
    ------
    BundleNotFound
        When there is neither a folder nor a file.
    InvalidBundle
        When the file is not a zip, or the operating system cannot read it or a file of the folder.
    UnsafePath, TooLarge
        When the zip holds paths that lead out of it, or is too large.
    """
    try:
        if source.is_dir():
            yield Folder(source)
            return
        if not source.is_file():
            raise BundleNotFound(
                f"no bundle at {source}: expected a folder or a zip with a {DESCRIPTION_NAMES[0]}"
            )
        with _Zip(io.FileIO(source)) as file, _opened(file, source) as archive:
            _check_entries(archive, source)
            yield Archive(archive)
    except WRONG_ZIP as error:
        raise InvalidBundle(
            f"expected a zip, but {source} cannot be read as one ({error}); pack the bundle again"
        ) from error
    except OSError as error:
        raise InvalidBundle(
            f"{error.filename or source} cannot be read ({error.strerror}); check the path and this user's "
            "permission to read it"
        ) from error


def safe_name(name: str, *, where: str) -> str:
    """Return `name` if it is a plain relative path that means the same on every system.

    Raises
    ------
    UnsafePath
        When it is absolute, contains ``..``, a drive, backslashes or characters that cannot be printed.
    """
    parts = name.split("/")
    plain = name.isprintable() and "\\" not in name and ":" not in name and len(name) <= MAX_NAME_LENGTH
    if not plain or any(part in ("", ".", "..") for part in parts):
        raise UnsafePath(f"{where}: {name!r} is not a plain path inside the bundle, such as 'weights.onnx'")
    return name


def read(contents: Contents, name: str, *, where: str, limit: int, sha256: str | None = None) -> bytes:
    """Return the bytes of a file, at most `limit`, after its hash was checked.

    Raises
    ------
    MissingFile, TooLarge, ChangedFile, UnsafePath
    """
    size = _check_size(contents, name, where=where, limit=limit)
    with contents.open(name) as file:
        data = file.read(size + 1)  # so many bytes of memory are allocated at once
    if len(data) != size:
        raise ChangedFile(f"{where}: {name!r} was changed while it was read; try again")
    _check_hash(hashlib.sha256(data).hexdigest(), sha256, name=name, where=where)
    return data


def verify(contents: Contents, name: str, *, where: str, sha256: str | None) -> None:
    """Check that a file exists and has the stated hash, without loading it into memory.

    Raises
    ------
    MissingFile, TooLarge, ChangedFile, UnsafePath
    """
    _check_size(contents, name, where=where, limit=MAX_FILE_BYTES)
    if sha256 is None:
        return
    digest = hashlib.sha256()
    with contents.open(name) as file:
        while block := file.read(BLOCK_BYTES):
            digest.update(block)
    _check_hash(digest.hexdigest(), sha256, name=name, where=where)


def description_name(contents: Contents, source: Path) -> str:
    """Return the name of the file that describes the bundle.

    Raises
    ------
    BundleNotFound
        When there is none.
    """
    for name in DESCRIPTION_NAMES:
        if contents.size(name) is not None:
            return name
    raise BundleNotFound(f"{source} is not a bundle: it holds no {' or '.join(DESCRIPTION_NAMES)} at its top")


class _Zip(io.BufferedReader):
    """A file of which zipfile may not read more at once than a central directory may have, while it opens the
    zip."""

    limit: int | None = MAX_DIRECTORY_BYTES

    def read(self, size: int | None = -1, /) -> bytes:
        if self.limit is not None and size is not None and size > self.limit:
            raise TooLarge(f"the zip's list of files has {size} bytes, expected at most {self.limit}")
        return super().read(size)


def _opened(file: _Zip, source: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(file)
    except (TooLarge, OSError, *WRONG_ZIP):
        raise
    except Exception as error:  # zipfile checks little of what it reads
        raise zipfile.BadZipFile(f"{type(error).__name__}: {error}") from error
    finally:
        file.limit = None


def _resolved(path: Path) -> Path:
    try:
        return path.resolve()
    except (OSError, RuntimeError) as error:  # RuntimeError: a loop of links, before Python 3.13
        raise UnsafePath(f"{path} is a link that leads to no file: {error}") from error


def _check_size(contents: Contents, name: str, *, where: str, limit: int) -> int:
    size = contents.size(safe_name(name, where=where))
    if size is None:
        raise MissingFile(f"{where} names {name!r}, which is not in the bundle; copy the whole bundle again")
    if size > limit:
        raise TooLarge(f"{where}: {name!r} has {size} bytes, expected at most {limit}")
    return size


def _check_hash(found: str, stated: str | None, *, name: str, where: str) -> None:
    if stated is not None and found != stated.lower():
        raise ChangedFile(
            f"{where}: {name!r} has sha256 {found}, the description states {stated}; "
            "the file was changed or damaged: copy the bundle again"
        )


def _check_entries(archive: zipfile.ZipFile, source: Path) -> None:
    entries = archive.infolist()
    if len(entries) > MAX_ENTRIES:
        raise TooLarge(f"{source} holds {len(entries)} files, expected at most {MAX_ENTRIES}")
    total = sum(entry.file_size for entry in entries)
    if total > MAX_TOTAL_BYTES:
        raise TooLarge(f"{source} unpacks to {total} bytes, expected at most {MAX_TOTAL_BYTES}")
    names = [entry.filename.removesuffix("/") for entry in entries]
    if len(set(names)) != len(names):
        raise InvalidBundle(f"{source} holds two files of the same name; pack the bundle again")
    for entry, name in zip(entries, names, strict=True):
        safe_name(entry.orig_filename.removesuffix("/"), where=str(source))
        if entry.flag_bits & 0x1:
            raise InvalidBundle(f"{source}: {name!r} is encrypted; pack the bundle without a password")
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise InvalidBundle(f"{source}: {name!r} has an unknown compression method; pack it with deflate")
        if stat.S_ISLNK(entry.external_attr >> 16):
            raise UnsafePath(f"{source}: {name!r} is a link; pack the file itself")
