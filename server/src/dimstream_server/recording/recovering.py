"""`dimstream-server recover FOLDER`: finishes recordings after a crash or a full disk."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from dimstream_server.errors import ServerError
from dimstream_server.recording.description import DESCRIPTION
from dimstream_server.recording.finalising import Progress, finalise, write_checksums
from dimstream_server.recording.repair import SUMS, RepairReport, lock_frame_log

EXIT_LEFT: Final = 1
EXIT_NOTHING: Final = 2
_GB: Final = 1e9


def main(argv: Sequence[str]) -> int:
    """Finish unfinished recordings. Return the exit code: 0, 1 if one was left unchanged, 2 without any."""
    parser = argparse.ArgumentParser(
        prog="dimstream-server recover",
        description=(
            "Finish recordings after a crash or a full disk: remove incomplete frames, and add metadata and "
            "checksums. No recorded frame is lost, and nothing is done twice."
        ),
    )
    parser.add_argument("folder", type=Path, help="a recording, or the folder of all recordings")
    folder: Path = parser.parse_args(argv).folder
    found = [folder] if (folder / DESCRIPTION).exists() else sorted(each.parent for each in _below(folder))
    if not found:
        print(
            f"dimstream-server recover: expected a recording in {folder}, got no {DESCRIPTION}; "
            "give the folder of recording.folder, or one in it",
            file=sys.stderr,
        )
        return EXIT_NOTHING
    left = 0
    for n, each in enumerate(found, start=1):
        print(f"{n} of {len(found)}: {each.name}: ", end="", flush=True)
        try:
            print(recover(each, on_progress=_progress_printer() if sys.stderr.isatty() else None), flush=True)
        except (ServerError, OSError) as error:
            print(f"left unchanged: {error}", flush=True)
            left += 1
    return EXIT_LEFT if left else 0


def recover(folder: Path, *, on_progress: Progress | None = None) -> str:
    """Finish one recording; return a summary for people.

    Raises
    ------
    RecordingRefused
        When it is being written, or cannot be read.
    OSError
    """
    with lock_frame_log(folder):
        if (folder / SUMS).exists():
            return "complete, nothing to do"
        repaired = finalise(folder, sync=True)
        files = write_checksums(folder, sync=True, on_progress=on_progress)
    nbytes = sum(file.nbytes for file in files)
    stated = [f"finished, {len(repaired.lines.recorded)} frames, {nbytes / _GB:.3f} GB", *_stated(repaired)]
    return "; ".join(stated)


def _stated(repaired: RepairReport) -> list[str]:
    stated = []
    if repaired.cut_frames or repaired.cut_bytes:
        stated.append(f"removed the frame that was being written (after frame {repaired.lines.next_seq - 1})")
    if repaired.unlisted:
        stated.append(
            f"{repaired.unlisted} frames had lost their lines and got new ones without their numbers"
        )
    if repaired.lost:
        stated.append(f"{repaired.lost} lines had lost their pixels and were moved to frames.lost.jsonl")
    if repaired.lines.stopped:
        stated.append(f"it had stopped: {repaired.lines.stopped}")
    return stated


def _below(folder: Path) -> list[Path]:
    return [path for path in folder.glob(f"*/{DESCRIPTION}") if path.is_file()]


def _progress_printer() -> Progress:
    def tell(done: int, total: int) -> None:
        end = "\r" if done < total else "\r\033[K"
        print(f"checksums: {done / _GB:.2f} of {total / _GB:.2f} GB", end=end, file=sys.stderr, flush=True)

    return tell
