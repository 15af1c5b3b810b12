"""An iterator over the results of a movie, while a separate thread sends its frames."""

from __future__ import annotations

import contextlib
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Union

import numpy.typing as npt

from dimstream_client.arguments import Index, image
from dimstream_client.errors import Code, ConnectionLost, FrameError, StreamError, Timeout
from dimstream_client.header_checks import DTYPES
from dimstream_client.messages import Result
from dimstream_client.stream import Stream

__all__ = ["FrameLike", "StreamedResults"]

_PATIENCE_S = 0.5  # of the feeder, before it looks whether it was stopped

FrameLike = Union["npt.NDArray[Any]", "tuple[npt.NDArray[Any], Index | None]"]


class StreamedResults:
    """Iterator over the results of `Client.stream`; `stream` is set after the first frame.

    Parameters
    ----------
    frames : iterable of (H, W) arrays
        Detector values, or pairs of a frame and its index.
    open_stream : callable
        Returns a stream for frames like the first one.
    """

    def __init__(
        self,
        frames: Iterable[FrameLike],
        open_stream: Callable[[npt.NDArray[Any]], Stream],
        *,
        copy: bool,
    ) -> None:
        self.stream: Stream | None = None
        self._frames = iter(frames)
        self._open_stream = open_stream
        self._copy = copy
        self._feeder: _Feeder | None = None
        self._started = False

    def __iter__(self) -> StreamedResults:
        return self

    def __next__(self) -> Result:
        self.start()
        if self.stream is None or self._feeder is None:
            raise StopIteration
        result = self.stream.take()
        if result is None:
            self._feeder.raise_failure()
            raise StopIteration
        return result

    def start(self) -> None:
        """Take the first frame and open the stream now, not with the first result.

        Raises
        ------
        StreamError
            When the server refuses the stream.
        FrameError, Timeout, ConnectionLost
        """
        if not self._started:
            self._started = True
            self._start()

    def close(self) -> None:
        """Send no more frames and close the stream without waiting."""
        if self._feeder is not None:
            self._feeder.stop()

    def _start(self) -> None:
        first = next(self._frames, None)
        if first is None:
            return
        pixels = image(first[0] if isinstance(first, tuple) else first)
        if pixels.ndim != 2:
            raise FrameError(
                Code.WRONG_SHAPE, f"expected frames as (H, W) arrays, got one of shape {pixels.shape}"
            )
        if pixels.dtype.name not in DTYPES:
            raise FrameError(
                Code.WRONG_DTYPE, f"frames are {pixels.dtype}, expected {', '.join(DTYPES)}; convert them"
            )
        self.stream = self._open_stream(pixels)
        self._feeder = _Feeder(self.stream, first, self._frames, copy=self._copy)
        # After an early end of the loop, no thread and no stream stay.
        weakref.finalize(self, self._feeder.stop)


class _Feeder:
    """Sends frames on a separate thread, so that results can be taken while the next frame is awaited."""

    def __init__(self, stream: Stream, first: FrameLike, rest: Iterator[FrameLike], *, copy: bool) -> None:
        self._stream = stream
        self._first, self._rest = first, rest
        self._copy = copy
        self._stopped = threading.Event()
        self._failure: BaseException | None = None
        threading.Thread(target=self._run, name="dimstream-feeder", daemon=True).start()

    def stop(self) -> None:
        """Send no more."""
        self._stopped.set()
        with contextlib.suppress(ConnectionLost):  # the stream has already ended
            self._stream.abandon()

    def raise_failure(self) -> None:
        """Raise what the iterable of frames raised, once."""
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    def _run(self) -> None:
        try:
            # The results contain the error that ends the stream.
            with contextlib.suppress(StreamError, ConnectionLost):
                self._send(self._first)
                for frame in self._rest:
                    if self._stopped.is_set():
                        return
                    self._send(frame)
        except BaseException as error:
            self._failure = error
        with contextlib.suppress(ConnectionLost):
            self._stream.finish()

    def _send(self, frame: FrameLike) -> None:
        pixels, index = frame if isinstance(frame, tuple) else (frame, None)
        while not self._stopped.is_set():
            try:
                self._stream.send(pixels, index=index, copy=self._copy, timeout_s=_PATIENCE_S)
            except Timeout:
                continue
            return
