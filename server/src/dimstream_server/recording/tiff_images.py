"""The images of a recording as OME-TIFF: BigTIFF files with one page per frame."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dimstream_client.files.hyperstack import arrange
from dimstream_client.files.support_colours import support_colours
from dimstream_server.recording.description import Description
from dimstream_server.recording.frame_log import FrameLog
from dimstream_server.recording.ome import ome_xml
from dimstream_server.recording.page_file import PageFile, sync_path
from dimstream_server.recording.spec import RecordedFrame


def page_file(folder: Path, description: Description, kind: str) -> PageFile:
    """Return the file of one kind of image of a recording."""
    return PageFile(
        folder / f"{kind}.ome.tif",
        shape=description.shape,
        dtype=description.dtypes[kind],
        pixel_size_um=description.pixel_size_um,
        colours=support_colours() if kind == "support" else None,
    )


class TiffImages:
    """`raw.ome.tif`, `denoised.ome.tif` and, if requested, the maps in `support.ome.tif` and the error bars
    in `sd.ome.tif`.

    Page n of each file belongs to the same frame; a frame without a prediction has a page of zeros.
    """

    def __init__(self, folder: Path, description: Description) -> None:
        self._folder, self._description = folder, description
        self._names_synced = False  # whether the folder's entries of the files are on the disk
        self._files = {kind: page_file(folder, description, kind) for kind in description.dtypes}

    def append(self, frame: RecordedFrame) -> None:
        """See `Images`."""
        for kind, pixels in frame.pixels_of(self._description.dtypes):
            self._files[kind].append(self._blank(kind) if pixels is None else pixels)

    def repair(self, lines: FrameLog) -> int:
        """See `Images`."""
        return min(file.sound_pages(len(lines.recorded)) for file in self._files.values())

    def cut(self, frames: int) -> None:
        """See `Images`."""
        for file in self._files.values():
            file.cut(frames)

    def finalise(self, lines: FrameLog) -> None:
        """See `Images`."""
        stack = arrange(lines.recorded)
        for kind, file in self._files.items():
            blank = file.pages if stack.holes and file.pages else None
            if blank is not None:
                file.append(self._blank(kind))
            file.put_text(ome_xml(self._description, lines, stack, kind=kind, blank=blank))

    def sync(self) -> None:
        """See `Images`."""
        for file in self._files.values():
            file.sync()
        if not self._names_synced:
            sync_path(self._folder)
            self._names_synced = True

    def close(self) -> None:
        """See `Images`."""
        for file in self._files.values():
            file.close()

    def _blank(self, kind: str) -> np.ndarray[tuple[int, ...], np.dtype[np.generic]]:
        return np.zeros(self._description.shape, self._description.dtypes[kind])
