"""Send the frames of multi-dimensional acquisitions, as an ``output=`` handler or from their signals."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping
from queue import Queue
from types import TracebackType
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from dimstream_client import arguments
from dimstream_client.arguments import Number
from dimstream_client.client import Client
from dimstream_client.feedback.loop import FeedbackLoop
from dimstream_client.keys import FilePath
from dimstream_client.micromanager.camera_frames import CameraFrame, meta_of, pixel_size_of, settings_of
from dimstream_client.micromanager.cores import Core, device_and_property
from dimstream_client.micromanager.event_feed import EventFeed
from dimstream_client.micromanager.expected_events import key_of
from dimstream_client.micromanager.frame_sender import MEMORY_BYTES, QUIET_S, FrameSender
from dimstream_client.micromanager.photon_scale import PhotonScale
from dimstream_client.micromanager.plans import StreamSettings, plan_of
from dimstream_client.micromanager.run_report import RunReport
from dimstream_client.micromanager.sent_stream import OnSentResult

_SIGNALS: Final = ("sequenceStarted", "frameReady", "sequenceCanceled", "sequenceFinished")
_log = logging.getLogger("dimstream")


class MdaStream:
    """Sends every frame of the acquisitions of a core, without delaying them.

    Either call `connect` once, which receives all frames even if another output fails; or pass it to
    ``core.run_mda(..., output=...)``, but not both. Keep a reference, because pymmcore-plus keeps none.

    Parameters
    ----------
    core : pymmcore_plus.CMMCorePlus
        The core that acquires.
    client : Client
        The connection to the server.
    settings : StreamSettings, optional
        Settings of the streams.
    scale : PhotonScale, optional
        Conversion of the camera's values to photons.
    spool : path, optional
        Folder in which frames are kept until their results were taken; without it, only in memory.
    on_result : callable, optional
        Called with each `Result` and its `SentFrame`, on a thread of the stream.
    feedback : FeedbackLoop, optional
        Gets each result.
    max_bytes : int
        Limit for frames that wait in memory; frames beyond it are counted and become gaps.
    quiet_s : float
        A run without an end signal has ended if its runner has, and no frame came for this number of seconds.

    Examples
    --------
    ::

        with Client("tcp://127.0.0.1:5570") as client, MdaStream(core, client, spool="D:/spool") as stream:
            stream.connect() core.run_mda(sequence, block=True)
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
        self._core = core
        self._timeout_s = client.timeout_s
        self._sender = FrameSender(
            core,
            client,
            settings=settings,
            scale=scale,
            spool=spool,
            on_result=on_result,
            feedback=feedback,
            max_bytes=max_bytes,
            quiet_s=quiet_s,
        )
        self._clock: float | None = None  # seconds since 1970 at which the run began
        self._fed: Any = None
        self._watched = frozenset() if feedback is None else feedback.watched
        self._is_connected = False

    # --- called by pymmcore-plus; nothing here waits or raises

    def sequenceStarted(self, sequence: Any, meta: Mapping[str, Any]) -> None:
        """Record the start of a run."""
        try:
            fed, self._fed = self._fed, None
            self._clock = None
            is_fed = fed is not None and not sequence.axis_order  # stands for a feed's events
            self._sender.begin_run(plan_of(fed if is_fed else sequence, meta))
        except Exception as error:
            _log.error("the start of a run was not understood", exc_info=error)

    def frameReady(self, image: npt.NDArray[np.generic], event: Any, meta: Mapping[str, Any]) -> None:
        """Receive a frame, (H, W) counts."""
        try:
            key = key_of(event.index)
            if not self._sender.has_room(image.nbytes):
                self._sender.lose(key)
                return
            self._sender.offer(
                CameraFrame(
                    pixels=np.array(image, order="C"),
                    key=key,
                    t_acq=self._time_of(meta),
                    pixel_size_um=pixel_size_of(meta),
                    meta=meta_of(event, meta),
                    settings={**self._watched_settings(), **settings_of(event, meta)},
                )
            )
        except Exception as error:
            _log.error("a frame was not taken", exc_info=error)

    def sequenceCanceled(self, sequence: Any) -> None:
        """Record that the run was canceled."""
        self._end("canceled")

    def sequenceFinished(self, sequence: Any) -> None:
        """Record the end of the run."""
        self._end("finished")

    def _end(self, how: str) -> None:
        try:
            reason = str(getattr(self._core.mda.status, "finish_reason", None) or "")
            self._sender.end_run(reason if how == "finished" and reason == "errored" else how)
        except Exception as error:
            _log.error("the end of a run was not understood", exc_info=error)

    def _watched_settings(self) -> dict[str, float]:
        """Return the settings that rules may change, as last set."""
        found: dict[str, float] = {}
        for name in self._watched:
            try:
                found[name] = float(self._core.getPropertyFromCache(*device_and_property(name)))
            except (RuntimeError, ValueError):
                continue  # the rule reports that it is unknown
        return found

    def _time_of(self, meta: Mapping[str, Any]) -> float:
        """Return the time of a frame: the runner's clock, aligned with the computer's clock once per run."""
        runner_ms = meta.get("runner_time_ms")
        if runner_ms is None or runner_ms < 0:
            return time.time()
        if self._clock is None:
            self._clock = time.time() - float(self._core.mda.seconds_elapsed())
        return self._clock + float(runner_ms) / 1e3

    # --- the program

    def connect(self) -> None:
        """Receive the frames of every run from now on, from the core's signals."""
        if not self._is_connected:
            for name in _SIGNALS:
                getattr(self._core.mda.events, name).connect(getattr(self, name))
            self._is_connected = True

    def disconnect(self) -> None:
        """Stop receiving frames from the core's signals."""
        if self._is_connected:
            for name in _SIGNALS:
                getattr(self._core.mda.events, name).disconnect(getattr(self, name))
            self._is_connected = False

    def feed(self, events: Iterable[Any] | Queue[Any], *, lead_s: Number = 0.05) -> EventFeed:
        """Return an iterator over the events of the next run, which feedback can change until they start.

        Pass it to ``core.run_mda``. A list or MDASequence could be merged by hardware sequencing.

        Parameters
        ----------
        events : MDASequence, iterable of MDAEvent, or Queue of them
            The plan; or a queue that gets events during the run, and None at its end.
        lead_s : float
            Seconds before its time at which each event is passed to the runner.
        """
        self._fed = events if hasattr(events, "used_axes") else None
        return EventFeed(self._core, events, lead_s=arguments.seconds("lead_s", lead_s))

    @property
    def reports(self) -> list[RunReport]:
        """Reports on the frames of the last runs, including the current one."""
        return self._sender.reports

    def wait(self, *, timeout_s: Number | None = None) -> None:
        """Wait until all frames were sent, and all ended runs have their results.

        Raises
        ------
        Timeout
        """
        self._sender.wait(self._patience(timeout_s))

    def close(self, *, timeout_s: Number | None = None) -> list[RunReport]:
        """Stop receiving frames, wait for all results, and return the reports.

        Raises
        ------
        Timeout
            When results are still missing. Frames in the spool stay there, see `resume_spools`.
        """
        self.disconnect()
        return self._sender.close(self._patience(timeout_s))

    def _patience(self, timeout_s: Number | None) -> float:
        return self._timeout_s if timeout_s is None else arguments.seconds("timeout_s", timeout_s)

    def __enter__(self) -> MdaStream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(timeout_s=None if kind is None else 0)
