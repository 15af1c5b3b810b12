"""The formats of recordings: OME-TIFF, or with an extra OME-Zarr."""

from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from dimstream_client.messages import PlaneIndex
from dimstream_server.errors import RecordingRefused
from dimstream_server.recording.description import Description
from dimstream_server.recording.images import Images
from dimstream_server.recording.tiff_images import TiffImages, page_file


def read_image(
    folder: Path, description: Description, kind: str, *, page: int, index: PlaneIndex
) -> NDArray[Any]:
    """One image (H, W) of a recording, `raw`, `denoised`, `support` or `sd`, which was written already.

    Raises
    ------
    OSError
        It is not there, or zarr-python is not installed.
    """
    if description.format == "tiff":
        return page_file(folder, description, kind).read(page)
    try:
        from dimstream_server.recording.zarr_images import read_plane
    except ImportError as error:
        raise OSError(f"cannot read OME-Zarr without zarr-python ({error})") from error
    return read_plane(folder, kind, index)


def open_images(folder: Path, description: Description) -> Images:
    """The images of a recording.

    Raises
    ------
    RecordingRefused
        OME-Zarr, and zarr-python is not installed.
    """
    if description.format == "tiff":
        return TiffImages(folder, description)
    try:
        from dimstream_server.recording.zarr_images import ZarrImages
    except ImportError as error:
        raise RecordingRefused(
            f"recording as OME-Zarr needs zarr-python, which is not there ({error}); "
            "install dimstream-server[zarr], or set recording.format to tiff"
        ) from error
    return ZarrImages(folder, description)
