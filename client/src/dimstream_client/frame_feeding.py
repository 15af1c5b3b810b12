"""Send the frames of an open file to a stream, at a given rate, on a separate thread."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import Any

from dimstream_client.errors import ConnectionLost, StreamError, TiffError, Timeout
from dimstream_client.files import ImageStack
from dimstream_client.messages import PlaneIndex
from dimstream_client.stream import Stream

_PATIENCE_S = 0.5  # of one attempt to send, before it is looked whether to stop


def times_of(stack: ImageStack) -> list[float] | None:
    """Return the acquisition time of each frame, for `Frame.t_acq`; None if the file has no times.

    Seconds since 1970 if the file has a date, else since its start. The times of the planes are used if all
    have one; else they are calculated from the time step.
    """
    times = [stack.t_acq(n) for n in range(len(stack))]
    known = [time for time in times if time is not None]
    if known and len(known) == len(times):
        return known
    start, interval_s = stack.started_s or 0.0, stack.frame_interval_s
    return None if interval_s is None else [start + stack.index(n).t * interval_s for n in range(len(stack))]


class FrameFeeder:
    """Reads frames and sends them; a frame that cannot be read is skipped.

    Parameters
    ----------
    first : int
        Number of the first frame that is sent.
    interval_s : float
        Seconds between frames; 0: as fast as the server takes them.

    Attributes
    ----------
    unreadable : dict
        Frames that cannot be read, with the reason. It is set before the skip is sent.
    """

    def __init__(self, stream: Stream, stack: ImageStack, *, first: int, interval_s: float) -> None:
        self.unreadable: dict[int, str] = {}
        self._stream, self._stack, self._first, self._interval_s = stream, stack, first, interval_s
        self._times = times_of(stack)
        self._handed: dict[int, tuple[float, float]] = {}
        self._stopped = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="dimstream-feeder", daemon=True)
        self._thread.start()

    def handed_over(self, n: int) -> tuple[float | None, float | None]:
        """Return, only once, when frame `n` was acquired and when it was sent (`time.perf_counter`)."""
        return self._handed.pop(n, (self._times[n] if self._times else None, None))

    def index_of(self, n: int) -> PlaneIndex:
        """Return the index of frame `n`."""
        return self._stack.index(n)

    def fields_of(self, n: int) -> dict[str, Any]:
        """Return no further fields for the line of a frame."""
        return {}

    def stop(self) -> None:
        """Send no more."""
        self._stopped.set()
        self._thread.join(timeout=10 * _PATIENCE_S)

    def raise_failure(self) -> None:
        """Raise, only once, the error that ended the reading of the file."""
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    def _run(self) -> None:
        try:
            # The results contain the error that ends the stream.
            with contextlib.suppress(StreamError, ConnectionLost):
                self._feed()
                if not self._stopped.is_set():
                    self._stream.finish()
        except BaseException as error:
            self._failure = error
            with contextlib.suppress(StreamError, ConnectionLost):
                self._stream.finish()

    def _feed(self) -> None:
        start = time.perf_counter()
        for n in range(self._first, len(self._stack)):
            delay = start + (n - self._first) * self._interval_s - time.perf_counter()
            if self._stopped.wait(max(delay, 0.0)):
                return
            self._send(n)

    def _send(self, n: int) -> None:
        try:
            pixels = self._stack.read(n)
        except TiffError as error:
            self.unreadable[n] = str(error)
            self._stream.skip(1, reason=str(error)[:200])
            return
        t_acq = self._times[n] if self._times else time.time()
        self._handed[n] = t_acq, time.perf_counter()
        index = self._stack.index(n)
        while not self._stopped.is_set():
            try:
                self._stream.send(pixels, index=index, t_acq=t_acq, copy=False, timeout_s=_PATIENCE_S)
            except Timeout:
                continue
            return
