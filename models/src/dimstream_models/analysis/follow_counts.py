"""How many frames of each stream were analysed while the stream ran."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass
class StreamCount:
    """Numbers of frames of one stream.

    Parameters
    ----------
    frames : int
        Frames that the server had answered at its last message.
    analysed : int
        Frames whose figures the server accepted.
    not_taken : int
        Frames whose figures the server did not accept.
    """

    client: str
    frames: int = 0
    analysed: int = 0
    not_taken: int = 0


def count_lines(counts: Mapping[str, StreamCount]) -> list[str]:
    """Return a line for each stream: how many of its frames were analysed."""
    return [
        f"stream {stream} of {one.client}: {one.analysed} of {one.frames} frames analysed"
        + (f", figures of {one.not_taken} not taken by the server" if one.not_taken else "")
        for stream, one in counts.items()
    ]
