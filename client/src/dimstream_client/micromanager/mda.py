"""The frames of multi-dimensional acquisitions: as an ``output=`` handler, or on the acquisition's events."""

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
    """Sends every frame of the acquisitions of a core, and waits for nothing.

    Either connect it once (`connect`), which sees every frame also when another output fails; or give it to
    ``core.run_mda(..., output=...)``. Not both. Keep a reference: pymmcore-plus keeps none.

    Parameters
    ----------
    core : pymmcore_plus.CMMCorePlus
        The one that acquires.
    client : Client
        The connection to the server.
    settings : StreamSettings, optional
        Of the streams.
    scale : PhotonScale, optional
        How the camera's values become photons.
    spool : path, optional
        Folder in which frames are kept until their results were taken; without it, in memory alone.
    on_result : callable, optional
        Called with each `Result` and its `SentFrame`, on a thread of the stream.
    feedback : FeedbackLoop, optional
        Gets each result.
    max_bytes : int
        Frames that wait in memory take at most so much; those that find no room are counted and become holes.
    quiet_s : float
        A run whose end nobody told is over when its runner is, and nothing has come for so long.

    Examples
    --------
    ::

        with Client("tcp://127.0.0.1:5570") as client, MdaStream(core, client, spool="D:/spool") as stream:
            stream.connect()
            core.run_mda(sequence, block=True)
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

    # --- what pymmcore-plus calls; nothing here waits or raises

    def sequenceStarted(self, sequence: Any, meta: Mapping[str, Any]) -> None:
        """Take note that a run begins."""
        try:
            fed, self._fed = self._fed, None
            self._clock = None
            is_fed = fed is not None and not sequence.axis_order  # stands for a feed's events
            self._sender.begin_run(plan_of(fed if is_fed else sequence, meta))
        except Exception as error:
            _log.error("the start of a run was not understood", exc_info=error)

    def frameReady(self, image: npt.NDArray[np.generic], event: Any, meta: Mapping[str, Any]) -> None:
        """Take a frame, (H, W) counts."""
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
        """Take note that the run was ended early."""
        self._end("canceled")

    def sequenceFinished(self, sequence: Any) -> None:
        """Take note that the run is over."""
        self._end("finished")

    def _end(self, how: str) -> None:
        try:
            reason = str(getattr(self._core.mda.status, "finish_reason", None) or "")
            self._sender.end_run(reason if how == "finished" and reason == "errored" else how)
        except Exception as error:
            _log.error("the end of a run was not understood", exc_info=error)

    def _watched_settings(self) -> dict[str, float]:
        """What rules may change, as it was last set."""
        found: dict[str, float] = {}
        for name in self._watched:
            try:
                found[name] = float(self._core.getPropertyFromCache(*device_and_property(name)))
            except (RuntimeError, ValueError):
                continue  # the rule says that it is not known
        return found

    def _time_of(self, meta: Mapping[str, Any]) -> float:
        """When a frame was taken: the runner's clock, put on the computer's once a run."""
        runner_ms = meta.get("runner_time_ms")
        if runner_ms is None or runner_ms < 0:
            return time.time()
        if self._clock is None:
            self._clock = time.time() - float(self._core.mda.seconds_elapsed())
        return self._clock + float(runner_ms) / 1e3

    # --- the program

    def connect(self) -> None:
        """Take the frames of every run from now on, from the core's own signals."""
        if not self._is_connected:
            for name in _SIGNALS:
                getattr(self._core.mda.events, name).connect(getattr(self, name))
            self._is_connected = True

    def disconnect(self) -> None:
        """Take no more frames from the core's signals."""
        if self._is_connected:
            for name in _SIGNALS:
                getattr(self._core.mda.events, name).disconnect(getattr(self, name))
            self._is_connected = False

    def feed(self, events: Iterable[Any] | Queue[Any], *, lead_s: Number = 0.05) -> EventFeed:
        """Return an iterator over the events of the next run, which feedback may change until they start.

        Give it to ``core.run_mda``. A list or MDASequence would be merged by hardware sequencing.

        Parameters
        ----------
        events : MDASequence, iterable of MDAEvent, or Queue of them
            The plan; or a queue that gets events while the run goes on, and None at its end.
        lead_s : float
            So long before its time each event is handed to the runner.
        """
        self._fed = events if hasattr(events, "used_axes") else None
        return EventFeed(self._core, events, lead_s=arguments.seconds("lead_s", lead_s))

    @property
    def reports(self) -> list[RunReport]:
        """What became of the frames of the last runs, also of the one that goes on."""
        return self._sender.reports

    def wait(self, *, timeout_s: Number | None = None) -> None:
        """Wait until every frame that came was sent, and each run that is over has its results.

        Raises
        ------
        Timeout
        """
        self._sender.wait(self._patience(timeout_s))

    def close(self, *, timeout_s: Number | None = None) -> list[RunReport]:
        """Take no more frames, wait for the results of those that came, and return the reports.

        Raises
        ------
        Timeout
            Results are still to come. Frames in the spool stay there, see `resume_spools`.
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
