"""Where the pixels of a recording go: one interface, two formats."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray

from dimstream_server.errors import RecordingRefused
from dimstream_server.recording.description import Description
from dimstream_server.recording.frame_lines import Lines
from dimstream_server.recording.spec import RecordedFrame


class Images(Protocol):
    """The images of one recording; used by one thread at a time."""

    def append(self, frame: RecordedFrame) -> None:
        """Write the frame's pixels: raw, denoised, support map.

        Raises
        ------
        OSError, ValueError
            The frame must not count as recorded.
        """

    def settle(self, lines: Lines) -> int:
        """Give up what was half written; how many whole frames there are.

        When the lines name more, lines were kept that pixels were not (a power failure). When they name
        fewer by more than one, lines were lost.

        Raises
        ------
        OSError
        """

    def cut(self, frames: int) -> None:
        """Keep so many frames, and be ready for the next.

        Raises
        ------
        OSError
        """

    def complete(self, lines: Lines) -> None:
        """Put the metadata in.

        Raises
        ------
        OSError
        """

    def sync(self) -> None:
        """Wait until everything is on the disk.

        Raises
        ------
        OSError
        """

    def close(self) -> None:
        """Close the files."""


def open_images(folder: Path, description: Description) -> Images:
    """The images of a recording.

    Raises
    ------
    RecordingRefused
        OME-Zarr, and zarr-python is not installed.
    """
    if description.format == "tiff":
        from dimstream_server.recording.tiff_images import TiffImages

        return TiffImages(folder, description)
    try:
        from dimstream_server.recording.zarr_images import ZarrImages
    except ImportError as error:
        raise RecordingRefused(
            f"recording as OME-Zarr needs zarr-python, which is not there ({error}); "
            "install dimstream-server[zarr], or set recording.format to tiff"
        ) from error
    return ZarrImages(folder, description)


def pixels_of(frame: RecordedFrame, kinds: dict[str, str]) -> Iterator[tuple[str, NDArray[Any] | None]]:
    """(kind, pixels) of a frame, in the order in which they are written; None: it has none."""
    pixels = {"raw": frame.raw, "denoised": frame.result.pixels, "support": frame.result.support}
    return ((kind, pixels[kind]) for kind in kinds)
