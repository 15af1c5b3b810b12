"""Read recordings of ImSwitch (HDF5) with h5py; each data set is an image.

They are read only by path, because the HDF5 library is not safe for untrusted bytes. A data set of ImSwitch
has the name of its detector or the size of its elements; one with neither is from another program and is
refused.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from dimstream_client.errors import Code, TiffError
from dimstream_client.files.found_image import UNNAMED, FoundImage
from dimstream_client.files.scale import Scale, pair, positive

ENDINGS: Final = (".h5", ".hdf5")
MAGIC: Final = b"\x89HDF\r\n\x1a\n"
_DETECTOR: Final = "detector_name"
_SIZES: Final = "element_size_um"
_MARKS: Final = frozenset({_DETECTOR, _SIZES})
_MOST_DATA_SETS: Final = 1_000
_FILTERS: Final = frozenset({None, "gzip", "lzf"})


class DataSetPlanes:
    """Planes of a data set, read one by one.

    Parameters
    ----------
    array : h5py.Dataset
        (..., H, W).
    """

    def __init__(self, file: Any, array: Any) -> None:
        self._file, self._array = file, array

    def __len__(self) -> int:
        return math.prod(self._array.shape[:-2])

    def stored(self, k: int) -> npt.NDArray[Any]:
        """Return plane `k`, (H, W).

        Raises
        ------
        TiffError
            When it cannot be read.
        """
        try:
            return np.asarray(self._array[np.unravel_index(k, self._array.shape[:-2])])
        except (OSError, RuntimeError, ValueError) as error:
            raise TiffError(
                Code.BAD_IMAGE,
                f"frame {k} of {self._array.name} cannot be read ({error}); copy the file again",
            ) from error

    def check(self, k: int) -> bool:
        """Return True: only reading shows whether the plane exists."""
        return True

    def paths(self) -> tuple[str, ...]:
        """Return no paths, because there are no sets of files."""
        return ()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def find_hdf5(path: Path | None) -> list[FoundImage]:
    """Return the data sets of a file of ImSwitch.

    Raises
    ------
    TiffError
        bad_image: h5py is not installed, or the file is damaged, still open in ImSwitch, or of another
        program.
    """
    if path is None:
        raise TiffError(
            Code.BAD_IMAGE,
            "HDF5 is read from a file by the commands `dimstream stream`, `denoise` and `watch` only; send "
            "TIFF or NPY",
        )
    try:
        import h5py
    except ModuleNotFoundError as error:
        raise TiffError(
            Code.BAD_IMAGE,
            "HDF5 files of ImSwitch need h5py: pip install 'dimstream-client[hdf5]', or numpy.save the array "
            "as .npy",
        ) from error
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise TiffError(
            Code.BAD_IMAGE,
            f"the HDF5 file cannot be opened ({str(error)[:200]}); it is damaged, or still open in the "
            "program that writes it",
        ) from error
    try:
        return _found(file, h5py)
    except BaseException:
        file.close()
        raise


def _found(file: Any, h5py: Any) -> list[FoundImage]:
    links = [(name, file.get(name, getlink=True)) for name in list(file)[: _MOST_DATA_SETS + 1]]
    if len(links) > _MOST_DATA_SETS:
        raise TiffError(Code.BAD_IMAGE, f"the HDF5 file holds more than {_MOST_DATA_SETS} objects")
    arrays = [file[name] for name, link in links if isinstance(link, h5py.HardLink)]
    arrays = [each for each in arrays if isinstance(each, h5py.Dataset) and _MARKS & set(each.attrs)]
    if not arrays:
        raise TiffError(
            Code.BAD_IMAGE,
            f"the HDF5 file holds {len(links)} objects, and no data set with the attribute {_DETECTOR} "
            f"or {_SIZES}, as ImSwitch writes them; read the array in Python, and numpy.save it as .npy with "
            "axes T, Z, Y, X",
        )
    return [_image(file, each) for each in arrays]


def _image(file: Any, array: Any) -> FoundImage:
    """Return the image of one data set; its axes before YX have no names."""
    if array.is_virtual or array.external or array.compression not in _FILTERS:
        raise TiffError(
            Code.BAD_IMAGE,
            f"the data set {array.name} is virtual, lies in other files, or is packed by "
            f"{array.compression}; expected plain, gzip or lzf: save it again",
        )
    if array.dtype.kind not in "iuf" or array.ndim < 2 or 0 in array.shape:
        raise TiffError(
            Code.WRONG_DTYPE,
            f"the data set {array.name} is {array.shape} of {array.dtype}, expected frames of counts",
        )
    return FoundImage(
        axes=UNNAMED[0] * (array.ndim - 2) + "YX",
        shape=array.shape,
        dtype=array.dtype.newbyteorder("="),
        planes=DataSetPlanes(file, array),
        name=array.name.lstrip("/"),
        scale=Scale(_pixel_size(array.attrs.get(_SIZES))),
    )


def _pixel_size(sizes: Any) -> tuple[float, float] | None:
    """Return the sides of a pixel along x and y. ImSwitch gives z, y and x, but its z step is not
    reliable."""
    try:
        values = [float(each) for each in np.ravel(sizes)]
    except (TypeError, ValueError):
        return None
    return pair(positive(values[-1]), positive(values[-2])) if len(values) >= 2 else None
