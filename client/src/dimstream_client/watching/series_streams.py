"""One stream for each time series, so that the first frame of a file is compared with the previous file."""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy.typing as npt

from dimstream_client.client import Client
from dimstream_client.errors import DimstreamError
from dimstream_client.files import ImageStack
from dimstream_client.messages import PlaneIndex
from dimstream_client.stream import Stream

MOST_OPEN: Final = 4
"""Most open streams; the least recently used one is closed first."""
_CLOSING_S: Final = 5.0
Position = tuple[str, int]
"""A file, and the number of its frames that were sent."""
ReferenceFrame = tuple["npt.NDArray[Any]", PlaneIndex]


@dataclass
class OpenSeries:
    """An open stream, the kind of its frames, and its position.

    Parameters
    ----------
    is_whole : bool
        Whether the results of all frames came and were written; else the stream is not used again.
    """

    stream: Stream
    kind: tuple[Any, ...]
    position: Position | None = None
    is_whole: bool = False

    def follows(self, kind: tuple[Any, ...], position: Position | None) -> bool:
        """Return whether frames of this kind that follow this position can be sent."""
        return self.is_whole and (self.kind, self.position) == (kind, position)


class SeriesStreams:
    """The open streams, by series.

    Parameters
    ----------
    settings_of : callable
        Returns the stream's settings for a stack.
    """

    def __init__(self, client: Client, settings_of: Callable[[ImageStack], dict[str, Any]]) -> None:
        self._client, self._settings_of = client, settings_of
        self._open: OrderedDict[str, OpenSeries] = OrderedDict()

    def continued(
        self,
        series: str,
        stack: ImageStack,
        position: Position | None,
        references: Callable[[], Sequence[ReferenceFrame]],
    ) -> OpenSeries:
        """Return the stream of a series for the frames of a stack; open it if there is none.

        Parameters
        ----------
        position : Position or None
            Position that the frames follow; a stream with another position is replaced.
        references : callable
            Returns the frames before them, (H, W) each. A new stream gets them first, so that the next frames
            of their planes are compared with them; their results are dropped.

        Raises
        ------
        DimstreamError
        """
        settings = self._settings_of(stack)
        kind = (stack.frame_shape, stack.dtype, stack.square_pixel_um)
        opened = self._open.get(series)
        if opened is not None and not opened.follows(kind, position):
            self.close(series)
            opened = None
        if opened is None:
            while len(self._open) >= MOST_OPEN:
                self.close(next(iter(self._open)))
            stream = self._client.open(stack.frame_shape, stack.dtype, **settings)
            opened = self._open[series] = OpenSeries(stream, kind)
            self._refer(stream, stack, references())
        self._open.move_to_end(series)
        opened.is_whole = False  # until the results of the frames that are sent now came
        return opened

    def _refer(self, stream: Stream, stack: ImageStack, frames: Sequence[ReferenceFrame]) -> None:
        for pixels, index in frames:
            if (pixels.shape, pixels.dtype.name) == (stack.frame_shape, stack.dtype):
                stream.send(pixels, index=index, copy=False)
                stream.take()

    def close(self, series: str) -> None:
        """Close the stream of a series, if any, without waiting for a lost server."""
        opened = self._open.pop(series, None)
        if opened is None:
            return
        with contextlib.suppress(DimstreamError):
            if opened.is_whole:
                opened.stream.close(timeout_s=_CLOSING_S)
            else:
                opened.stream.abandon()

    def close_all(self) -> None:
        """Close all streams."""
        for series in tuple(self._open):
            self.close(series)
