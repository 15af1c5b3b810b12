"""Movies and recordings to analyse: their frames, the frames' times, and which frames are selected."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from dimstream_client.files import ImageStack, TiffError, open_images
from dimstream_models.analysis.errors import InvalidMovie

IMAGE: Final = "denoised.ome.tif"
LINES: Final = "frames.jsonl"
OK: Final = "ok"
DONE: Final = "done"  # status of a frame that was denoised


@dataclass(frozen=True)
class FrameRecord:
    """Data of one frame.

    Parameters
    ----------
    number : int
        Number in the file, from 0 on.
    time_s : float or None
        Acquisition time; seconds after the first frame with a known time.
    flag : str
        ``ok``, ``suspect`` or ``unjudged``; the status, such as ``failed``, of a frame that was not denoised;
        empty without flags.
    follows : bool
        Whether it was taken directly after the frame before it in the file.
    counts : bool
        Whether it is analysed.
    """

    number: int
    time_s: float | None
    flag: str
    follows: bool
    counts: bool


@dataclass(frozen=True)
class Movie:
    """A movie on disk.

    Parameters
    ----------
    path : Path
        Path of the image file.
    shape : (int, int)
        Height and width of a frame, px.
    pixel_um : float or None
        Side of a pixel, µm; None when unknown.
    records : tuple of FrameRecord
        Data of every frame, in order.
    """

    path: Path
    shape: tuple[int, int]
    pixel_um: float | None
    records: tuple[FrameRecord, ...]

    def __len__(self) -> int:
        return len(self.records)


def read_movie(
    path: Path,
    *,
    flags: Path | None = None,
    take: frozenset[str] = frozenset({OK}),
    pixel_size_nm: float | None = None,
    frame_interval_s: float | None = None,
) -> Movie:
    """Return a movie to analyse: from a file of images, or from the folder of a recording with its flags.

    Parameters
    ----------
    flags : Path, optional
        JSON lines of the frames, as `dimstream stream` writes them; a recording has its own.
    take : set of str
        Flags of the frames to analyse; other frames are left out, and counted.
    pixel_size_nm, frame_interval_s : float, optional
        Used in place of the file's own values.

    Raises
    ------
    InvalidMovie
        When it cannot be read, is not a movie of one channel and plane, or the flags belong to another movie.
    """
    if path.is_dir():
        if not (path / IMAGE).is_file():
            raise InvalidMovie(
                f"{path}: expected the folder of a recording, with {IMAGE}, or a file of images; OME-Zarr "
                "cannot be read: record as TIFF, or export it"
            )
        path, flags = path / IMAGE, flags or path / LINES
    size = None if pixel_size_nm is None else pixel_size_nm / 1e3
    with opened(path, pixel_size_um=size, frame_interval_s=frame_interval_s) as stack:
        count = len(stack)
        interval = stack.frame_interval_s
        shown = [stack.t_acq(n) for n in range(count)]
        if any(time is None for time in shown) and interval is not None:
            shown = [n * interval for n in range(count)]
        shape, pixel_um = stack.frame_shape, stack.square_pixel_um
    lines: list[dict[str, Any]] = [{} for _ in range(count)] if flags is None else _lines(flags, count)
    return Movie(path, shape, pixel_um, tuple(_records(lines, shown, take, flagged=flags is not None)))


@contextmanager
def opened(
    path: Path, *, pixel_size_um: float | None = None, frame_interval_s: float | None = None
) -> Iterator[ImageStack]:
    """Open the frames of a movie of one channel, plane and position.

    Raises
    ------
    InvalidMovie
        When it is not such a movie, or a frame that is read is damaged.
    """
    try:
        with open_images(
            path, below_zero=True, pixel_size_um=pixel_size_um, frame_interval_s=frame_interval_s
        ) as stack:
            others = {
                axis: n
                for axis, n in zip(stack.axes[:-2], stack.shape[:-2], strict=True)
                if axis != "T" and n > 1
            }
            if others:
                raise InvalidMovie(
                    f"{path}: expected a movie of one channel, plane and position, got axes {stack.axes} of"
                    f" {stack.shape}: save one of them as a separate file"
                )
            yield stack
    except TiffError as error:
        raise InvalidMovie(f"{path}: {error.detail}") from error
    except FileNotFoundError as error:
        raise InvalidMovie(f"{path}: expected a file, but there is none: check the path") from error


def _lines(path: Path, count: int) -> list[dict[str, Any]]:
    """Return the line of each frame. A recording's lines state their pages; other lines are in order."""
    try:
        found = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError) as error:
        raise InvalidMovie(f"{path}: expected a JSON object in each line, got: {error}") from error
    if not all(isinstance(line, dict) for line in found):
        raise InvalidMovie(f"{path}: expected a JSON object in each line")
    lines = [line for line in found if "event" not in line]
    pages = [line.get("page", n) for n, line in enumerate(lines)]
    if sorted(pages) != list(range(count)):
        raise InvalidMovie(
            f"{path}: expected one line for each of the {count} frames, got {len(lines)}: give the flags of "
            "this movie"
        )
    return [line for _, line in sorted(zip(pages, lines, strict=True), key=lambda pair: pair[0])]


def _records(
    lines: list[dict[str, Any]], shown: list[float | None], take: frozenset[str], *, flagged: bool
) -> Iterator[FrameRecord]:
    times = [_number(line.get("t_acq"), other) for line, other in zip(lines, shown, strict=True)]
    start = next((time for time in times if time is not None), 0.0)
    for n, (line, time) in enumerate(zip(lines, times, strict=True)):
        status = line.get("status", DONE)
        flag = str(status if status != DONE else line.get("flag") or "unjudged") if flagged else ""
        seq, before = line.get("seq"), lines[n - 1].get("seq") if n else None
        yield FrameRecord(
            n,
            None if time is None else time - start,
            flag,
            follows=n > 0 and (seq is None or before is None or seq == before + 1),
            counts=not flagged or flag in take,
        )


def _number(value: object, other: float | None) -> float | None:
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    return other
