"""One stream of a run, with a thread that takes its results."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from dimstream_client.errors import DimstreamError, FrameError, StreamError
from dimstream_client.messages import Open, PlaneIndex, Result
from dimstream_client.micromanager.camera_frames import CameraFrame
from dimstream_client.micromanager.run_report import RunReport
from dimstream_client.session import FINAL_CODES
from dimstream_client.stream import Stream

_MOST_REPLACED: Final = 4096  # frames of mode latest of which something is known; windows hold 1,024


@dataclass(frozen=True)
class SentFrame:
    """Data of a sent frame, passed on with its result.

    Parameters
    ----------
    run : int
        Number of its run.
    stream : str
        The server's id of its stream.
    index : PlaneIndex
        Its index in the stream.
    event : mapping of str to int
        Index of its Micro-Manager event.
    t_acq : float
        Time of acquisition, seconds since 1970.
    mean_photons : float
        Mean of the raw frame, photons per pixel.
    settings : mapping of str to float
        Exposure and properties, by their names in rules.
    request : Open
        Request that opened its stream.
    """

    run: int
    stream: str
    index: PlaneIndex
    event: Mapping[str, int]
    t_acq: float
    mean_photons: float
    settings: Mapping[str, float]
    request: Open


class ResultNotKept(Exception):
    """A program could not store a result: no more are taken, so that it comes again after resuming."""


OnSentResult = Callable[[Result, SentFrame], object]


class SentStream:
    """A stream with its sent frames, and a thread that passes each result with its frame to `deliver`."""

    def __init__(
        self, stream: Stream, report: RunReport, deliver: Callable[[Result, SentFrame], None]
    ) -> None:
        self.stream = stream
        self.is_over = threading.Event()
        self._report, self._deliver = report, deliver
        self._sent: dict[int, SentFrame] = {}
        self._sent_lock = threading.Lock()
        self._most_sent = _MOST_REPLACED if stream.request.mode == "latest" else math.inf
        offset, gain = stream.request.offset, stream.request.gain
        self._offset = 0.0 if offset is None else offset
        self._gain = 1.0 if gain is None else gain
        threading.Thread(target=self._run, name="dimstream-results", daemon=True).start()

    def send(self, frame: CameraFrame, index: PlaneIndex, *, timeout_s: float) -> None:
        """Send a frame.

        Raises
        ------
        As `Stream.send`.
        """
        mean = float(frame.pixels.mean(dtype=float))
        seq = self.stream.next_seq
        sent = SentFrame(
            run=self._report.number,
            stream=self.stream.id,
            index=index,
            event=dict(frame.key),
            t_acq=frame.t_acq,
            mean_photons=(mean - self._offset) / self._gain,
            settings=frame.settings,
            request=self.stream.request,
        )
        with self._sent_lock:
            self._sent[seq] = sent
            while len(self._sent) > self._most_sent:  # replaced by newer ones: they get no result
                del self._sent[next(iter(self._sent))]
        try:
            self.stream.send(
                frame.pixels,
                index=index,
                t_acq=frame.t_acq,
                meta=frame.meta,
                timeout_s=timeout_s,
                copy=False,
            )
        except BaseException:
            self._forget(seq)
            raise

    def finish(self) -> None:
        """State that no more frames will come; results still come."""
        try:
            self.stream.finish()
        except DimstreamError as error:
            self._report.note(f"stream {self.stream.id} could not be finished: {error}")

    def _run(self) -> None:
        try:
            while self._take():
                pass
        except Exception as error:  # otherwise it would not be reported
            self._report.note(f"stream {self.stream.id} is over: {error}")
        finally:
            self.is_over.set()

    def _take(self) -> bool:
        """Take one result; return False if no more come."""
        result: Any = None
        try:
            result = self.stream.take()
        except (StreamError, FrameError) as error:
            if error.code in FINAL_CODES or error.seq is None:
                raise
            self._forget(error.seq)
            self._report.add(refused=1)
            self._report.note(f"frame {error.seq} was refused: {error}")
            return True
        if result is None:
            return False
        sent = self._sent_of(result.seq)
        if sent is None:
            self._report.note(f"a result came for frame {result.seq}, which was not sent")
        else:
            self._deliver(result, sent)
        return True

    def _forget(self, seq: int) -> None:
        with self._sent_lock:
            self._sent.pop(seq, None)

    def _sent_of(self, seq: int) -> SentFrame | None:
        """Return the frame with this number. Results are in order, so earlier frames get none and are
        dropped."""
        with self._sent_lock:
            while self._sent and next(iter(self._sent)) < seq:
                del self._sent[next(iter(self._sent))]
            return self._sent.pop(seq, None)
