"""What is wrong with settings, in words for whoever wrote them."""

from __future__ import annotations

from typing import Final

from pydantic import ValidationError

SHOWN: Final = 80  # characters of a value
_WORDS: Final = {"extra_forbidden": "unknown key", "missing": "missing"}


def complaints(error: ValidationError) -> str:
    """Return each setting that was refused, by its dotted name, with the reason and what came."""
    message = []
    for each in error.errors(include_url=False, include_context=False):
        name = ".".join(map(str, each["loc"]))
        reason = _WORDS.get(each["type"], each["msg"].removeprefix("Value error, "))
        came = "" if reason == "missing" or not name else f", got {repr(each['input'])[:SHOWN]}"
        message.append(f"{name}: {reason}{came}" if name else reason)
    return "; ".join(message)
