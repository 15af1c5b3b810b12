"""Reports as web pages: one file of well-formed XML that contains its pictures and needs no other file."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from html import escape
from typing import Final

STYLE: Final = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 90em; margin: 2em auto; padding: 0 1em; color: #222 }
h1 { font-size: 1.6em } h2 { font-size: 1.2em; margin-top: 2em }
table { border-collapse: collapse; font-size: 13px }
th, td { padding: 2px 10px; text-align: right; border-bottom: 1px solid #ddd; vertical-align: top }
img { max-width: 100% }
"""


def web_page(title: str, parts: Iterable[str], *, style: str = "") -> str:
    """Return a page of HTML parts; `title` is plain text, `style` is CSS in addition to that of all
    reports."""
    return (
        '<!DOCTYPE html>\n<html lang="en" xmlns="http://www.w3.org/1999/xhtml"><head><meta charset="utf-8"/>'
        f"<title>{escape(title)}</title><style>{STYLE}{style}</style></head>\n<body>\n"
        + "\n".join(parts)
        + "\n</body></html>\n"
    )


def picture(png: bytes, text: str) -> str:
    """Return an image element that contains its PNG; `text` describes it for people who cannot see it."""
    data = base64.b64encode(png).decode("ascii")
    return f'<img alt="{escape(text, quote=True)}" src="data:image/png;base64,{data}"/>'
