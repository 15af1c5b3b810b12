"""The reader of image files for the client's commands, the HTTP endpoint and training.

Needs the extra ``tiff`` (tifffile, imagecodecs), and for Imspector's files ``msr`` (msr-reader).
"""

from dimstream_client.errors import TiffError
from dimstream_client.files.file_sets import files_of_set, group_sets
from dimstream_client.files.formats import ENDINGS, HEAD_BYTES, kind_of
from dimstream_client.files.opening import ImageInfo, Source, list_images, open_images
from dimstream_client.files.scale import SQUARE, Scale
from dimstream_client.files.stack import ImageStack

__all__ = [
    "ENDINGS",
    "HEAD_BYTES",
    "SQUARE",
    "ImageInfo",
    "ImageStack",
    "Scale",
    "Source",
    "TiffError",
    "files_of_set",
    "group_sets",
    "kind_of",
    "list_images",
    "open_images",
]
