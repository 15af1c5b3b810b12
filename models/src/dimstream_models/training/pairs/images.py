"""Image files: planes of counts in TIFF, OME-TIFF, PNG and Imspector files, and the size of their pixels."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dimstream_models.training.errors import InvalidPairs
from dimstream_models.training.pairs.imspector import read_imspector
from dimstream_models.training.pairs.png import read_png
from dimstream_models.training.pairs.tiff import read_tiff

_READERS: Mapping[str, Callable[[Path, str | None], tuple[NDArray[Any], tuple[float, float] | None]]] = {
    ".tif": read_tiff,
    ".tiff": read_tiff,
    ".png": read_png,
    ".msr": read_imspector,
    ".obf": read_imspector,
}
SUFFIXES = tuple(_READERS)
SQUARE = 0.01  # sides of a pixel that differ by no more than this share are equal


@dataclass(frozen=True)
class ImageFile:
    """Where planes lie: a file, and the stack in it where a file holds several."""

    path: Path
    stack: str | None = None

    def __str__(self) -> str:
        return str(self.path) if self.stack is None else f"{self.path}#{self.stack}"

    def sha256(self) -> str:
        """Return the hash of the whole file."""
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True)
class Planes:
    """What a file holds."""

    values: NDArray[Any]  # (N, H, W), in the file's own type: real and finite numbers
    pixel_size_nm: float | None


def is_image(path: Path) -> bool:
    """Return whether the name is that of an image that can be read."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def read_planes(file: ImageFile) -> Planes:
    """Return all planes of an image file.

    Raises
    ------
    InvalidPairs
        When the file cannot be read, or holds several channels or anything but real, finite numbers.
    """
    reader = _READERS.get(file.path.suffix.lower())
    if reader is None:
        raise InvalidPairs(f"{file}: expected a file named {', '.join(SUFFIXES)}; save the image as TIFF")
    if not file.path.is_file():
        raise InvalidPairs(f"{file}: there is no such file")
    try:
        values, sides_nm = reader(file.path, file.stack)
    except InvalidPairs as error:
        raise InvalidPairs(f"{file}: {error}") from error
    except Exception as error:  # tifffile, its codecs and msr-reader raise whatever a broken file makes them
        raise InvalidPairs(
            f"{file} cannot be read ({type(error).__name__}: {error}): copy it anew"
        ) from error
    return Planes(_checked(values, file), _square(sides_nm, file))


def _checked(values: NDArray[Any], file: ImageFile) -> NDArray[Any]:
    if values.dtype.kind not in "uif" or values.ndim < 2 or 0 in values.shape:
        raise InvalidPairs(f"{file}: expected planes of real numbers, got {values.dtype} {values.shape}")
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise InvalidPairs(
            f"{file}: expected finite numbers, got nan or inf: crop the image to what was seen"
        )
    return values.reshape(-1, *values.shape[-2:])


def _square(sides_nm: tuple[float, float] | None, file: ImageFile) -> float | None:
    if sides_nm is None or not min(sides_nm) > 0:
        return None
    if max(sides_nm) > (1 + SQUARE) * min(sides_nm):
        raise InvalidPairs(
            f"{file}: expected square pixels, got {sides_nm[0]:g} x {sides_nm[1]:g} nm: resample the image"
        )
    return sides_nm[1]
