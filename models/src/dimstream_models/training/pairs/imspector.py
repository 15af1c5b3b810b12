"""Planes and pixel size of Imspector's files (.msr, .obf), through msr-reader."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from dimstream_models.training.errors import InvalidPairs


def read_imspector(path: Path, stack: str | None) -> tuple[NDArray[Any], tuple[float, float] | None]:
    """Return planes (..., H, W) of one stack and its pixels' sides (y, x) in nm, None if unknown.

    Parameters
    ----------
    path : Path
        An OBF file.
    stack : str, optional
        Name or index of the stack; needed where the file holds several.

    Raises
    ------
    InvalidPairs
        When msr-reader is not installed, or the stack is missing or ambiguous.
    """
    try:
        from msr_reader import OBFFile
    except ModuleNotFoundError as error:
        raise InvalidPairs(
            "Imspector files need msr-reader: pip install 'dimstream-models[train,msr]', or export the"
            " stacks as TIFF"
        ) from error
    with OBFFile(path) as file:
        index = _index(list(file.stack_names), stack)
        return file.read_stack(index), _sides_nm(file, index)


def _index(names: list[str], stack: str | None) -> int:
    known = ", ".join(f"{index}: {name!r}" for index, name in enumerate(names))
    if stack is None:
        if len(names) == 1:
            return 0
        raise InvalidPairs(f"expected one stack, got {known}: name one in a list, as file.msr#{names[0]}")
    if names.count(stack) == 1:
        return names.index(stack)
    if stack.isdecimal() and int(stack) < len(names):
        return int(stack)
    raise InvalidPairs(f"expected the name or index of one stack, got {stack!r}; the file has {known}")


def _sides_nm(file: Any, index: int) -> tuple[float, float] | None:
    header, units = file.stack_headers[index], file.stack_footers[index].si_dimensions
    x, y = (_metres(unit) for unit in units[:2]) if units else (None, None)
    if x is None or y is None:
        return None
    return header.length[1] / header.size[1] * y * 1e9, header.length[0] / header.size[0] * x * 1e9


def _metres(unit: Any) -> float | None:
    """Return how many metres the unit is, None where it is no length (as in files without units)."""
    powers = [Fraction(each.numerator, each.denominator or 1) for each in unit[:-1]]
    return float(unit.scale_factor) if powers == [1] + [0] * (len(powers) - 1) else None
