"""An iterator over the results of a stream."""

from __future__ import annotations

from typing import Protocol

from dimstream_client.arguments import Number
from dimstream_client.messages import Result

__all__ = ["Results"]


class _Take(Protocol):
    def __call__(self, *, timeout_s: Number | None = None) -> Result | None: ...


class Results:
    """Iterator over the results of a stream, made by `Stream.results`."""

    def __init__(self, take: _Take, *, timeout_s: Number | None) -> None:
        self._take = take
        self._timeout_s = timeout_s

    def __iter__(self) -> Results:
        return self

    def __next__(self) -> Result:
        result = self._take(timeout_s=self._timeout_s)
        if result is None:
            raise StopIteration
        return result
