"""Starts of `dimstream-server` that do not import it again."""

from collections.abc import Sequence
from pathlib import Path

from forked import Forked, forked


def start_server(words: Sequence[str], *, out: Path) -> Forked:
    """Start `dimstream-server` with these words; what it says is appended to `out`."""
    modules = ("uvloop", "onnxruntime", "dimstream_server.server_parts", "dimstream_server.serving")
    return forked("dimstream_models", *modules).start("dimstream_server.cli:main", words, out=out)
