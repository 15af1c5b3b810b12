"""A streamed file that was broken off: ``OUT.resume.json`` next to it says by what it is gone on with."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dimstream_client.errors import SpoolError
from dimstream_client.resume_handle import ResumeHandle
from dimstream_client.spool_file import open_private


@dataclass(frozen=True)
class ResumeInfo:
    """What a streamed file is gone on with, and the source that it was made of.

    Parameters
    ----------
    size, changed_ns : int
        Of the files of the source: bytes of all, and when the last of them was written.
    options : dict
        How the source was understood and what is written: the same is wanted of who goes on.
    """

    resume_handle: ResumeHandle
    source: str
    size: int
    changed_ns: int
    options: dict[str, Any]

    @classmethod
    def of(
        cls, resume_handle: ResumeHandle, source: Path, files: Sequence[Path], options: dict[str, Any]
    ) -> ResumeInfo:
        """Return the note of a stream that is made of `source`, of these files."""
        stats = [path.stat() for path in files or (source,)]
        changed_ns = max(stat.st_mtime_ns for stat in stats)
        return cls(resume_handle, str(source), sum(stat.st_size for stat in stats), changed_ns, options)

    def write(self, path: Path) -> None:
        """Write it, whole or not at all, for its owner only: it resumes the stream.

        Raises
        ------
        OSError
        """
        fields = {
            "source": self.source,
            "size": self.size,
            "changed_ns": self.changed_ns,
            "options": self.options,
        }
        unfinished = path.with_name(f".{path.name}")
        with open_private(unfinished) as file:
            file.write(
                json.dumps(
                    {"resume_handle": json.loads(self.resume_handle.to_json()), **fields}, indent=1
                ).encode()
            )
        unfinished.replace(path)


def read_resume_info(path: Path, source: Path, files: Sequence[Path], options: dict[str, Any]) -> ResumeInfo:
    """Return the note of a stream that is made of `source`, of these files.

    Raises
    ------
    SpoolError
        There is none, the source is another or has changed, or the options are others.
    OSError
    """
    if not path.exists():
        raise SpoolError(
            f"there is nothing to resume: an interrupted stream leaves {path}, and there is no such file"
        )
    try:
        fields = json.loads(path.read_text("utf-8"))
        resume_handle = ResumeHandle.of_json(json.dumps(fields["resume_handle"]), where=str(path))
        info = ResumeInfo(
            resume_handle,
            str(fields["source"]),
            int(fields["size"]),
            int(fields["changed_ns"]),
            dict(fields["options"]),
        )
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise SpoolError(
            f"{path}: expected what resumes a streamed file, got something else: {error}"
        ) from None
    now = ResumeInfo.of(resume_handle, source, files, options)
    if (now.size, now.changed_ns) != (info.size, info.changed_ns):
        raise SpoolError(
            f"{source} has changed since its stream was interrupted, or is not {info.source}; "
            f"give that file, or remove {path} and stream it again"
        )
    if now.options != info.options:
        differ = ", ".join(
            f"{name} ({info.options.get(name)} then, {now.options[name]} now)"
            for name in now.options
            if now.options[name] != info.options.get(name)
        )
        raise SpoolError(
            f"expected the options of the first time, others are: {differ}; give those, or remove {path}"
        )
    return info


def keep_lines(path: Path, most: int) -> int:
    """Cut a file of lines after its first `most` whole ones; return how many it has then.

    Raises
    ------
    OSError
    """
    kept, end = 0, 0
    with path.open("rb") as file:
        for line in file:
            if kept == most or not line.endswith(b"\n"):
                break
            kept, end = kept + 1, end + len(line)
    os.truncate(path, end)
    return kept


def count_lines(path: Path) -> int:
    """Return how many whole lines a file has.

    Raises
    ------
    OSError
    """
    with path.open("rb") as file:
        return sum(line.endswith(b"\n") for line in file)
