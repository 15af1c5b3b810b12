"""Starts of `dimstream-server` that do not import it again."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from forked import Forked, forked

from dimstream_server import server_process


def start_server(words: Sequence[str], *, out: Path) -> Forked:
    """Start `dimstream-server` with these words; what it says is appended to `out`."""
    modules = ("uvloop", "onnxruntime", "dimstream_server.server_parts", "dimstream_server.serving")
    return forked("dimstream_models", *modules).start("dimstream_server.cli:main", words, out=out)


@contextmanager
def starts_are_forks() -> Iterator[None]:
    """Meanwhile, `running_server` and `running_gateway` start their servers by `start_server`."""

    def start(words: Sequence[str], ready: Path) -> Forked:
        return start_server(server_process._on_free_ports(words, ready), out=ready.with_suffix(".log"))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(server_process, "_start", start)
        yield
