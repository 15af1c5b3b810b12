"""The files of a bundle, from a folder or a zip: confined to it, bounded in size, hashed."""

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
"""Names that the description may have; the second is the older one."""

MAX_FILE_BYTES = 512 * 2**20
"""Weights, test tensors and attachments may each be as large as this."""
MAX_ENTRIES = 1000
"""Files in a zip."""
MAX_DIRECTORY_BYTES = 2**20
"""Of a zip's own list of its files, some 1,000 bytes a file."""
MAX_TOTAL_BYTES = 4 * 2**30
"""Of all files in a zip, unpacked: a zip of some megabytes could keep the reader hashing for hours."""
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
"""What zipfile raises for damaged bytes; the last three from names, offsets and sizes that cannot be."""


class Contents(Protocol):
    """Files of one bundle, by their path inside it."""

    def size(self, name: str) -> int | None:
        """Bytes of the file, or None when there is none."""

    def open(self, name: str) -> IO[bytes]:
        """The file, which `size` knows."""


@dataclass(frozen=True, slots=True)
class Folder:
    """A bundle that lies unpacked in a folder."""

    root: Path

    def size(self, name: str) -> int | None:
        """Bytes of the file, or None when there is none."""
        path = self._path(name)
        return path.stat().st_size if path.is_file() else None

    def open(self, name: str) -> IO[bytes]:
        """The file, for reading."""
        return self._path(name).open("rb")

    def _path(self, name: str) -> Path:
        path = self.root / name
        if not _resolved(path).is_relative_to(_resolved(self.root)):
            raise UnsafePath(f"{name!r} is a link that leads out of the bundle {self.root}; copy the file in")
        return path


@dataclass(frozen=True, slots=True)
class Archive:
    """A bundle in a zip; nothing is unpacked to the disk."""

    zip: zipfile.ZipFile

    def size(self, name: str) -> int | None:
        """Bytes of the file, or None when there is none."""
        try:
            return self.zip.getinfo(name).file_size
        except KeyError:
            return None

    def open(self, name: str) -> IO[bytes]:
        """The file, for reading."""
        return self.zip.open(name)


@contextmanager
def open_contents(source: Path) -> Iterator[Contents]:
    """Files of the bundle at `source`.

    Raises
    ------
    BundleNotFound
        When there is neither a folder nor a file.
    InvalidBundle
        When the file is no zip, or the system cannot read it, or a file of the folder.
    UnsafePath, TooLarge
        When the zip holds paths that lead out of it, or too much.
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
            f"{source} is no zip that can be read ({error}); pack the bundle again"
        ) from error
    except OSError as error:
        raise InvalidBundle(
            f"{error.filename or source} cannot be read ({error.strerror}); "
            "check the path, and that this user may read it"
        ) from error


def safe_name(name: str, *, where: str) -> str:
    """`name`, when it is a plain relative path that means the same on every system.

    Raises
    ------
    UnsafePath
        When it is absolute, climbs with ``..``, has a drive, backslashes or characters that do not print.
    """
    parts = name.split("/")
    plain = name.isprintable() and "\\" not in name and ":" not in name and len(name) <= MAX_NAME_LENGTH
    if not plain or any(part in ("", ".", "..") for part in parts):
        raise UnsafePath(f"{where}: {name!r} is not a plain path inside the bundle, such as 'weights.onnx'")
    return name


def read(contents: Contents, name: str, *, where: str, limit: int, sha256: str | None = None) -> bytes:
    """Bytes of a file, at most `limit`, with the stated hash.

    Raises
    ------
    MissingFile, TooLarge, ChangedFile, UnsafePath
    """
    size = _check_size(contents, name, where=where, limit=limit)
    with contents.open(name) as file:
        data = file.read(size + 1)  # as many bytes of memory are taken at once
    if len(data) != size:
        raise ChangedFile(f"{where}: {name!r} was changed while it was read; try again")
    _check_hash(hashlib.sha256(data).hexdigest(), sha256, name=name, where=where)
    return data


def verify(contents: Contents, name: str, *, where: str, sha256: str | None) -> None:
    """Check that a file is there and has the stated hash, without holding it in memory.

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
    """Name of the file that describes the bundle.

    Raises
    ------
    BundleNotFound
        When there is none.
    """
    for name in DESCRIPTION_NAMES:
        if contents.size(name) is not None:
            return name
    raise BundleNotFound(f"{source} is no bundle: it holds no {' or '.join(DESCRIPTION_NAMES)} at its top")


class _Zip(io.BufferedReader):
    """A file that zipfile may not read more of at once than a list of files may have, while it opens it."""

    limit: int | None = MAX_DIRECTORY_BYTES

    def read(self, size: int | None = -1, /) -> bytes:
        if self.limit is not None and size is not None and size > self.limit:
            raise TooLarge(f"the zip's list of files has {size} bytes, more than the {self.limit} accepted")
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
        raise UnsafePath(f"{path} cannot be followed to a file: {error}") from error


def _check_size(contents: Contents, name: str, *, where: str, limit: int) -> int:
    size = contents.size(safe_name(name, where=where))
    if size is None:
        raise MissingFile(f"{where} names {name!r}, which is not in the bundle; copy the whole bundle again")
    if size > limit:
        raise TooLarge(f"{where}: {name!r} has {size} bytes, more than the {limit} that are accepted")
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
        raise TooLarge(f"{source} holds {len(entries)} files, more than the {MAX_ENTRIES} that are accepted")
    total = sum(entry.file_size for entry in entries)
    if total > MAX_TOTAL_BYTES:
        raise TooLarge(
            f"{source} unpacks to {total} bytes, more than the {MAX_TOTAL_BYTES} that are accepted"
        )
    names = [entry.filename.removesuffix("/") for entry in entries]
    if len(set(names)) != len(names):
        raise InvalidBundle(f"{source} holds two files of one name; pack the bundle again")
    for entry, name in zip(entries, names, strict=True):
        safe_name(entry.orig_filename.removesuffix("/"), where=str(source))
        if entry.flag_bits & 0x1:
            raise InvalidBundle(f"{source}: {name!r} is encrypted; pack the bundle without a password")
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise InvalidBundle(f"{source}: {name!r} is packed by a method that is not read; use deflate")
        if stat.S_ISLNK(entry.external_attr >> 16):
            raise UnsafePath(f"{source}: {name!r} is a link; pack the file itself")
