"""Wires the engine to the two endpoints, and takes them through their life: bind, load, serve, drain, stop.

Ports are bound first, so that a taken one is told before bundles are loaded; nothing is answered before
every bundle has reproduced its test tensor and is warm.
"""

import asyncio
import contextlib
import logging
import os
import secrets
import signal
from collections.abc import Callable
from dataclasses import asdict, dataclass

from dimstream_models.shipped import SHIPPED_MODEL, shipped_bundle
from dimstream_server.alerts.watching import AlertWatch
from dimstream_server.endpoints.http.app import HttpApp
from dimstream_server.endpoints.http.server import HttpServer
from dimstream_server.endpoints.zmq.endpoint import ZmqEndpoint
from dimstream_server.engine.protocol import Engine
from dimstream_server.monitoring.metrics import Metrics
from dimstream_server.monitoring.server_info import ServerInfo
from dimstream_server.monitoring.service_manager import READY, STOPPING, notify
from dimstream_server.ready_file import Addresses, check_ready_file, ready_file
from dimstream_server.recording import Recorder
from dimstream_server.reloading import Reloading
from dimstream_server.security.access import Access, keep_warning, warn_of_open_endpoints
from dimstream_server.server_parts import (
    access_of,
    add_metrics,
    load_engine,
    make_readiness,
    make_recorder,
    open_journal,
    workers_again,
)
from dimstream_server.server_sockets import bind_http, bind_zmq, start_http, url_of
from dimstream_server.settings import Settings
from dimstream_server.streams import StreamService
from dimstream_server.streams.journal_thread import JournalThread

POLL_S = 0.005
TROUBLE_POLL_S = 0.5
FLUSH_S = 5.0
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_log = logging.getLogger(__name__)


async def serve(
    settings: Settings, read: Callable[[], Settings], *, load: Callable[[Settings], Engine] = load_engine
) -> bool:
    """Serve until SIGTERM or SIGINT; whether every accepted frame could be answered.

    Parameters
    ----------
    read : callable
        Reads the settings again, at SIGHUP.
    load : callable
        Gives the engine; called in a worker thread.

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
    return await serve_until(stop, settings, load=load, reloading=reloading)


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
    with contextlib.ExitStack() as stack:
        server = await _start(stack, settings, load)
        try:
            with ready_file(settings.server.ready_file, server.addresses):
                _report_start(server)
                tasks = [server.access.watch(server.zmq_endpoint.expel_revoked), keep_warning(settings)]
                tasks.append(server.alerts.follow())
                if reloading is not None:
                    reloading.also = workers_again(server.engine)
                    tasks.append(reloading.follow(server.service))
                stack.callback(_cancel, [asyncio.ensure_future(task) for task in tasks])
                notify(READY)
                if on_ready is not None:
                    on_ready(server.addresses)
                healthy = await _until_stopped(stop, server)
        finally:
            complete = await _drain(server)
        return complete and healthy


@dataclass(frozen=True, slots=True, eq=False)
class _Server:
    """A server that takes work, by its parts."""

    settings: Settings
    access: Access
    engine: Engine
    journal: JournalThread
    recorder: Recorder | None
    service: StreamService
    alerts: AlertWatch
    zmq_endpoint: ZmqEndpoint
    http_app: HttpApp
    http_server: HttpServer
    http_task: asyncio.Task[None]
    addresses: Addresses


async def _start(
    stack: contextlib.ExitStack, settings: Settings, load: Callable[[Settings], Engine]
) -> _Server:
    """Bind the ports, make the parts and begin to serve; the stack closes them at the end."""
    access, metrics = access_of(settings), Metrics()
    http_socket = stack.enter_context(bind_http(settings.http.address))
    router, zmq_address = bind_zmq(settings, access, metrics)
    stack.callback(router.close)
    journal = stack.enter_context(contextlib.closing(open_journal(settings)))
    recorder = make_recorder(settings)
    engine = await asyncio.to_thread(load, settings)
    add_metrics(stack, settings, metrics, engine, recorder)
    boot_id = secrets.token_hex(8)
    service = StreamService(engine, settings, metrics, journal, boot_id=boot_id, recorder=recorder)
    zmq_endpoint = ZmqEndpoint(service, router, settings, metrics, access=access)
    readiness = make_readiness(stack, engine, journal, recorder, metrics)
    alerts = AlertWatch(service, readiness, metrics, settings)
    stack.callback(alerts.close)
    http_app = HttpApp(
        *(engine, settings, metrics),
        service=service,
        readiness=readiness,
        alerts=alerts.report,
        tokens=access.tokens,
        viewer_tokens=access.viewer_tokens,
        analysis_tokens=access.analysis_tokens,
        operator_tokens=access.operator_tokens,
    )
    service.start(asyncio.get_running_loop())
    http_app.start()
    http_server, http_task = await start_http(http_app, http_socket, settings, metrics)
    zmq_endpoint.start(asyncio.get_running_loop())
    return _Server(
        *(settings, access, engine, journal, recorder, service, alerts),
        *(zmq_endpoint, http_app, http_server, http_task),
        Addresses(zmq_address, url_of(http_socket), os.getpid()),
    )


def _report_start(server: _Server) -> None:
    """Log that the server is ready, and what an operator should know of it."""
    _log.info(
        "ready event=ready zmq=%s http=%s pid=%d version=%s device=%s precision=%s runtime=%r",
        *asdict(server.addresses).values(),
        *asdict(ServerInfo.of(server.engine)).values(),
    )
    if "emulated" in server.engine.device().runtime:
        _log.warning(
            "this processor lacks the precision of the device, which is slower than float32 "
            "event=precision_emulated device=%s runtime=%r",
            *(server.engine.device().name, server.engine.device().runtime),
        )
    _log_bundle(server.settings)
    _log_journal(server.journal)
    server.access.tell()
    warn_of_open_endpoints(server.settings)


def _cancel(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()


async def _until_stopped(stop: asyncio.Event, server: _Server) -> bool:
    """Whether it was told to stop; False when it has to, so that whoever looks after it starts another."""
    stopping = asyncio.ensure_future(stop.wait())
    failing = asyncio.ensure_future(_until_trouble(server.engine))
    await asyncio.wait((stopping, failing, server.http_task), return_when=asyncio.FIRST_COMPLETED)
    for task in (stopping, failing):
        task.cancel()
    return stop.is_set()


async def _until_trouble(engine: Engine) -> None:
    while (trouble := engine.trouble()) is None:
        await asyncio.sleep(TROUBLE_POLL_S)
    _log.critical("the server stops, its streams can be resumed event=engine_failed reason=%r", trouble)


async def _drain(server: _Server) -> bool:
    """Take no new work, answer what was accepted, then stop all parts; whether everything was answered."""
    engine, service = server.engine, server.service
    zmq_endpoint, http_app = server.zmq_endpoint, server.http_app
    notify(STOPPING)
    service.begin_drain()
    http_app.begin_drain()
    _log.info("draining event=draining queue=%d", engine.queue_length())
    complete = True
    try:
        async with asyncio.timeout(server.settings.server.drain_s):
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
    if server.recorder is not None:
        await asyncio.to_thread(server.recorder.close)
    server.http_server.should_exit = True
    await server.http_task
    return complete


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
