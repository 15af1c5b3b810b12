"""The frames of Live mode, which has no events: the newest image is read repeatedly."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any

import numpy as np

from dimstream_client import arguments
from dimstream_client.arguments import Number
from dimstream_client.client import Client
from dimstream_client.micromanager.camera_frames import CameraFrame
from dimstream_client.micromanager.cores import Core
from dimstream_client.micromanager.frame_sender import MEMORY_BYTES, FrameSender
from dimstream_client.micromanager.photon_scale import PhotonScale
from dimstream_client.micromanager.plans import Plan, StreamSettings
from dimstream_client.micromanager.run_report import RunReport
from dimstream_client.micromanager.sent_stream import OnSentResult

_NUMBER = "ImageNumber"
_log = logging.getLogger("dimstream")


class LiveStream:
    """Sends the newest image of the camera in Live mode; images between two reads are skipped.

    After `connect`, each period of Live mode is a stream of its own.

    Parameters
    ----------
    core, client, settings, scale, on_result
        As for `MdaStream`.
    poll_s : float
        Seconds between reads of the newest image.
    """

    def __init__(
        self,
        core: Core,
        client: Client,
        *,
        settings: StreamSettings | None = None,
        scale: PhotonScale | None = None,
        on_result: OnSentResult | None = None,
        poll_s: Number = 0.02,
        max_bytes: int = MEMORY_BYTES,
    ) -> None:
        self._core, self._timeout_s = core, client.timeout_s
        self._poll_s = arguments.seconds("poll_s", poll_s)
        self._sender = FrameSender(  # without a spool: shown images are not resumed
            core, client, settings=settings, scale=scale, on_result=on_result, max_bytes=max_bytes
        )
        self._stops: threading.Event | None = None
        self._thread: threading.Thread | None = None
        self._is_connected = False

    def connect(self) -> None:
        """Follow Live mode from now on, also if it is already on."""
        if self._is_connected:
            return
        self._core.events.continuousSequenceAcquisitionStarted.connect(self._started)
        self._core.events.sequenceAcquisitionStopped.connect(self._stopped)
        self._is_connected = True
        if self._core.isSequenceRunning() and not self._core.mda.is_running():
            self._started()

    def disconnect(self) -> None:
        """Stop following Live mode."""
        if self._is_connected:
            self._core.events.continuousSequenceAcquisitionStarted.disconnect(self._started)
            self._core.events.sequenceAcquisitionStopped.disconnect(self._stopped)
            self._is_connected = False
        self._stopped()

    @property
    def reports(self) -> list[RunReport]:
        """Reports on the frames, one for each period of Live mode."""
        return self._sender.reports

    def close(self, *, timeout_s: Number | None = None) -> list[RunReport]:
        """Stop following Live mode, wait for the results, and return the reports.

        Raises
        ------
        Timeout
        """
        self.disconnect()
        if self._thread is not None:
            self._thread.join(10.0)
        return self._sender.close(
            self._timeout_s if timeout_s is None else arguments.seconds("timeout_s", timeout_s)
        )

    def __enter__(self) -> LiveStream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(timeout_s=None if kind is None else 0)

    # --- called by pymmcore-plus; nothing here waits or raises

    def _started(self) -> None:
        self._stopped()
        self._stops = threading.Event()
        self._thread = threading.Thread(
            target=self._follow, args=(self._stops, self._thread), name="dimstream-live", daemon=True
        )
        self._thread.start()

    def _stopped(self, *_: object) -> None:
        if self._stops is not None:
            self._stops.set()
            self._stops = None

    # --- the thread that looks

    def _follow(self, stops: threading.Event, before: threading.Thread | None) -> None:
        if before is not None:
            before.join()
        self._sender.begin_run(Plan(is_live=True))
        last: int | None = None
        told: set[str] = set()
        while not stops.wait(self._poll_s):
            try:
                if not self._core.isSequenceRunning():
                    break
                last = self._look(last)
            except Exception as error:  # no image yet, or a temporary failure of the camera
                if repr(error) not in told:
                    told.add(repr(error))
                    _log.info("no image in Live mode: %r", error)
        self._sender.end_run("finished")

    def _look(self, last: int | None) -> int | None:
        """Send the newest image unless it was already sent; return its number."""
        image, tags = self._core.getLastImageAndMD()
        number = int(tags[_NUMBER]) if _NUMBER in tags else None
        if number is not None and number == last:
            return last
        t = number if number is not None else (0 if last is None else last + 1)
        exposure_ms = float(self._core.getExposure())
        size_um = float(self._core.getPixelSizeUm(True))
        meta: Mapping[str, Any] = {"event": {"t": t}, "exposure_ms": exposure_ms, "live": True}
        frame = CameraFrame(
            pixels=np.array(image, order="C"),
            key=(("t", t),),
            t_acq=time.time(),
            pixel_size_um=size_um if size_um > 0 else None,
            meta={**meta, "camera": self._core.getCameraDevice()},
            settings={"exposure_ms": exposure_ms},
        )
        if last is not None and t > last + 1:
            self._sender.passed_over(t - last - 1)
        self._sender.offer(frame)
        return t
