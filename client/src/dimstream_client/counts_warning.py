"""What a terminal says of values that are no photon counts, from what the server says of them."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["warning_of"]

_START: Final = "no photon counts: "
_PROPOSAL: Final = re.compile(r"they look like offset (-?[0-9.e+-]+), gain ([0-9.e+-]+)")


def warning_of(words: str | None) -> str | None:
    """Return a sentence for a terminal; None where the words of a flag's reason say nothing of it.

    Parameters
    ----------
    words : str or None
        Reason of a frame's flag, in which it may stand behind another one.
    """
    if words is None or _START not in words:
        return None
    found = words[words.index(_START) :]
    proposed = _PROPOSAL.search(found)
    advice = "say what the detector gives, by --offset and --gain, or send the counts that it took"
    if proposed:
        advice = f"try --offset {proposed[1]} --gain {proposed[2]}, or send the counts that the detector took"
    return f"the values are {found}; no frame of them is judged ok: {advice}"
