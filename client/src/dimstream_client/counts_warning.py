"""Warnings about values that are not photon counts, made from the server's reasons."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["warning_of"]

_START: Final = "no photon counts: "
_PROPOSAL: Final = re.compile(r"they look like offset (-?[0-9.e+-]+), gain ([0-9.e+-]+)")


def warning_of(words: str | None) -> str | None:
    """Return a warning for the terminal; None if the reason of a flag does not mention it.

    Parameters
    ----------
    words : str or None
        Reason of a frame's flag; it can contain several reasons.
    """
    if words is None or _START not in words:
        return None
    found = words[words.index(_START) :]
    proposed = _PROPOSAL.search(found)
    advice = "say what the detector gives, by --offset and --gain, or send the counts that it took"
    if proposed:
        advice = f"try --offset {proposed[1]} --gain {proposed[2]}, or send the counts that the detector took"
    return f"the values are {found}; no frame of them is judged ok: {advice}"
