"""One viewer's connection: the messages of `viewer` over a WebSocket."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from functools import partial

from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from dimstream_server.endpoints.http.live.history import History
from dimstream_server.endpoints.http.live.messages import BadMessage
from dimstream_server.endpoints.http.live.recording_reader import RecordingReader
from dimstream_server.endpoints.http.live.regions import traces
from dimstream_server.endpoints.http.live.viewer import Load, Trace, Viewer

POLICY_VIOLATION = 1008
INTERNAL_ERROR = 1011
_LEFT = (WebSocketDisconnect, OSError)
_log = logging.getLogger(__name__)


async def attend(
    socket: WebSocket,
    viewer: Viewer,
    history: History,
    recordings: RecordingReader,
    *,
    may_stay: Callable[[], bool],
) -> None:
    """Serve a viewer whose connection was accepted, until it leaves.

    Parameters
    ----------
    may_stay : callable
        Whether its token still counts; asked once a second at least.
    """
    wake = asyncio.Event()
    unwatch = history.watch(wake.set)
    tasks = [
        asyncio.ensure_future(_receive(socket, viewer, wake)),
        asyncio.ensure_future(_send(socket, viewer, recordings, wake, may_stay)),
    ]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        unwatch()
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
    await _close(socket, [result for result in results if isinstance(result, Exception)])


async def _close(socket: WebSocket, errors: list[Exception]) -> None:
    """Close the connection, where that was not done; what the viewer did wrong is its reason."""
    code, reason = POLICY_VIOLATION, "the token was taken back"
    for error in errors:
        if isinstance(error, BadMessage):
            reason = str(error)
        elif not isinstance(error, _LEFT) and socket.client_state is WebSocketState.CONNECTED:
            code, reason = INTERNAL_ERROR, "the server failed; its log says why"
            _log.error("a viewer was lost event=internal_error", exc_info=error)
    with contextlib.suppress(*_LEFT, RuntimeError):  # Starlette's, of a connection that is closed already
        await socket.close(code, reason)


async def _receive(socket: WebSocket, viewer: Viewer, wake: asyncio.Event) -> None:
    while True:
        message = await socket.receive()
        if message["type"] == "websocket.disconnect":
            return
        text = message.get("text")
        if text is None:
            raise BadMessage("expected JSON text, got bytes")
        viewer.take(text)
        wake.set()


async def _send(
    socket: WebSocket,
    viewer: Viewer,
    recordings: RecordingReader,
    wake: asyncio.Event,
    may_stay: Callable[[], bool],
) -> None:
    clock = asyncio.get_running_loop().time
    while may_stay():
        wake.clear()
        message = viewer.next_message(clock())
        if message is not None:
            await socket.send_bytes(message)
            continue
        if (work := viewer.next_work(clock())) is not None:
            await _do(work, viewer, recordings)
            continue
        wait_s = viewer.wait_s(clock())
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(wake.wait(), wait_s)


async def _do(work: Load | Trace, viewer: Viewer, recordings: RecordingReader) -> None:
    if isinstance(work, Load):
        viewer.loaded(work, await recordings.frame(work.folder, work.seq))
    else:
        viewer.traced(work, await recordings.run(partial(traces, work.frames, work.rois)))
