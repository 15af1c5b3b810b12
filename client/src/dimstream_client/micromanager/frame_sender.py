"""Send the frames of Micro-Manager's runs on a separate thread, so that the acquisition never waits.

Each run becomes a stream; a new one begins if the size of its frames or pixels changes. While the server is
lost, frames wait in the spool, or without one in memory up to a limit. Frames beyond the limit are counted,
and become a gap with a reason.
"""

from __future__ import annotations

import atexit
import logging
import threading
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Union

from dimstream_client import arguments
from dimstream_client.arguments import Number
from dimstream_client.client import Client
from dimstream_client.errors import Timeout
from dimstream_client.feedback.loop import FeedbackLoop
from dimstream_client.feedback.observations import observation_of
from dimstream_client.keys import FilePath
from dimstream_client.messages import Result
from dimstream_client.micromanager.camera_frames import CameraFrame
from dimstream_client.micromanager.cores import Core
from dimstream_client.micromanager.expected_events import EventKey
from dimstream_client.micromanager.intake import Intake
from dimstream_client.micromanager.photon_scale import PhotonScale
from dimstream_client.micromanager.plans import Plan, StreamSettings
from dimstream_client.micromanager.run_report import RunReport
from dimstream_client.micromanager.runs import Run
from dimstream_client.micromanager.sent_stream import OnSentResult, ResultNotKept, SentFrame, SentStream
from dimstream_client.micromanager.stream_opening import StreamOpener

MEMORY_BYTES: Final = 2**29
QUIET_S: Final = 10.0
_PATIENCE_S: Final = 0.2  # seconds between checks whether the run has ended
_AT_EXIT_S: Final = 10.0
_MOST_RUNS: Final = 1000
_log = logging.getLogger("dimstream")


@dataclass(frozen=True)
class _NoRoom:
    key: EventKey


@dataclass(frozen=True)
class _PassedOver:
    frames: int


@dataclass(frozen=True)
class _RunEnded:
    how: str


class _Stop:
    pass


_Item = Union[Plan, CameraFrame, _NoRoom, _PassedOver, _RunEnded, _Stop]


class FrameSender:
    """The queue, and the thread that empties it.

    Parameters
    ----------
    spool : path, optional
        Folder with one subfolder for each stream, see `Client.open`.
    on_result : callable, optional
        Called with each result and the data of its frame, on a thread of the stream.
    feedback : FeedbackLoop, optional
        Gets each result.
    max_bytes : int
        Limit for frames that wait in memory.
    quiet_s : float
        A run without an end signal has ended if its runner has, and no frame came for this number of seconds.
    """

    def __init__(
        self,
        core: Core,
        client: Client,
        *,
        settings: StreamSettings | None = None,
        scale: PhotonScale | None = None,
        spool: FilePath | None = None,
        on_result: OnSentResult | None = None,
        feedback: FeedbackLoop | None = None,
        max_bytes: int = MEMORY_BYTES,
        quiet_s: Number = QUIET_S,
    ) -> None:
        self._core, self._quiet_s = core, arguments.seconds("quiet_s", quiet_s)
        self._spool = None if spool is None else Path(arguments.folder("spool", spool))
        self._on_result = arguments.callback("on_result", on_result)
        self._feedback, self._feedback_lock = feedback, threading.Lock()
        self._intake: Intake[_Item] = Intake(arguments.integer("max_bytes", max_bytes, least=1))
        self._gives_up = threading.Event()
        self._opener = StreamOpener(
            core,
            client,
            settings=settings or StreamSettings(),
            scale=scale or PhotonScale(),
            spool=self._spool,
            gives_up=self._gives_up,
        )
        self._run: Run | None = None
        self._runs: deque[Run] = deque(maxlen=_MOST_RUNS)
        self._begun = 0
        self._is_closed = False
        self._last_item = time.monotonic()
        self._thread = threading.Thread(target=self._work, name="dimstream-sender", daemon=True)
        self._thread.start()
        atexit.register(self._at_exit)

    # --- called on the acquisition's threads; nothing here waits

    def begin_run(self, plan: Plan) -> None:
        """Record the start of a run."""
        self._intake.put(plan)

    def has_room(self, nbytes: int) -> bool:
        """Whether a frame of `nbytes` bytes fits into memory."""
        return self._intake.has_room(nbytes)

    def offer(self, frame: CameraFrame) -> None:
        """Accept a frame; its pixels must not be changed afterwards."""
        if not self._intake.put(frame, frame.pixels.nbytes):
            self.lose(frame.key)

    def lose(self, key: EventKey) -> None:
        """Record a frame for which there was no room."""
        self._intake.put(_NoRoom(key))

    def passed_over(self, frames: int) -> None:
        """Record images that were skipped in Live mode."""
        self._intake.put(_PassedOver(frames))

    def end_run(self, how: str) -> None:
        """Record the end of a run."""
        self._intake.put(_RunEnded(how))

    # --- the program

    @property
    def reports(self) -> list[RunReport]:
        """Reports of the last runs, including the current one."""
        return [run.report for run in list(self._runs)]

    def wait(self, timeout_s: float) -> None:
        """Wait until all frames were sent, and all finished streams have their results.

        Raises
        ------
        Timeout
        """
        deadline = time.monotonic() + timeout_s
        unsent = self._intake.wait_until_settled(timeout_s)
        finished = [one for run in list(self._runs) if run is not self._run for one in run.streams]
        late = [one for one in finished if not one.is_over.wait(max(deadline - time.monotonic(), 0.0))]
        if unsent or late:
            frames = sum(one.stream.backlog for one in late)
            where = "in memory only" if self._spool is None else f"in {self._spool}"
            raise Timeout(f"{unsent} frames were not sent, and {frames} have no result; these are {where}")

    def close(self, timeout_s: float) -> list[RunReport]:
        """End the current run, wait for all results, and return the reports.

        Raises
        ------
        Timeout
            When results are still missing. Frames in the spool stay there.
        """
        if not self._is_closed:
            self._is_closed = True
            self.end_run("closed")
            self._intake.put(_Stop())
        try:
            self.wait(timeout_s)
        finally:
            self._gives_up.set()
            self._thread.join(10 * _PATIENCE_S)
            atexit.unregister(self._at_exit)
        return self.reports

    def _at_exit(self) -> None:
        """At exit without `close`: write frames from memory to the spool, and log a warning."""
        unsent = self._intake.wait_until_settled(0.0 if self._spool is None else _AT_EXIT_S)
        unanswered = sum(one.stream.backlog for one in self._streams())
        if unsent or (unanswered and self._spool is None):
            n = unsent + (unanswered if self._spool is None else 0)
            _log.error("the program ends without having closed: %d frames are lost", n)
        if unanswered and self._spool is not None:
            _log.warning(
                "the program ends without having closed: %d frames without a result are in %s; resume them",
                unanswered,
                self._spool,
            )

    def _streams(self) -> list[SentStream]:
        return [one for run in list(self._runs) for one in run.streams if not one.is_over.is_set()]

    # --- the sender's thread

    def _work(self) -> None:
        while not self._gives_up.is_set():
            item = self._intake.take(_PATIENCE_S)
            if isinstance(item, _Stop):
                self._intake.settle()
                return
            try:
                self._handle(item)
            except Exception as error:  # affects one frame: the others continue
                _log.error("a frame was not sent", exc_info=error)
                if self._run is not None:
                    self._run.report.note(f"{type(error).__name__}: {error}")
            finally:
                if item is not None:
                    self._last_item = time.monotonic()
                    self._intake.settle()

    def _handle(self, item: _Item | None) -> None:
        if isinstance(item, Plan):
            self._end("the next run began")
            self._begin(item)
        elif isinstance(item, CameraFrame):
            self._run_for_frames().frame(item)
        elif isinstance(item, _NoRoom):
            self._run_for_frames().no_room(item.key)
        elif isinstance(item, _PassedOver):
            self._run_for_frames().report.add(passed_over=item.frames)
        elif isinstance(item, _RunEnded):
            self._end(item.how)
        else:
            self._look_for_the_end()

    def _begin(self, plan: Plan) -> Run:
        self._begun += 1
        run = Run(self._begun, plan, opener=self._opener, deliver=self._deliver, gives_up=self._gives_up)
        self._run = run
        self._runs.append(run)
        if self._feedback is not None:
            with self._feedback_lock:
                self._feedback.begin_run()
        return run

    def _run_for_frames(self) -> Run:
        if self._run is None:
            run = self._begin(Plan())
            run.report.note("frames came outside of a run; they have a stream of their own")
            return run
        return self._run

    def _end(self, how: str) -> None:
        run, self._run = self._run, None
        if run is not None:
            run.end(how)

    def _look_for_the_end(self) -> None:
        """Find the end of a run without a signal: signals are lost when another listener fails."""
        if self._run is None or self._run.plan.is_live:
            return
        if time.monotonic() - self._last_item < self._quiet_s:
            return
        status = self._core.mda.status
        if str(status.phase) in ("idle", "finishing"):
            reason = str(getattr(status, "finish_reason", None) or "over")
            self._run.report.note(f"no signal came for the end of the run; its runner is {status.phase}")
            self._end("finished" if reason == "completed" else reason)

    # --- the threads that take results

    def _deliver(self, run: Run, result: Result, sent: SentFrame) -> None:
        if self._feedback is not None:
            seen = observation_of(
                result,
                sent.index,
                t_acq=sent.t_acq,
                mean_photons=sent.mean_photons,
                settings=sent.settings,
            )
            with self._feedback_lock:
                if run.report.number == self._begun:
                    self._feedback.observe(seen)
        if self._on_result is not None:
            try:
                self._on_result(result, sent)
            except ResultNotKept:
                raise
            except Exception as error:  # a fault of the program: the other results continue
                run.report.add(not_delivered=1)
                run.report.note(f"on_result failed on frame {result.seq}: {error!r}")
