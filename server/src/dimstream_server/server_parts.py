"""What a server is made of, from its settings: engine, journal, recorder, and what is measured of them.

Each maker raises `CannotStart` with what an operator has to correct.
"""

import contextlib
import logging
import os
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from dimstream_client.errors import KeyFileError
from dimstream_client.keys import choose_curve_keys
from dimstream_models.bundle import Bundle, BundleError, read_bundle
from dimstream_server.engine.local_engine import LocalEngine
from dimstream_server.engine.protocol import Engine, EngineLimits
from dimstream_server.errors import RecordingRefused, StartError
from dimstream_server.memory_limit import memory_limit
from dimstream_server.monitoring.device_health import DeviceHealth
from dimstream_server.monitoring.device_metrics import DeviceMetrics
from dimstream_server.monitoring.disk_check import DiskCheck
from dimstream_server.monitoring.metrics import Metrics
from dimstream_server.monitoring.readiness import Readiness
from dimstream_server.monitoring.recording_metrics import RecordingMetrics
from dimstream_server.monitoring.server_info import InfoMetrics
from dimstream_server.pipeline.device_name import parse_device
from dimstream_server.ready_file import CannotStart
from dimstream_server.recording import Recorder
from dimstream_server.recording.retention import Retention
from dimstream_server.reloading import bundles_of
from dimstream_server.security.access import Access, read_access
from dimstream_server.settings import IN_MEMORY, Settings
from dimstream_server.settings_file import SettingsError
from dimstream_server.streams.journal import JournalError
from dimstream_server.streams.journal_thread import JournalThread
from dimstream_server.workers import WorkersEngine
from dimstream_server.workers.worker_list import named_workers

JOURNAL = "journal.sqlite"
_WORKERS_POLL_S = 0.02
_log = logging.getLogger(__name__)
NETWORK_SHARE = 0.6  # of the memory that this process may have, for the devices together
LEAST_FREE_BYTES = 100 * 2**20  # on the disk of the journal, which takes much less


def load_engine(settings: Settings) -> Engine:
    """The engine with every bundle verified and warm; a gateway's, once its workers are.

    Raises
    ------
    CannotStart
    """
    bundles = _read_bundles(settings)
    if settings.workers.are_named:
        return _gateway_engine(settings, bundles)
    try:
        return LocalEngine(
            bundles,
            devices=settings.server.device,
            threads=settings.server.threads,
            keep_warm_s=settings.server.keep_warm_s,
            limits=engine_limits(settings),
        )
    except (StartError, BundleError) as error:
        raise CannotStart(str(error)) from error


def _read_bundles(settings: Settings) -> list[Bundle]:
    bundles = []
    for path in bundles_of(settings):
        try:
            bundles.append(read_bundle(path))
        except BundleError as error:
            raise CannotStart(f"bundle {path}: {error}") from error
    return bundles


def _gateway_engine(settings: Settings, bundles: list[Bundle]) -> WorkersEngine:
    """The engine of a gateway. Without its workers it starts all the same, and is not ready."""
    engine = make_workers_engine(settings, bundles)
    wait_for_workers(engine, settings)
    return engine


def make_workers_engine(settings: Settings, bundles: list[Bundle] | None = None) -> WorkersEngine:
    """An engine with the workers that settings name.

    Raises
    ------
    CannotStart
    """
    table = settings.workers
    try:
        return WorkersEngine(
            _read_bundles(settings) if bundles is None else bundles,
            named_workers(settings),
            limits=engine_limits(settings),
            keys=choose_curve_keys(server_key=table.server_key, key=table.key),
            silence_s=table.silence_s,
        )
    except (StartError, SettingsError) as error:
        raise CannotStart(str(error)) from error
    except KeyFileError as error:
        raise CannotStart(error.detail) from error


def wait_for_workers(engine: WorkersEngine, settings: Settings) -> None:
    """Wait until each model has a worker, for as long as settings want."""
    until = time.monotonic() + settings.workers.wait_s
    while (shortage := engine.shortage()) is not None and time.monotonic() < until:
        time.sleep(_WORKERS_POLL_S)
    if shortage is not None:
        _log.warning("starting without all workers event=workers_missing reason=%r", shortage)


def workers_again(engine: Engine) -> Callable[[Settings], None] | None:
    """What has a gateway use the workers of other settings; None for a server that is none."""
    if not isinstance(engine, WorkersEngine):
        return None

    def use(settings: Settings) -> None:
        engine.set_workers(named_workers(settings))
        if engine.cluster is not None:
            engine.cluster.resize(settings.workers.ray_workers)

    return use


def engine_limits(settings: Settings) -> EngineLimits:
    """Bounds of the engine: whatever the endpoints have promised fits."""
    limits, http = settings.limits, settings.http
    return EngineLimits(
        # An HTTP request's stream may still be closing while the next request opens its own.
        streams=limits.max_streams + 2 * http.max_requests,
        queued_per_stream=max(settings.zmq.max_window, http.window),
        queued=limits.max_credit + 2 * http.max_requests * http.window,
        plane_bytes=limits.max_plane_bytes,
        network_bytes=limits.max_network_bytes or _network_bytes(settings.server.device),
    )


def _network_bytes(devices: Sequence[str]) -> int | None:
    """What a frame may take where the settings do not say it; None where that is a card's memory."""
    limit = memory_limit()
    if limit is None or not all(parse_device(one).cuda is None for one in devices):
        return None
    return int(NETWORK_SHARE * limit / len(devices))


def access_of(settings: Settings) -> Access:
    """Who is admitted, from the files of keys and tokens that the settings name."""
    try:
        return read_access(settings)
    except KeyFileError as error:
        raise CannotStart(error.detail) from error


def open_journal(settings: Settings) -> JournalThread:
    """The journal; it is made where there is none."""
    path = journal_path(settings)
    try:
        return JournalThread(path)
    except JournalError as error:
        raise CannotStart(f"{error}; name another folder by server.state (--state)") from error


def journal_path(settings: Settings) -> Path | None:
    """Where the journal is; None when there is none: it was asked for, or the port is picked again each time.

    By default it is in the user's folder for such things, one for each endpoint.
    """
    state, endpoint = settings.server.state, settings.zmq.endpoint
    if state is not None:
        return None if state == IN_MEMORY else Path(state) / JOURNAL
    if endpoint.endswith(":0"):
        return None
    home = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(home) / "dimstream" / re.sub(r"\W+", "-", endpoint) / JOURNAL


def make_recorder(settings: Settings) -> Recorder | None:
    """The recorder; None where the settings name no folder for recordings."""
    table = settings.recording
    if table.folder is None:
        return None
    try:
        return Recorder(
            table.folder,
            most_queued_bytes=settings.limits.max_credit_bytes,
            reserve_bytes=table.reserve_bytes,
            warn_bytes=table.warn_bytes,
            fsync=table.fsync,
        )
    except RecordingRefused as error:
        raise CannotStart(str(error)) from error


def add_metrics(
    stack: contextlib.ExitStack,
    settings: Settings,
    metrics: Metrics,
    engine: Engine,
    recorder: Recorder | None,
) -> None:
    """Have `/metrics` show the engine, its queue, and the recordings, whose age is watched until the end."""
    metrics.add(InfoMetrics(engine))
    metrics.add(DeviceMetrics(engine))
    metrics.watch("dimstream_queue_frames", "Frames accepted, not yet answered.", engine.queue_length)
    if recorder is not None:
        metrics.watch(
            "dimstream_recording_queue_bytes", "Frames that wait to be written.", recorder.queued_bytes
        )
        stack.callback(_watch_recordings(recorder.folder, settings, metrics).stop)


def _watch_recordings(folder: Path, settings: Settings, metrics: Metrics) -> Retention:
    retention = Retention(folder, keep_days=settings.recording.keep_days)
    metrics.add(RecordingMetrics(retention))
    retention.start()
    return retention


def make_readiness(
    stack: contextlib.ExitStack,
    engine: Engine,
    journal: JournalThread,
    recorder: Recorder | None,
    metrics: Metrics,
) -> Readiness:
    """What /readyz asks, in `/metrics` too; the HTTP endpoint adds whether the server drains."""
    readiness, device = Readiness(), DeviceHealth(engine)
    metrics.observe(device.answered)
    readiness.add("device", device.check)
    if isinstance(engine, WorkersEngine):
        readiness.add("workers", engine.shortage)
        readiness.add("workers_lost", engine.lost, required=False)
    elif len(engine.devices()) > 1:
        readiness.add("devices", device.lost, required=False)
    readiness.add("journal", lambda: journal.problem)
    if recorder is not None:
        readiness.add("recording", recorder.problem)
        recordings = DiskCheck(recorder.folder)
        stack.callback(recordings.close)
        metrics.watch_disk("recordings", recordings.free_bytes)
    if journal.path is not None:
        state = DiskCheck(journal.path.parent, least_free_bytes=LEAST_FREE_BYTES)
        stack.callback(state.close)
        readiness.add("disk", state.check)
        metrics.watch_disk("state", state.free_bytes)
    metrics.add(readiness)
    return readiness
