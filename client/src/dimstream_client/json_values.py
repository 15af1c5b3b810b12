"""Values of any program, in JSON's own types: numpy scalars and arrays, mappings, enums, paths, datetimes."""

from __future__ import annotations

import datetime
import math
import operator
import os
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any, Final, NoReturn, SupportsFloat, SupportsIndex

import numpy as np

from dimstream_client.errors import ArgumentError, Code
from dimstream_client.header_checks import short

_MAX_DEPTH: Final = 64
_MAX_ITEMS: Final = 65_536  # each takes a byte of the header at least, which holds no more
_LARGEST_INTEGER: Final = 2**64  # numpy's integers lie below it


def plain(name: str, value: Any) -> Any:
    """Return `value` in JSON's own types; `name` is for the message of a refusal.

    Raises
    ------
    ArgumentError
        JSON has nothing for it, or it is too large or too deep.
    """
    return _Plain(name).of(value, 0)


class _Plain:
    """Turns one value into JSON's own types."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._left = _MAX_ITEMS

    def of(self, value: Any, depth: int) -> Any:
        self._left -= 1
        if self._left < 0:
            refuse(self._name, f"at most {_MAX_ITEMS} values", value)
        if depth > _MAX_DEPTH:
            refuse(self._name, f"at most {_MAX_DEPTH} levels, and nothing that contains itself", value)
        value = unwrapped(value)
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, Mapping):
            return self._object(value, depth)
        if isinstance(value, np.ndarray) or _is_sequence(value):
            return self._list(value, depth)
        return self._scalar(value)

    def _object(self, value: Mapping[Any, Any], depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, item in value.items():
            name = self._key(key)
            if name in found:
                refuse(self._name, f"the name {short(name)} once", value)
            found[name] = self.of(item, depth + 1)
        return found

    def _key(self, key: Any) -> str:
        name = self._scalar(unwrapped(key)) if not isinstance(key, (bool, np.bool_)) else key
        if type(name) not in (str, int):
            refuse(self._name, "names that are texts or integers", key)
        return str(name)

    def _list(self, value: Any, depth: int) -> list[Any]:
        if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
            refuse(self._name, "no masked values", value)
        if len(value) > self._left:
            refuse(self._name, f"at most {_MAX_ITEMS} values", type(value))
        return [self.of(item, depth + 1) for item in value]

    def _scalar(self, value: Any) -> str | int | float:
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, np.datetime64):
            return str(value)
        if isinstance(value, datetime.date):  # a datetime is one, too
            return self._text(value.isoformat())
        if isinstance(value, os.PathLike) and isinstance(path := os.fspath(value), str):
            return self._text(path)
        return self._number(value)

    def _text(self, value: str) -> str:
        try:
            value.encode()
        except UnicodeEncodeError:
            refuse(self._name, "text without lone surrogates", value)
        return str.__str__(value)

    def _number(self, value: Any) -> int | float:
        number: int | float | None = None
        try:
            if isinstance(value, SupportsIndex):
                number = int(operator.index(value))
            elif isinstance(value, SupportsFloat) and not isinstance(value, np.timedelta64):
                number = float(value)
        except (TypeError, ValueError, OverflowError):
            pass
        if number is None:
            refuse(
                self._name,
                "texts, numbers, true, false, None, lists and mappings of them (convert it first)",
                value,
            )
        if isinstance(number, float) and not math.isfinite(number):
            refuse(self._name, "finite numbers", value)
        if isinstance(number, int) and abs(number) >= _LARGEST_INTEGER:
            refuse(self._name, "integers below 2^64 (write larger ones as text)", value)
        return number


def unwrapped(value: Any) -> Any:
    """Return the value of an enum's member, of a numpy boolean, of an array without axes."""
    for _ in range(_MAX_DEPTH):
        if isinstance(value, Enum):
            value = value.value
        elif isinstance(value, np.ndarray) and value.ndim == 0 and not np.ma.is_masked(value):
            value = value[()]
        elif isinstance(value, np.bool_):
            return bool(value)
        else:
            break
    return value


def _is_sequence(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, (str, bytes, bytearray, memoryview))


def refuse(name: str, expected: str, value: Any, code: str = Code.BAD_FIELD) -> NoReturn:
    """Raise the refusal of an argument."""
    try:
        shown = " ".join(short(value).split())
    except Exception:  # a program's own __repr__
        shown = f"a {type(value).__name__}"
    raise ArgumentError(code, f"{name}: expected {expected}, got {shown}")
