"""Single images of a folder as one movie: each file is a time point, in natural order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dimstream_client.errors import Code, TiffError
from dimstream_client.files import ImageStack
from dimstream_client.folders.scanning import scan

OpenImage = Callable[[Path], ImageStack]


class FolderPlanes:
    """Planes of the files of a folder, one file after the other; only one file is open at a time.

    Parameters
    ----------
    per_file : int
        Number of planes of each file.
    """

    def __init__(self, files: Sequence[Path], open_image: OpenImage, per_file: int) -> None:
        self._files, self._open_image, self._per_file = list(files), open_image, per_file
        self._open: tuple[int, ImageStack] | None = None

    def __len__(self) -> int:
        return len(self._files) * self._per_file

    def stored(self, k: int) -> npt.NDArray[Any]:
        """Return plane `k`, (H, W) counts.

        Raises
        ------
        TiffError
        """
        number, within = divmod(k, self._per_file)
        if self._open is None or self._open[0] != number:
            self.close()
            self._open = number, self._opened(number)
        try:
            return self._open[1].read(within)
        except TiffError as error:
            raise TiffError(error.code, f"{self._files[number].name}: {error.detail}") from error

    def check(self, k: int) -> bool:
        """Return True: only reading shows whether the plane is valid."""
        return True

    def paths(self) -> tuple[str, ...]:
        """Return the paths of all files."""
        return tuple(map(str, self._files))

    def close(self) -> None:
        """Close the open file."""
        if self._open is not None:
            self._open[1].close()
            self._open = None

    def _opened(self, number: int) -> ImageStack:
        path = self._files[number]
        try:
            return self._open_image(path)
        except OSError as error:
            raise TiffError(
                Code.BAD_IMAGE, f"{path.name} cannot be read: {error.strerror or error}"
            ) from error


def open_folder(
    folder: Path,
    open_image: OpenImage,
    *,
    without: Sequence[Path] = (),
    frame_interval_s: float | None = None,
) -> ImageStack:
    """Open the images of a folder as one movie, after a check of each one.

    Parameters
    ----------
    open_image : callable
        Opens one file.
    without : sequence of Path
        Files that are left out: the outputs.
    frame_interval_s : float, optional
        Seconds from file to file.

    Raises
    ------
    TiffError
        When there are no images, or an image cannot be read, is a movie itself, or differs from the first.
    OSError
    """
    found = scan(folder)
    outputs = {path.resolve() for path in without}
    files = [
        folder / name
        for name in found.files
        if len(name.parts) == 1 and (folder / name).resolve() not in outputs
    ]
    if not files:
        raise TiffError(Code.BAD_IMAGE, f"expected images in {folder}, there are none")
    first = open_image(files[0])
    if len(first.files) > 1 and {path.resolve() for path in files} <= {p.resolve() for p in first.files}:
        return first  # the files are a set: their metadata say how they belong together
    with first:
        stacks = [_like(first, path, open_image) for path in files]
    deeper = len(found.files) - sum(len(name.parts) == 1 for name in found.files)
    remarks = [f"one movie of {len(files)} files, from {files[0].name} to {files[-1].name}"]
    if deeper:
        remarks.append(f"{deeper} images in subfolders are not used")
    if found.others:
        remarks.append(f"{sum(found.others.values())} files that are not images are not used")
    delta_t_s, started_s, doubt = _times(stacks)
    return ImageStack(
        axes="T" + first.axes,
        shape=(len(files), *first.shape),
        dtype=first.dtype,
        name=folder.name,
        scale=replace(first.scale, frame_interval_s=frame_interval_s),
        labels=tuple(path.name for path in files for _ in range(len(first))),
        started_s=started_s,
        remarks=(*remarks, *first.remarks, *doubt),
        _planes=FolderPlanes(files, open_image, len(first)),
        _numbers=np.arange(len(files) * len(first)),
        _delta_t_s=delta_t_s,
        _offset=0,
        _below_zero=first._below_zero,
    )


def _like(first: ImageStack, path: Path, open_image: OpenImage) -> tuple[float | None, list[float | None]]:
    """Return the start of a file and the times of its planes; refuse it if it differs from the first file."""
    try:
        stack = open_image(path)
    except TiffError as error:
        raise TiffError(error.code, f"{path.name}: {error.detail}") from error
    with stack:
        if "T" in stack.axes or "P" in stack.axes:
            raise TiffError(
                Code.BAD_IMAGE,
                f"{path.name} is {stack.axes} {stack.shape}: expected single images, or z-stacks and "
                "channels of one time point; movies are for `dimstream denoise FOLDER OUT_FOLDER`",
            )
        kinds = [(each.axes, each.shape, each.dtype) for each in (first, stack)]
        if kinds[0] != kinds[1]:
            axes, shape, dtype = kinds[0]
            raise TiffError(
                Code.BAD_IMAGE,
                f"{path.name} is {stack.axes} {stack.shape} {stack.dtype}, the first image is {axes} {shape} "
                f"{dtype}: expected images of one kind; move the others away",
            )
        return stack.started_s, [stack.delta_t_s(n) for n in range(len(stack))]


def _times(
    stacks: list[tuple[float | None, list[float | None]]],
) -> tuple[npt.NDArray[np.float64] | None, float | None, list[str]]:
    """Return the seconds since the start of the first file, this start, and a note if they are doubtful."""
    starts = [start for start, _ in stacks]
    known = [start for start in starts if start is not None]
    if len(known) < len(starts):
        return None, None, [] if not known else ["some files have no date, so the times of all are left out"]
    begun = known[0]
    times = [
        start - begun + (delta or 0.0)
        for start, deltas in zip(known, (d for _, d in stacks))
        for delta in deltas
    ]
    falls = any(b < a for a, b in zip(known, known[1:]))
    doubt = ["the dates in the files do not increase in the order of their names"] if falls else []
    return np.asarray(times), begun, doubt
