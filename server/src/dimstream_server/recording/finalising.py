"""Finalises a recording: writes metadata into its files, and checksums next to them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from dimstream_server.recording.description import DESCRIPTION, Description
from dimstream_server.recording.formats import open_images
from dimstream_server.recording.frame_log import FRAME_LOG
from dimstream_server.recording.images import Images
from dimstream_server.recording.page_file import sync_path
from dimstream_server.recording.repair import LOST, SUMS, RepairReport, repair
from dimstream_server.recording.spec import RecordedFile

_CHUNK: Final = 4 * 1024 * 1024
Progress = Callable[[int, int], None]
"""Called with the number of bytes processed, and the total."""


def finalise(folder: Path, *, sync: bool, images: Images | None = None) -> RepairReport:
    """Repair a recording whose lock is held, and write the metadata into its files.

    The same frames always give the same bytes, even if this is repeated, or done after a crash.

    Raises
    ------
    RecordingRefused, OSError
    """
    images = open_images(folder, Description.read(folder)) if images is None else images
    try:
        repaired = repair(folder, images)
        images.finalise(repaired.lines)
        if sync:
            images.sync()
            sync_path(folder / FRAME_LOG)
    finally:
        images.close()
    return repaired


def write_checksums(
    folder: Path, *, sync: bool, on_progress: Progress | None = None
) -> tuple[RecordedFile, ...]:
    """Write `SHA256SUMS`, and return name, checksum and size of each file of a finalised recording.

    Raises
    ------
    OSError
    """
    found = sorted(folder.glob("*.ome.tif")) + sorted(folder.glob("*.ome.zarr"))
    found += [path for name in (FRAME_LOG, DESCRIPTION, LOST) if (path := folder / name).exists()]
    progress = _Progress(sum(_size(path) for path in found), on_progress)
    files, sums = [], ""
    for path in found:
        listing = _listing(path, progress)
        sums += "".join(f"{sha256}  {name}\n" for sha256, name in listing)
        sha256 = _sha256_of_folder(path, listing) if path.is_dir() else listing[0][0]
        files.append(RecordedFile(f"{folder.name}/{path.name}", sha256, _size(path)))
    unfinished = folder / f".{SUMS}"
    unfinished.write_text(sums, encoding="utf-8")
    if sync:
        sync_path(unfinished)
    unfinished.replace(folder / SUMS)
    if sync:
        sync_path(folder)
    return tuple(files)


class _Progress:
    """Reports the progress of the checksums."""

    def __init__(self, total: int, on_progress: Progress | None) -> None:
        self._total, self._done, self._on_progress = total, 0, on_progress

    def add(self, nbytes: int) -> None:
        self._done += nbytes
        if self._on_progress is not None:
            self._on_progress(self._done, self._total)


def _sha256(path: Path, progress: _Progress) -> str:
    digest, buffer = hashlib.sha256(), bytearray(_CHUNK)
    with path.open("rb", buffering=0) as file:
        while n := file.readinto(buffer):
            digest.update(memoryview(buffer)[:n])
            progress.add(n)
    return digest.hexdigest()


def _listing(path: Path, progress: _Progress) -> list[tuple[str, str]]:
    """Return (sha256, name) of a file, or of all files in a folder, whose names include the folder."""
    files = [path] if path.is_file() else sorted(_files(path), key=lambda file: file.as_posix().encode())
    return [(_sha256(file, progress), file.relative_to(path.parent).as_posix()) for file in files]


def _sha256_of_folder(folder: Path, listing: list[tuple[str, str]]) -> str:
    """Return the checksum of the output of `find . -type f | LC_ALL=C sort | xargs sha256sum` in this
    folder."""
    listed = "".join(f"{sha256}  .{name.removeprefix(folder.name)}\n" for sha256, name in listing)
    return hashlib.sha256(listed.encode()).hexdigest()


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file())


def _size(path: Path) -> int:
    return sum(file.stat().st_size for file in (_files(path) if path.is_dir() else [path]))
