"""Image files: planes of counts, read by `dimstream_client.files`, and their pixel size."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dimstream_client.files import ENDINGS, SQUARE, ImageStack, TiffError, files_of_set, open_images
from dimstream_models.training.errors import InvalidPairs

__all__ = ["SQUARE", "SUFFIXES", "ImageFile", "Planes", "is_image", "read_planes"]

SUFFIXES = ENDINGS
CHANNEL = "channel="


@dataclass(frozen=True)
class ImageFile:
    """Where planes are stored: a file, and which image in it if it holds several.

    Parameters
    ----------
    stack : str or None
        Name or number of an image, or `channel=` with the name or number of a channel.
    """

    path: Path
    stack: str | None = None

    def __str__(self) -> str:
        return str(self.path) if self.stack is None else f"{self.path}#{self.stack}"

    def sha256(self) -> str:
        """Return the hash of the whole file; for a set of files, the hash of all their hashes."""
        hashes = [_sha256(path) for path in sorted(files_of_set(self.path))]
        return hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()


@dataclass(frozen=True)
class Planes:
    """The planes of a file."""

    values: NDArray[Any]  # (N, H, W), uint8, uint16 or float32: real and finite numbers
    pixel_size_nm: float | None


def is_image(path: Path) -> bool:
    """Return whether the name has the suffix of a readable image."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def read_planes(file: ImageFile, *, below_zero: bool = False) -> Planes:
    """Return all planes of an image file; files of a set are read together.

    Parameters
    ----------
    below_zero : bool
        Whether to accept negative values, because an offset is, or was, subtracted.

    Raises
    ------
    InvalidPairs
        When the file cannot be read, holds several channels, or values that are not real, finite numbers.
    """
    if not file.path.is_file():
        raise InvalidPairs(f"{file}: there is no such file: check the path")
    stated = file.stack or ""
    channel = stated[len(CHANNEL) :] if stated.startswith(CHANNEL) else None
    series = file.stack if channel is None else None
    with _as_invalid_pairs(file), open_images(file.path, series=series, below_zero=below_zero) as stack:
        values = stack.asarray()
        pixel_size_nm = _square(stack, file)
        return Planes(_one_channel(values, stack, channel, file), pixel_size_nm)


@contextmanager
def _as_invalid_pairs(file: ImageFile) -> Iterator[None]:
    try:
        yield
    except TiffError as error:
        raise InvalidPairs(f"{file}: {error.detail}") from error
    except OSError as error:
        raise InvalidPairs(f"{file} cannot be read ({error}): copy it again") from error


def _one_channel(
    values: NDArray[Any], stack: ImageStack, channel: str | None, file: ImageFile
) -> NDArray[Any]:  # (N, H, W)
    at = stack.axes.find("C")
    if at >= 0 and stack.shape[at] > 1:
        values = np.take(values, _channel(stack, stack.shape[at], channel, file), axis=at)
    elif channel not in (None, "0", *stack.scale.channels):
        raise InvalidPairs(
            f"{file}: got channel {channel!r}, but the file has only one: leave the channel out"
        )
    return values.reshape(-1, *values.shape[-2:])


def _channel(stack: ImageStack, n: int, channel: str | None, file: ImageFile) -> int:
    names = list(stack.scale.channels) or [str(c) for c in range(n)]
    if channel is None:
        raise InvalidPairs(
            f"{file}: expected planes of one channel, got axes {stack.axes} of {stack.shape}: name one in a"
            f" list, as {file.path.name}#{CHANNEL}{names[0]}, or save the counted channel as a separate file"
        )
    if names.count(channel) == 1:
        return names.index(channel)
    if channel.isdecimal() and int(channel) < n:
        return int(channel)
    raise InvalidPairs(f"{file}: expected one of the channels {', '.join(names)}, got {channel!r}")


def _square(stack: ImageStack, file: ImageFile) -> float | None:
    if stack.scale.pixel_size_um is None:
        return None
    if stack.square_pixel_um is None:
        x, y = (side * 1e3 for side in stack.scale.pixel_size_um)
        raise InvalidPairs(f"{file}: expected square pixels, got {y:g} x {x:g} nm: resample the image")
    return stack.square_pixel_um * 1e3


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
