"""Explains errors in settings to the person who wrote the settings."""

from __future__ import annotations

from typing import Final

from pydantic import ValidationError

SHOWN: Final = 80  # most characters of a value
_WORDS: Final = {"extra_forbidden": "unknown key", "missing": "missing"}


def complaints(error: ValidationError) -> str:
    """Return each refused setting, by its dotted name, with the reason and the value."""
    message = []
    for each in error.errors(include_url=False, include_context=False):
        name = ".".join(map(str, each["loc"]))
        reason = _WORDS.get(each["type"], each["msg"].removeprefix("Value error, "))
        came = "" if reason == "missing" or not name else f", got {repr(each['input'])[:SHOWN]}"
        message.append(f"{name}: {reason}{came}" if name else reason)
    return "; ".join(message)
