"""One stream of a run, and the thread that takes its results."""

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
    """What is known of a frame that was sent, for whoever gets its result.

    Parameters
    ----------
    run : int
        Number of its run.
    stream : str
        The server's name of its stream.
    index : PlaneIndex
        Its place in the stream.
    event : mapping of str to int
        Index of its event, as Micro-Manager has it.
    t_acq : float
        Seconds since 1970.
    mean_photons : float
        Photons per pixel.
    settings : mapping of str to float
        Exposure and properties, as rules name them.
    request : Open
        With which its stream was opened.
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
    """A program could not keep a result: no more are taken, so that it comes again after resuming."""


OnSentResult = Callable[[Result, SentFrame], object]


class SentStream:
    """A stream, what was sent into it, and a thread that gives each result to `deliver` with its frame."""

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
        """Say that no frame comes any more; results still come."""
        try:
            self.stream.finish()
        except DimstreamError as error:
            self._report.note(f"stream {self.stream.id} could not be finished: {error}")

    def _run(self) -> None:
        try:
            while self._take():
                pass
        except Exception as error:  # nobody else would hear of it
            self._report.note(f"stream {self.stream.id} is over: {error}")
        finally:
            self.is_over.set()

    def _take(self) -> bool:
        """Take one result; False when no more come."""
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
        """Return what was sent under this number. Results are in order: what is before it gets none."""
        with self._sent_lock:
            while self._sent and next(iter(self._sent)) < seq:
                del self._sent[next(iter(self._sent))]
            return self._sent.pop(seq, None)
