"""The resume file of a streamed file: ``OUT.resume.json`` next to it, until all is written."""

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
    """What is needed to resume a streamed file: its stream, source and options.

    Parameters
    ----------
    size, changed_ns : int
        Size of all files of the source in bytes, and time of their last change in nanoseconds.
    options : dict
        How the source is read and what is written; must be the same when resumed.
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
        """Return the information for a stream of `source`, which has these files."""
        stats = [path.stat() for path in files or (source,)]
        changed_ns = max(stat.st_mtime_ns for stat in stats)
        return cls(resume_handle, str(source), sum(stat.st_size for stat in stats), changed_ns, options)

    def write(self, path: Path) -> None:
        """Write it atomically, readable only by its owner, because it allows resuming the stream.

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
    """Return the information for resuming a stream of `source`, which has these files.

    Raises
    ------
    SpoolError
        When there is no such file, the source has changed, or the options differ.
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
    """Cut a file after its first `most` complete lines; return the number of lines left.

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
    """Return the number of complete lines of a file.

    Raises
    ------
    OSError
    """
    with path.open("rb") as file:
        return sum(line.endswith(b"\n") for line in file)
