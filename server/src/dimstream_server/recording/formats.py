"""The formats of recordings: OME-TIFF, and OME-Zarr with an extra."""

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
    """Return one image (H, W) of a recording, `raw`, `denoised`, `support` or `sd`, that was already written.

    Raises
    ------
    OSError
        When it is missing, or zarr-python is not installed.
    """
    if description.format == "tiff":
        return page_file(folder, description, kind).read(page)
    try:
        from dimstream_server.recording.zarr_images import read_plane
    except ImportError as error:
        raise OSError(f"cannot read OME-Zarr without zarr-python ({error})") from error
    return read_plane(folder, kind, index)


def open_images(folder: Path, description: Description) -> Images:
    """Open the images of a recording.

    Raises
    ------
    RecordingRefused
        When the format is OME-Zarr, but zarr-python is not installed.
    """
    if description.format == "tiff":
        return TiffImages(folder, description)
    try:
        from dimstream_server.recording.zarr_images import ZarrImages
    except ImportError as error:
        raise RecordingRefused(
            f"recording as OME-Zarr needs zarr-python, which is missing ({error}); install "
            "dimstream-server[zarr], or set recording.format to tiff"
        ) from error
    return ZarrImages(folder, description)
