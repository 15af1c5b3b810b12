"""The results of one stream on the disk: an OME-TIFF of the denoised frames, and a JSON line for each.

``NAME.ome.tif`` has a page for each line of ``NAME.flags.jsonl``, in the order of the frames. The line is
written after the page, so a page with a line is complete. The plane of each page is written at the end; until
then, ``NAME.resume.json`` exists.
"""

from __future__ import annotations

import contextlib
import json
import logging
import threading
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TextIO

import numpy as np
import numpy.typing as npt

from dimstream_client.errors import SpoolError
from dimstream_client.files.hyperstack import PlacedPage, arrange
from dimstream_client.files.ome_hyperstack import hyperstack_xml
from dimstream_client.files.scale import Scale
from dimstream_client.messages import PlaneIndex
from dimstream_client.resume_file import keep_lines
from dimstream_client.spool_file import open_private

if TYPE_CHECKING:
    from dimstream_client.files.page_writer import PageWriter

IMAGE, LINES, NOTE = ".ome.tif", ".flags.jsonl", ".resume.json"
_RETRY_S: Final = 1.0
_UNFINISHED: Final = b"dimstream: which plane each page is, is put in at the end of the run"
_log = logging.getLogger("dimstream")


@dataclass(frozen=True)
class ImageNote:
    """Common data of all frames of a stream.

    Parameters
    ----------
    stream : str
        The server's id of the stream.
    shape : tuple of int
        (H, W) of each frame.
    dtype : str
        Data type of the denoised pixels.
    pixel_size_um, z_step_um : float or None
        Micrometres.
    frame_interval_s : float or None
    channels : tuple of str
        Names of the channels.
    """

    stream: str
    shape: tuple[int, int]
    dtype: str
    pixel_size_um: float | None = None
    z_step_um: float | None = None
    frame_interval_s: float | None = None
    channels: tuple[str, ...] = ()

    @classmethod
    def read(cls, path: Path) -> ImageNote:
        """Return the note that `write` wrote.

        Raises
        ------
        SpoolError
            When it is not such a note.
        OSError
        """
        try:
            fields = json.loads(path.read_text("utf-8"))
            height, width = fields.pop("shape")
            channels = tuple(fields.pop("channels"))
            return cls(shape=(int(height), int(width)), channels=channels, **fields)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise SpoolError(f"{path}: expected the note of an unfinished image, got: {error}") from None

    def write(self, path: Path) -> None:
        """Write the note atomically.

        Raises
        ------
        OSError
        """
        unfinished = path.with_name(f".{path.name}")
        with open_private(unfinished) as file:
            file.write(json.dumps(asdict(self), indent=1).encode())
        unfinished.replace(path)

    @property
    def scale(self) -> Scale:
        """Step sizes along the axes."""
        side = self.pixel_size_um
        sides = None if side is None else (side, side)
        return Scale(sides, self.z_step_um, self.frame_interval_s, self.channels)


class ResultImages:
    """The files of one stream; those of an interrupted stream are continued.

    Parameters
    ----------
    stem : Path
        Path without the endings.

    Raises
    ------
    SpoolError, OSError
    """

    def __init__(self, stem: Path, note: ImageNote) -> None:
        self.stem, self.note = stem, note
        self._blank = np.zeros(note.shape, note.dtype)
        self._lock = threading.Lock()
        self._pages: PageWriter | None = None
        self._lines: TextIO | None = None
        self._is_told = False
        note.write(path_of(stem, NOTE))
        self.done = self._whole()
        self.next_seq = max((line["seq"] for line in self._read_lines()), default=-1) + 1

    def put(
        self, pixels: npt.NDArray[Any] | None, line: Mapping[str, Any], *, gives_up: threading.Event
    ) -> bool:
        """Write a result; wait while the disk is full or not available. Return False if waiting was ended.

        Parameters
        ----------
        pixels : (H, W) ndarray or None
            Denoised counts; None if the frame failed, for which a page of zeros is written.
        """
        with self._lock:
            while True:
                try:
                    self._write(pixels, line)
                except OSError as error:
                    self._let_go()
                    if not self._is_told:
                        _log.error("%s cannot be written, its results wait: %s", self.stem, error)
                    self._is_told = True
                else:
                    self._is_told = False
                    return True
                if gives_up.wait(_RETRY_S):
                    return False

    def describe(self) -> None:
        """Close the files, and write the plane of each page.

        Raises
        ------
        OSError
        """
        with self._lock:
            self._let_go()
            if not self.done:
                return
            pages = [_placed(n, line) for n, line in enumerate(self._read_lines())]
            stack = arrange(pages)
            blank = len(pages) if stack.holes else None
            note = self.note
            text = hyperstack_xml(stack, shape=note.shape, dtype=note.dtype, scale=note.scale, blank=blank)
            writer = self._page_writer()
            try:
                if blank is not None:  # a later frame for this plane replaces it
                    writer.write(self._blank)
            finally:
                writer.close(description=text)

    def forget_note(self) -> None:
        """Mark the images as complete: remove the note."""
        path_of(self.stem, NOTE).unlink()

    def _write(self, pixels: npt.NDArray[Any] | None, line: Mapping[str, Any]) -> None:
        if self._pages is None or self._lines is None:
            self.done = self._whole()
            self._pages = self._page_writer()
            self._lines = path_of(self.stem, LINES).open("a", encoding="utf-8", newline="\n")
        self._pages.write(
            self._blank if pixels is None else pixels, description=None if self.done else _UNFINISHED
        )
        self._lines.write(json.dumps(line) + "\n")
        self._lines.flush()
        self.done += 1
        self.next_seq = line["seq"] + 1

    def _page_writer(self) -> PageWriter:
        from dimstream_client.files.page_writer import PageWriter  # needs tifffile

        note = self.note
        return PageWriter(
            path_of(self.stem, IMAGE),
            shape=note.shape,
            dtype=note.dtype,
            pixel_size_um=note.scale.pixel_size_um,
            is_big=True,
            written=self.done,
        )

    def _let_go(self) -> None:
        """Close the files as they are; a partial page is cut off when they are opened again."""
        pages, lines, self._pages, self._lines = self._pages, self._lines, None, None
        for file in (pages, lines):
            if file is not None:
                with contextlib.suppress(OSError, ValueError):
                    file.close()

    def _whole(self) -> int:
        """Return the number of completely written results; cut off a partial line."""
        from dimstream_client.files.page_writer import page_offsets

        image, lines = path_of(self.stem, IMAGE), path_of(self.stem, LINES)
        if not lines.exists():
            return 0
        pages = len(page_offsets(image)) if image.exists() and image.stat().st_size else 0
        return keep_lines(lines, pages)

    def _read_lines(self) -> Iterator[dict[str, Any]]:
        path = path_of(self.stem, LINES)
        if path.exists():
            with path.open(encoding="utf-8") as lines:
                yield from map(json.loads, lines)


def path_of(stem: Path, ending: str) -> Path:
    """Return the file of a stem."""
    return stem.with_name(stem.name + ending)


def _placed(page: int, line: Mapping[str, Any]) -> PlacedPage:
    index = PlaneIndex(**line["index"])
    return PlacedPage(page, line["seq"], index, line["t_acq"], line["status"] == "done")
