"""Exit codes of ``dimstream``, and error messages on stderr."""

from __future__ import annotations

import sys

DONE, INCOMPLETE, USAGE, UNREADABLE, REFUSED, SUSPECT, INTERRUPTED = 0, 1, 2, 3, 4, 5, 130


class CommandRefused(Exception):
    """The command cannot do what was requested; it ends with exit code `code`."""

    def __init__(self, text: str, code: int = USAGE) -> None:
        super().__init__(text)
        self.code = code


def say(text: str, code: int) -> int:
    """Print one line on stderr and return `code`."""
    print("dimstream: " + " ".join(text.split()), file=sys.stderr)
    return code
