"""Outputs of a folder: hidden while they are written; named when complete and in the record."""

from __future__ import annotations

import errno
import os
from pathlib import Path, PurePosixPath
from typing import Final

from dimstream_client.file_streaming import flags_path, stem_of
from dimstream_client.files import ImageStack
from dimstream_client.folders.denoise_routes import Outcome
from dimstream_client.folders.record import Done, FolderRecord, Stamp, stamp_of

OF_THE_DISK: Final = frozenset({errno.ENOSPC, errno.EROFS, getattr(errno, "EDQUOT", errno.ENOSPC)})
"""Errors of the disk that apply to every output."""


def refuse_changed(folder: Path, sources: tuple[Stamp, ...]) -> None:
    """Refuse files that changed while they were read; they may have more frames now.

    Raises
    ------
    OutputError
    OSError
        When one of them no longer exists.
    """
    for name, *stamp in sources:
        if (name, *stamp) != stamp_of(folder, name):
            raise OutputError(
                f"{name} changed while it was read; run the same command again when it is complete"
            )


def files_of(folder: Path, name: str, stack: ImageStack) -> list[str]:
    """Return the file and the other files of its set, relative to the folder."""
    others = [Path(os.path.relpath(path, folder)).as_posix() for path in stack.files]
    return list(dict.fromkeys([name, *others]))


class OutputError(Exception):
    """A file of this image cannot be read or written; other images are not affected."""


def done_of(
    name: str,
    out: str,
    sources: tuple[tuple[str, int, int], ...],
    stack: ImageStack,
    outcome: Outcome,
    part: Path,
    seconds: float,
) -> Done:
    """Return the line of the record for a complete output."""
    return Done(
        file=name,
        out=out,
        sources=sources,
        out_bytes=part.stat().st_size,
        axes=stack.axes,
        shape=stack.shape,
        counts=outcome.counts,
        suspect_since=outcome.suspect_since,
        model_sha256=outcome.model_sha256,
        seconds=round(seconds, 3),
        remarks=stack.remarks,
    )


def publish(record: FolderRecord, part: Path, done: Done) -> None:
    """Give an output its name. It is first added to the record, so that after a crash every output is in the
    record.

    Raises
    ------
    OSError
    """
    out = record.folder / done.out
    sync(part)
    record.add(done)
    flags_path(part).replace(flags_path(out))
    part.replace(out)


def stem_of_path(name: str) -> str:
    """Return the name of an image, in its folder, without its ending."""
    stem = stem_of(name)
    return PurePosixPath(name).with_suffix("").as_posix() if stem == name else stem


def part_of(out: Path) -> Path:
    """Return the hidden path, next to the output, where it is written until it is complete."""
    return out.with_name(f".{stem_of(out.name)}.part.ome.tif")


def sync(path: Path) -> None:
    """Wait until a file is on the disk (fsync)."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())
