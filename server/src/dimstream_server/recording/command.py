"""`dimstream-server recordings FOLDER`: lists recordings with size and age; deletes only on request."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from dimstream_server.errors import RecordingRefused
from dimstream_server.recording.description import utc
from dimstream_server.recording.retention import DAY_S, StoredRecording, delete_recording, list_recordings

EXIT_LEFT: Final = 1
EXIT_NOTHING: Final = 2
_GB: Final = 1e9


def main(argv: Sequence[str]) -> int:
    """List recordings, or delete old ones. Return the exit code: 0, 1 if one was kept, 2 without a folder."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    if arguments.delete and arguments.older_than is None:
        parser.error("--delete needs --older-than DAYS")
    folder: Path = arguments.folder
    try:
        found = list_recordings(folder)
    except OSError as error:
        print(f"dimstream-server recordings: cannot read {folder}: {error.strerror}", file=sys.stderr)
        return EXIT_NOTHING
    now = time.time()
    if arguments.older_than is not None:
        found = [one for one in found if one.age_s(now) > arguments.older_than * DAY_S]
    left = 0
    for one in found:
        outcome = _delete(one) if arguments.delete else ""
        left += outcome.startswith(", kept")
        print(f"{one.folder.name}  {one.nbytes / _GB:8.3f} GB  {_state(one, now)}{outcome}", flush=True)
    print(f"{len(found)} recordings, {sum(one.nbytes for one in found) / _GB:.3f} GB")
    return EXIT_LEFT if left else 0


def _state(one: StoredRecording, now: float) -> str:
    if one.finished_at is None:
        return "unfinished: being written, or see `dimstream-server recover`"
    return f"complete since {utc(one.finished_at)[:19]}, {one.age_s(now) / DAY_S:.1f} days"


def _delete(one: StoredRecording) -> str:
    try:
        return ", deleted" if delete_recording(one.folder) else ", kept: it contains a file KEEP"
    except (RecordingRefused, OSError) as error:
        return f", kept: {error}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="dimstream-server recordings",
        description="List the recordings of a folder: size, whether they are complete, and since when.",
    )
    parser.add_argument("folder", type=Path, help="the folder of the recordings")
    parser.add_argument(
        "--older-than", type=float, metavar="DAYS", help="only complete recordings of this age"
    )
    parser.add_argument(
        "--delete",
        action="store_true",
        help="delete the listed recordings; needs --older-than. Without this option, nothing is deleted",
    )
    return parser
