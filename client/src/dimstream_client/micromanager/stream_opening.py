"""Open the stream of a run; try again while the server is lost or full."""

from __future__ import annotations

import threading
from dataclasses import asdict
from pathlib import Path
from typing import Final

from dimstream_client.client import Client
from dimstream_client.errors import ConnectionLost, DimstreamError, StreamError, Timeout
from dimstream_client.micromanager.camera_frames import CameraFrame
from dimstream_client.micromanager.cores import Core
from dimstream_client.micromanager.photon_scale import PhotonScale
from dimstream_client.micromanager.plans import Plan, StreamSettings
from dimstream_client.micromanager.run_report import RunReport
from dimstream_client.stream import Stream

_RETRY_S: Final = 0.5


class StreamOpener:
    """Opens streams with the same settings.

    Parameters
    ----------
    spool : Path, optional
        Folder with one subfolder for each stream.
    gives_up : Event
        When set, no more attempts are made.
    """

    def __init__(
        self,
        core: Core,
        client: Client,
        *,
        settings: StreamSettings,
        scale: PhotonScale,
        spool: Path | None,
        gives_up: threading.Event,
    ) -> None:
        self._core, self._client = core, client
        self._settings, self._scale, self._spool = settings, scale, spool
        self._gives_up = gives_up

    def open(self, frame: CameraFrame, plan: Plan, report: RunReport) -> Stream | None:
        """Return a stream for frames like this one; None if it is refused or waiting was ended."""
        told: set[str] = set()
        while not self._gives_up.is_set():
            try:
                return self._open(frame, plan)
            except DimstreamError as error:
                if error.code not in told:
                    report.note(f"no stream could be opened: {error}")
                    told.add(error.code)
                if not _is_passing(error):
                    return None
            self._gives_up.wait(_RETRY_S)
        return None

    def _open(self, frame: CameraFrame, plan: Plan) -> Stream:
        offset, gain = self._scale.read(self._core)
        return self._client.open(
            frame.pixels.shape,
            frame.pixels.dtype,
            spool=None if self._spool is None else free_folder(self._spool),
            mode="latest" if plan.is_live else "lossless",
            axes=plan.axes,
            channels=plan.channels,
            frame_interval_s=plan.frame_interval_s,
            pixel_size_um=frame.pixel_size_um,
            offset=offset,
            gain=gain,
            **asdict(self._settings),
        )


def _is_passing(error: DimstreamError) -> bool:
    """Return whether an error can be temporary: the server is lost, is full, or does not know the key yet."""
    if isinstance(error, (Timeout, ConnectionLost)):
        return True
    return isinstance(error, StreamError) and error.problem.retryable


def free_folder(spool: Path) -> Path:
    """Return an unused folder for another stream."""
    number = 1
    while (folder := spool / f"run-{number:04d}").exists():
        number += 1
    return folder
