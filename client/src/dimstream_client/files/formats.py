"""Detect the kind of a file by its first bytes, and say how to export unsupported files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from dimstream_client.errors import Code, TiffError
from dimstream_client.files import hdf5, imspector, npy, png, tiff
from dimstream_client.files.ome import xml_text

ENDINGS: Final = (".tif", ".tiff", ".tf2", ".tf8", ".btf", ".lsm", ".stk", ".npy", ".msr", ".obf", ".png")
HEAD_BYTES: Final = 560
MICROSCOPES: Final = (
    *(".czi", ".zvi", ".nd2", ".lif", ".xlef", ".lof", ".oir", ".oib", ".oif", ".vsi", ".ims", ".dv", ".r3d"),
    *(".sld", ".sldy", ".sif", ".spe", ".mrc", ".ics"),
)
"""Endings of unsupported files of microscopes; each is in `_OTHERS`."""
_FIJI: Final = "in Fiji: File > Import > Bio-Formats, then File > Save As > OME-TIFF"
_OTHERS: Final[Mapping[str, tuple[str, str]]] = {
    ".czi": ("Zeiss", f"in ZEN: Export as OME-TIFF; or {_FIJI}"),
    ".zvi": ("Zeiss AxioVision", _FIJI),
    ".nd2": ("Nikon", f"in NIS-Elements: Export as OME-TIFF; or {_FIJI}"),
    ".lif": ("Leica", f"in LAS X: Export as OME-TIFF; or {_FIJI}"),
    ".xlef": ("Leica", f"in LAS X: Export as OME-TIFF; or {_FIJI}"),
    ".lof": ("Leica", f"in LAS X: Export as OME-TIFF; or {_FIJI}"),
    ".oir": ("Olympus", _FIJI),
    ".oib": ("Olympus", _FIJI),
    ".oif": ("Olympus", _FIJI),
    ".vsi": ("Olympus", _FIJI),
    ".ims": ("Imaris", _FIJI),
    ".dv": ("DeltaVision", _FIJI),
    ".r3d": ("DeltaVision", _FIJI),
    ".sld": ("SlideBook", _FIJI),
    ".sldy": ("SlideBook", _FIJI),
    ".sif": ("Andor", f"in Solis: export as TIFF; or {_FIJI}"),
    ".spe": ("Princeton Instruments", _FIJI),
    ".mrc": ("MRC", _FIJI),
    ".ics": ("ICS", _FIJI),
    ".ids": ("ICS", _FIJI),
    ".nd": ("MetaMorph (a list of .stk files)", "give the .stk or .tif files next to it, one by one"),
    ".zarr": ("Zarr", "read the array in Python, and numpy.save it as .npy with the axes T, Z, Y, X"),
    ".mat": ("MATLAB", "in MATLAB: imwrite each frame to a TIFF with WriteMode append"),
    ".zip": ("ZIP", "unpack it, and give the image in it; of a .npz numpy.save one array as .npy"),
    ".npz": ("NumPy archive", "numpy.save one array of it as .npy"),
    ".jpg": ("JPEG", "save the counts as TIFF: JPEG changes them"),
    ".jpeg": ("JPEG", "save the counts as TIFF: JPEG changes them"),
    ".gif": ("GIF", "save the counts as TIFF"),
    ".bmp": ("BMP", "save the counts as TIFF"),
    ".avi": ("AVI", "save the counts as TIFF: a film for display holds none"),
    ".mp4": ("MP4", "save the counts as TIFF: a film for display holds none"),
    ".raw": ("raw", "import it in Fiji (File > Import > Raw), then save it as TIFF"),
}
_KINDS: Final = (
    (npy.MAGIC, "npy"),
    (imspector.MAGIC, "imspector"),
    (png.MAGIC, "png"),
    (hdf5.MAGIC, "hdf5"),
)
_MAGICS: Final[tuple[tuple[bytes, str], ...]] = (
    (b"ZISRAWFILE", ".czi"),
    (b"\xda\xce\xbe\x0a", ".nd2"),
    (b"\x70\0\0\0", ".lif"),
    (b"OLYMPUSRAWFORMAT", ".oir"),
    (b"Andor Technology", ".sif"),
    (b"MATLAB 5.0", ".mat"),
    (b"PK\x03\x04", ".zip"),
    (b"\xff\xd8\xff", ".jpg"),
    (b"GIF8", ".gif"),
)


def kind_of(head: bytes) -> str | None:
    """Return tiff, npy, imspector, png, hdf5, ome or the ending of an unsupported format; None if unknown.

    Parameters
    ----------
    head : bytes
        At least the first `HEAD_BYTES` bytes, or the whole file.
    """
    if head.startswith(tiff.MAGICS):
        return "tiff"
    for magic, kind in _KINDS:
        if head.startswith(magic):
            return kind
    for magic, ending in _MAGICS:
        if head.startswith(magic):
            return ending
    text = xml_text(head).lstrip()
    return "ome" if text.startswith("<") and "<OME" in text else None


def refuse_others(name: str, kind: str | None) -> None:
    """Refuse unsupported files of other makers by name, and say how to export them.

    Raises
    ------
    TiffError
        bad_image
    """
    ending = next((each for each in _OTHERS if name.lower().endswith(each)), None)
    if kind == "hdf5" and ending == ".ims":
        kind = None  # Imaris keeps its images in HDF5, too
    if kind is not None and ending != ".vsi":  # which is a TIFF of an overview: the pixels lie next to it
        is_npz = kind == ".zip" and ending == ".npz"
        ending = kind if kind in _OTHERS and not is_npz else ending if is_npz else None
    if ending is not None:
        maker, export = _OTHERS[ending]
        raise TiffError(
            Code.BAD_IMAGE,
            f"{maker} files ({ending}) are not read; expected {', '.join(ENDINGS)}: export it, {export}",
        )
