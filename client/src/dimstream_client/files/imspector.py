"""Read stacks of Imspector files (``.msr``, ``.obf``) with msr-reader; declared sizes are checked first."""

from __future__ import annotations

import math
import os
import zlib
from fractions import Fraction
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from dimstream_client.errors import Code, TiffError
from dimstream_client.files.found_image import ArrayPlanes, FoundImage
from dimstream_client.files.scale import Scale, magnitude, pair, positive

MAGIC: Final = b"OMAS_BF\n"
_MAX_STACKS: Final = 10_000


class LazyPlanes:
    """Planes of a stack that is unpacked when the first plane is read."""

    def __init__(self, file: Any, index: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self._file, self._index, self._shape, self._dtype = file, index, shape, dtype
        self._array: ArrayPlanes | None = None

    def __len__(self) -> int:
        return math.prod(self._shape[:-2])

    def stored(self, k: int) -> npt.NDArray[Any]:
        """Return plane `k`, (H, W)."""
        if self._array is None:
            self._array = ArrayPlanes(_unpacked(self._file, self._index, self._shape, self._dtype))
        return self._array.stored(k)

    def check(self, k: int) -> bool:
        """Return True: only unpacking shows whether all planes exist."""
        return True

    def paths(self) -> tuple[str, ...]:
        """Return no paths, because there are no sets of files."""
        return ()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def find_imspector(source: Any) -> list[FoundImage]:
    """Return the stacks of an Imspector file.

    Parameters
    ----------
    source : path or binary file

    Raises
    ------
    TiffError
        bad_image: msr-reader is not installed, or the file is damaged.
    """
    file = _open(source)
    try:
        if not file.stack_headers:
            raise TiffError(Code.BAD_IMAGE, "the Imspector file holds no stacks, expected at least one")
        return [_found(file, index) for index in range(len(file.stack_headers))]
    except BaseException:
        file.close()
        raise


def _open(source: Any) -> Any:
    try:
        from msr_reader.obffile import OBFFile, _read_file_header, _read_stack_footer, _read_stack_header
    except ModuleNotFoundError as error:
        raise TiffError(
            Code.BAD_IMAGE,
            "Imspector files need msr-reader: pip install 'dimstream-client[msr]', or export "
            "the stacks as TIFF",
        ) from error

    class Bounded(OBFFile):  # type: ignore[misc]
        """An open file, in which a circular chain of stacks ends in an error."""

        def __init__(self, fd: Any) -> None:
            self.fd = fd
            self.main_header = _read_file_header(fd)
            self.stack_headers, self.stack_footers = [], []
            seen: set[int] = set()
            position = self.main_header.first_stack_position
            while position > 0:
                if position in seen or len(seen) > _MAX_STACKS:
                    raise ValueError(f"stack {len(seen)} is named twice")
                seen.add(position)
                header = _read_stack_header(fd, position)
                self.stack_headers.append(header)
                self.stack_footers.append(_read_stack_footer(fd, header))
                position = header.next_stack_position
            self.stack_names = [header.name for header in self.stack_headers]

    is_path = isinstance(source, (str, os.PathLike))
    fd = open(source, "rb") if is_path else source  # noqa: SIM115  # closed with the stack
    try:
        fd.seek(0)
        return Bounded(fd)
    except Exception as error:  # any error of msr-reader on damaged bytes
        if is_path:
            fd.close()
        raise TiffError(
            Code.BAD_IMAGE,
            f"the Imspector file cannot be read ({type(error).__name__}: {str(error)[:200]}); copy it again, "
            "or export its stacks as TIFF",
        ) from error


def _found(file: Any, index: int) -> FoundImage:
    from msr_reader.obffile import _parse_dtype

    header, footer = file.stack_headers[index], file.stack_footers[index]
    try:
        kind, samples = _parse_dtype(header.dtype)
    except ValueError as error:
        raise TiffError(Code.WRONG_DTYPE, f"stack {index}: {error}") from error
    sizes = tuple(int(side) for side in header.size)
    if samples != 1 or len(sizes) < 2 or 0 in sizes:
        raise TiffError(
            Code.BAD_IMAGE,
            f"stack {index}, {header.name!r}, has sizes {sizes} and {samples} samples a pixel; expected "
            "planes of counts",
        )
    letters = _letters(list(footer.dimension_labels), list(footer.si_dimensions or ()), len(sizes))
    kept = [k for k in range(2, len(sizes)) if sizes[k] > 1][::-1]
    steps = [_step(header, footer, k) for k in range(len(sizes))]
    named = dict(zip(letters, steps))
    return FoundImage(
        axes="".join(letters[k] for k in kept) + "YX",
        shape=(*(sizes[k] for k in kept), sizes[1], sizes[0]),
        dtype=np.dtype(kind),
        planes=LazyPlanes(file, index, sizes[::-1], np.dtype(kind)),
        name=header.name,
        scale=Scale(
            pair(_micrometres(steps[0]), _micrometres(steps[1])),
            magnitude(_micrometres(named.get("Z"))),
            _seconds(named.get("T")),
        ),
    )


def _letters(labels: list[str], units: list[Any], rank: int) -> list[str]:
    """Return one letter for each dimension, the fastest first: XY, then by label and unit."""
    letters = ["X", "Y"]
    for k in range(2, rank):
        label = labels[k].strip().upper() if k < len(labels) else ""
        unit = units[k] if k < len(units) else None
        is_time = label.endswith((" T", "TIME")) or label == "T" or _power(unit, "seconds") == 1
        is_depth = label.endswith(" Z") or label == "Z" or _power(unit, "meters") == 1
        letter = "T" if is_time else "Z" if is_depth else "Q"
        letters.append("Q" if letter in letters else letter)
    return letters


def _power(unit: Any, name: str) -> Fraction:
    """Return the power of a base unit if it is the only unit; else 0."""
    if unit is None:
        return Fraction(0)
    powers = {
        key: Fraction(p.numerator, p.denominator or 1)
        for key, p in unit._asdict().items()
        if key != "scale_factor"
    }
    return powers[name] if not any(value for key, value in powers.items() if key != name) else Fraction(0)


def _step(header: Any, footer: Any, k: int) -> tuple[float, Any]:
    unit = footer.si_dimensions[k] if footer.si_dimensions else None
    return header.length[k] / header.size[k], unit


def _micrometres(step: Any) -> float | None:
    if step is None or _power(step[1], "meters") != 1:
        return None
    return positive(step[0] * step[1].scale_factor, 1e6)


def _seconds(step: Any) -> float | None:
    if step is None or _power(step[1], "seconds") != 1:
        return None
    return positive(step[0] * step[1].scale_factor)


def _unpacked(file: Any, index: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """Return the pixels of a stack; at most its declared size is unpacked."""
    header = file.stack_headers[index]
    wanted = math.prod(shape) * dtype.itemsize
    file.fd.seek(header.data_position)
    data = file.fd.read(header.data_length)
    try:
        if header.compressed:
            data = zlib.decompressobj().decompress(data, wanted + 1)
    except zlib.error as error:
        raise TiffError(Code.BAD_IMAGE, f"stack {index} is damaged ({error}); copy the file again") from error
    if len(data) != wanted:
        raise TiffError(
            Code.BAD_IMAGE,
            f"stack {index} declares {wanted} bytes of pixels and holds {len(data)}; copy the file again",
        )
    return np.frombuffer(data, dtype).reshape(shape)
