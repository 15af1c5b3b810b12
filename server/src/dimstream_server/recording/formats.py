"""The formats of recordings: OME-TIFF, or with an extra OME-Zarr."""

from pathlib import Path

from dimstream_server.errors import RecordingRefused
from dimstream_server.recording.description import Description
from dimstream_server.recording.images import Images
from dimstream_server.recording.tiff_images import TiffImages


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
