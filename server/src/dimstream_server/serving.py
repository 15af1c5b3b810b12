"""Wires the engine to the two endpoints, and takes them through their life: bind, load, serve, drain, stop.

Ports are bound first, so that a taken one is told before bundles are loaded; nothing is answered before
every bundle has reproduced its test tensor and is warm.
"""

import asyncio
import contextlib
import logging
import os
import re
import secrets
import signal
import socket
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from dimstream_client.errors import KeyFileError
from dimstream_models.bundle import BundleError, read_bundle
from dimstream_models.shipped import SHIPPED_MODEL, shipped_bundle
from dimstream_server.addresses import split_address
from dimstream_server.endpoints.http.app import HttpApp
from dimstream_server.endpoints.http.server import HttpServer, make_http_server
from dimstream_server.endpoints.zmq.endpoint import ZmqEndpoint, bind_router
from dimstream_server.endpoints.zmq.router import CannotBind, Router
from dimstream_server.engine.local_engine import LocalEngine
from dimstream_server.engine.protocol import Engine, EngineLimits
from dimstream_server.errors import RecordingRefused, StartError
from dimstream_server.monitoring.device_health import DeviceHealth
from dimstream_server.monitoring.folder_watch import FolderWatch
from dimstream_server.monitoring.metrics import Metrics
from dimstream_server.monitoring.readiness import Readiness
from dimstream_server.monitoring.recording_metrics import RecordingMetrics
from dimstream_server.monitoring.server_info import InfoMetrics, ServerInfo
from dimstream_server.monitoring.service_manager import READY, STOPPING, notify
from dimstream_server.ready_file import Addresses, CannotStart, check_ready_file, ready_file
from dimstream_server.recording import Recorder
from dimstream_server.recording.retention import Retention
from dimstream_server.reloading import Reloading, bundles_of
from dimstream_server.security.access import Access, keep_warning, read_access, warn_of_open_endpoints
from dimstream_server.settings import IN_MEMORY, Settings
from dimstream_server.streams import StreamService
from dimstream_server.streams.journal import JournalError
from dimstream_server.streams.journal_thread import JournalThread

JOURNAL = "journal.sqlite"
LEAST_FREE_BYTES = 100 * 2**20  # on the disk of the journal, which takes much less
POLL_S = 0.005
TROUBLE_POLL_S = 0.5
FLUSH_S = 5.0
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_log = logging.getLogger(__name__)


async def serve(settings: Settings, read: Callable[[], Settings]) -> bool:
    """Serve until SIGTERM or SIGINT; whether every accepted frame could be answered.

    Parameters
    ----------
    read : callable
        Reads the settings again, at SIGHUP.

    Raises
    ------
    CannotStart
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in STOP_SIGNALS:
        loop.add_signal_handler(number, stop.set)
    reloading = Reloading(settings, read)
    loop.add_signal_handler(signal.SIGHUP, reloading.ask)
    return await serve_until(stop, settings, reloading=reloading)


def load_engine(settings: Settings) -> Engine:
    """The engine with every bundle verified and warm.

    Raises
    ------
    CannotStart
    """
    bundles = []
    for path in bundles_of(settings):
        try:
            bundles.append(read_bundle(path))
        except BundleError as error:
            raise CannotStart(f"bundle {path}: {error}") from error
    try:
        return LocalEngine(bundles, device=settings.server.device, limits=engine_limits(settings))
    except (StartError, BundleError) as error:
        raise CannotStart(str(error)) from error


def engine_limits(settings: Settings) -> EngineLimits:
    """Bounds of the engine: whatever the endpoints have promised fits."""
    limits, http = settings.limits, settings.http
    return EngineLimits(
        # An HTTP request's stream may still be closing while the next request opens its own.
        streams=limits.max_streams + 2 * http.max_requests,
        queued_per_stream=max(settings.zmq.max_window, http.window),
        queued=limits.max_credit + 2 * http.max_requests * http.window,
        plane_bytes=limits.max_plane_bytes,
    )


async def serve_until(
    stop: asyncio.Event,
    settings: Settings,
    *,
    load: Callable[[Settings], Engine] = load_engine,
    on_ready: Callable[[Addresses], None] | None = None,
    reloading: Reloading | None = None,
) -> bool:
    """Serve until `stop` is set, then drain; whether every accepted frame could be answered.

    Parameters
    ----------
    load : callable
        Gives the engine; called in a worker thread.
    on_ready : callable, optional
        Called with the addresses once work is taken.
    reloading : Reloading, optional
        Which bundles are served later.

    Raises
    ------
    CannotStart
    """
    check_ready_file(settings.server.ready_file)
    access = _read_access(settings)
    metrics = Metrics()
    with contextlib.ExitStack() as stack:
        http_socket = stack.enter_context(_bind_http(settings.http.address))
        router, zmq_address = _bind_zmq(settings, access, metrics)
        stack.callback(router.close)
        journal = stack.enter_context(contextlib.closing(_open_journal(settings)))
        recorder = _make_recorder(settings)
        engine = await asyncio.to_thread(load, settings)
        _add_metrics(stack, settings, metrics, engine, recorder)
        service = StreamService(
            *(engine, settings, metrics, journal), boot_id=secrets.token_hex(8), recorder=recorder
        )
        zmq_endpoint = ZmqEndpoint(service, router, settings, metrics, access=access)
        readiness = _readiness(engine, journal, recorder, metrics, stack)
        http_app = _make_http_app(settings, metrics, engine, service, readiness, access)
        service.start(asyncio.get_running_loop())
        http_app.start()
        http_server, http_task = await _start_http(http_app, http_socket, settings, metrics)
        zmq_endpoint.start(asyncio.get_running_loop())
        addresses = Addresses(zmq_address, _url(http_socket), os.getpid())
        try:
            with ready_file(settings.server.ready_file, addresses):
                _report_start(settings, access, engine, journal, addresses)
                tasks = [access.watch(zmq_endpoint.expel_revoked), keep_warning(settings)]
                tasks += [] if reloading is None else [reloading.follow(service)]
                stack.callback(_cancel, [asyncio.ensure_future(task) for task in tasks])
                notify(READY)
                if on_ready is not None:
                    on_ready(addresses)
                healthy = await _until_stopped(stop, http_task, engine)
        finally:
            complete = await _drain(engine, service, zmq_endpoint, http_app, settings.server.drain_s)
            if recorder is not None:
                await asyncio.to_thread(recorder.close)
            http_server.should_exit = True
            await http_task
        return complete and healthy


def _add_metrics(
    stack: contextlib.ExitStack,
    settings: Settings,
    metrics: Metrics,
    engine: Engine,
    recorder: Recorder | None,
) -> None:
    metrics.add(InfoMetrics(engine))
    metrics.watch("dimstream_queue_frames", "Frames accepted, not yet answered.", engine.queue_length)
    if recorder is not None:
        metrics.watch(
            "dimstream_recording_queue_bytes", "Frames that wait to be written.", recorder.queued_bytes
        )
        stack.callback(_watch_recordings(recorder.folder, settings, metrics).stop)


def _make_http_app(
    settings: Settings,
    metrics: Metrics,
    engine: Engine,
    service: StreamService,
    readiness: Readiness,
    access: Access,
) -> HttpApp:
    return HttpApp(
        *(engine, settings, metrics),
        service=service,
        readiness=readiness,
        tokens=access.tokens,
        viewer_tokens=access.viewer_tokens,
        operator_tokens=access.operator_tokens,
    )


def _report_start(
    settings: Settings, access: Access, engine: Engine, journal: JournalThread, addresses: Addresses
) -> None:
    """Log that the server is ready, and what an operator should know of it."""
    _log.info(
        "ready event=ready zmq=%s http=%s pid=%d version=%s device=%s precision=%s runtime=%r",
        *asdict(addresses).values(),
        *asdict(ServerInfo.of(engine)).values(),
    )
    _log_bundle(settings)
    _log_journal(journal)
    access.tell()
    warn_of_open_endpoints(settings)


def _cancel(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()


def _readiness(
    engine: Engine,
    journal: JournalThread,
    recorder: Recorder | None,
    metrics: Metrics,
    stack: contextlib.ExitStack,
) -> Readiness:
    """What /readyz asks, in `/metrics` too; the HTTP endpoint adds whether the server drains."""
    readiness, device = Readiness(), DeviceHealth(engine)
    metrics.observe(device.answered)
    readiness.add("device", device.check)
    readiness.add("journal", lambda: journal.problem)
    if recorder is not None:
        readiness.add("recording", recorder.problem)
        recordings = FolderWatch(recorder.folder)
        stack.callback(recordings.close)
        metrics.watch_disk("recordings", recordings.free_bytes)
    if journal.path is not None:
        state = FolderWatch(journal.path.parent, least_free_bytes=LEAST_FREE_BYTES)
        stack.callback(state.close)
        readiness.add("disk", state.check)
        metrics.watch_disk("state", state.free_bytes)
    metrics.add(readiness)
    return readiness


async def _until_stopped(stop: asyncio.Event, http_task: asyncio.Task[None], engine: Engine) -> bool:
    """Whether it was told to stop; False when it has to, so that whoever looks after it starts another."""
    stopping = asyncio.ensure_future(stop.wait())
    failing = asyncio.ensure_future(_until_trouble(engine))
    await asyncio.wait((stopping, failing, http_task), return_when=asyncio.FIRST_COMPLETED)
    for task in (stopping, failing):
        task.cancel()
    return stop.is_set()


async def _until_trouble(engine: Engine) -> None:
    while (trouble := engine.trouble()) is None:
        await asyncio.sleep(TROUBLE_POLL_S)
    _log.critical("the server stops, its streams can be resumed event=engine_failed reason=%r", trouble)


async def _drain(
    engine: Engine,
    service: StreamService,
    zmq_endpoint: ZmqEndpoint,
    http_app: HttpApp,
    drain_s: float,
) -> bool:
    """Take no new work, answer what was accepted, then stop the engine and the ZeroMQ endpoint."""
    notify(STOPPING)
    service.begin_drain()
    http_app.begin_drain()
    _log.info("draining event=draining queue=%d", engine.queue_length())
    complete = True
    try:
        async with asyncio.timeout(drain_s):
            while not (service.is_drained and zmq_endpoint.is_drained and http_app.is_drained):
                await asyncio.sleep(POLL_S)
            await asyncio.wrap_future(engine.drain())
    except TimeoutError:
        complete = False
        _log.error("not everything was answered event=drain_timeout queue=%d", engine.queue_length())
    await zmq_endpoint.close(flush_s=FLUSH_S)
    http_app.close()
    await service.stop()
    _log.info("stopped event=stopped complete=%s", complete)
    return complete


def _open_journal(settings: Settings) -> JournalThread:
    path = journal_path(settings)
    try:
        return JournalThread(path)
    except JournalError as error:
        raise CannotStart(f"{error}; name another folder by server.state (--state)") from error


def _make_recorder(settings: Settings) -> Recorder | None:
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


def _watch_recordings(folder: Path, settings: Settings, metrics: Metrics) -> Retention:
    retention = Retention(folder, keep_days=settings.recording.keep_days)
    metrics.add(RecordingMetrics(retention))
    retention.start()
    return retention


def _log_bundle(settings: Settings) -> None:
    if settings.server.bundles is None:
        _log.warning(
            "no bundle was named, so the one that ships is served; it was trained on simulated frames only "
            "event=shipped_bundle model=%s path=%s",
            SHIPPED_MODEL,
            shipped_bundle(),
        )


def _log_journal(journal: JournalThread) -> None:
    if journal.path is None:
        _log.warning("no journal: streams cannot be resumed once this server ends event=no_journal")
    else:
        _log.info("streams can be resumed after a restart event=journal path=%s", journal.path)


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


def _bind_http(address: str) -> socket.socket:
    host, port = split_address(address)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
        bound.listen()  # so that a second server on the same port fails now and not when it is warm
    except OSError as error:
        bound.close()
        raise CannotStart(f"cannot bind the HTTP address {address}: {error.strerror}") from error
    return bound


def _read_access(settings: Settings) -> Access:
    try:
        return read_access(settings)
    except KeyFileError as error:
        raise CannotStart(error.detail) from error


def _bind_zmq(settings: Settings, access: Access, metrics: Metrics) -> tuple[Router, str]:
    try:
        return bind_router(settings, access, metrics)
    except CannotBind as error:
        raise CannotStart(str(error)) from error


def _url(bound: socket.socket) -> str:
    host, port = bound.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


async def _start_http(
    endpoint: HttpApp, bound: socket.socket, settings: Settings, metrics: Metrics
) -> tuple[HttpServer, asyncio.Task[None]]:
    server = make_http_server(endpoint.app, bound, settings, metrics=metrics, responder=endpoint.responder)
    task = asyncio.ensure_future(server.serve())
    while not server.started:
        if task.done():
            task.result()
            raise CannotStart("the HTTP server did not start; see its log")
        await asyncio.sleep(POLL_S)
    return server, task
