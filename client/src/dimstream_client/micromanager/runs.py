"""One run: its plan, its streams and its report. Used only by the sending thread."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Final

from dimstream_client.errors import ConnectionLost, DimstreamError, SpoolError, Timeout
from dimstream_client.messages import Result
from dimstream_client.micromanager.camera_frames import CameraFrame, PlaneNumbers, is_grey
from dimstream_client.micromanager.expected_events import EventKey, ExpectedEvents, planned_keys
from dimstream_client.micromanager.plans import Plan
from dimstream_client.micromanager.run_report import RunReport
from dimstream_client.micromanager.sent_stream import SentFrame, SentStream
from dimstream_client.micromanager.stream_opening import StreamOpener
from dimstream_client.session import FINAL_CODES

_PATIENCE_S: Final = 0.2  # seconds of one attempt to send, before a check whether to stop
_RETRY_S: Final = 0.5  # before a full disk is tried again
_log = logging.getLogger("dimstream")


class Run:
    """Sends the frames of one run, and reports the gaps between them.

    Parameters
    ----------
    opener : StreamOpener
        Opens the streams.
    deliver : callable
        Called with each result and its frame, on the thread of its stream.
    gives_up : Event
        When set, sending no longer waits.
    """

    def __init__(
        self,
        number: int,
        plan: Plan,
        *,
        opener: StreamOpener,
        deliver: Callable[[Run, Result, SentFrame], None],
        gives_up: threading.Event,
    ) -> None:
        self.plan, self.report = plan, RunReport(number)
        self.streams: list[SentStream] = []
        keys = None if plan.events is None else planned_keys(plan.events, cameras=plan.cameras)
        self._expected = ExpectedEvents(keys)
        self._numbers = PlaneNumbers(plan.cameras)
        self._opener, self._deliver, self._gives_up = opener, deliver, gives_up
        self._sent: SentStream | None = None
        self._kind: tuple[object, ...] = ()
        self._holes: list[tuple[int, str]] = []
        self._is_refused = False

    def frame(self, frame: CameraFrame) -> None:
        """Send a frame; wait without limit."""
        self.report.add(seen=1)
        self._find_gap(frame.key)
        if not is_grey(frame.pixels):
            self._refuse(
                f"expected frames (H, W) of uint8, uint16 or float32, got {frame.pixels.shape} of "
                f"{frame.pixels.dtype}; set the camera to grey values"
            )
            return
        for _ in range(2):  # the second time if the stream had ended
            sent = self._stream_for(frame)
            if sent is None:
                break
            if self._send(sent, frame):
                return
        self.report.add(refused=1)

    def no_room(self, key: EventKey) -> None:
        """Record a frame that was not kept."""
        self._find_gap(key)
        self.report.add(seen=1, no_room=1)
        self._holes.append((1, "no room: frames came faster than they could be kept"))

    def end(self, how: str) -> None:
        """Finish its stream, and report missing frames."""
        left = self._expected.left()
        if how == "finished" and left:
            self.report.add(missing=left)
            self.report.note(f"{left} frames of the plan never came")
        elif left:
            self.report.add(not_taken=left)
        self.report.unexpected, self.report.late = self._expected.unexpected, self._expected.late
        if self._sent is not None:
            self._sent.finish()
            self._sent = None
        self.report.end = how
        _log.info("%s", self.report)

    def _find_gap(self, key: EventKey) -> None:
        if self.plan.is_live:
            return
        if missing := self._expected.missing_before(key):
            why = f"{missing} frames never came before {', '.join(f'{axis}={n}' for axis, n in key)}"
            self.report.add(missing=missing)
            self.report.note(why)
            self._holes.append((missing, why))

    def _refuse(self, why: str) -> None:
        self.report.add(refused=1)
        if why not in self.report.problems:
            self.report.note(why)
        self._holes.append((1, why))

    def _stream_for(self, frame: CameraFrame) -> SentStream | None:
        """Return the stream for frames of this kind; None if none can be opened."""
        kind = (frame.pixels.shape, frame.pixels.dtype.name, frame.pixel_size_um)
        if self._sent is not None and (self._kind != kind or self._sent.is_over.is_set()):
            what = f"frames changed from {self._kind} to {kind}" if self._kind != kind else "the stream ended"
            self.report.note(f"{what}; the next frames have a stream of their own")
            self._sent.finish()
            self._sent = None
        if self._sent is None and not self._is_refused:
            stream = self._opener.open(frame, self.plan, self.report)
            if stream is None:
                self._is_refused = True
                return None
            self.report.streams.append(stream.id)
            self._sent = SentStream(stream, self.report, self._take)
            self._kind = kind
            self.streams.append(self._sent)
        return self._sent

    def _send(self, sent: SentStream, frame: CameraFrame) -> bool:
        """Report missing frames, and send a frame. Return False if the stream has ended, or waiting was
        ended."""
        index = self._numbers.index_of(frame.key)
        is_told = False
        while not self._gives_up.is_set():
            try:
                while self._holes:
                    frames, reason = self._holes[0]
                    sent.stream.skip(frames, reason=reason[:200])
                    del self._holes[0]
                sent.send(frame, index, timeout_s=_PATIENCE_S)
            except Timeout:
                continue
            except SpoolError as error:  # no room on the disk: frames wait in memory meanwhile
                if not is_told:
                    self.report.note(str(error))
                is_told = True
                self._gives_up.wait(_RETRY_S)
            except DimstreamError as error:
                if isinstance(error, ConnectionLost) or error.code in FINAL_CODES:
                    self.report.note(f"the stream is over: {error}")
                    sent.is_over.set()
                    return False
                self._refuse(str(error))
                return True
            else:
                self.report.add(sent=1)
                return True
        return False

    def _take(self, result: Result, sent: SentFrame) -> None:
        self.report.count(result)
        self._deliver(self, result, sent)
