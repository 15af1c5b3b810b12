"""Examples of the documentation, taken from its pages as a reader would copy them."""

from __future__ import annotations

import re
from pathlib import Path

DOCS = Path(__file__).resolve().parents[1] / "docs"


def example(page: str, language: str, containing: str) -> str:
    """Return the one fenced block of a page in this language that contains a text."""
    text = (DOCS / page).read_text(encoding="utf-8")
    blocks = re.findall(rf"^```{re.escape(language)}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    (found,) = [block for block in blocks if containing in block]
    return str(found)
