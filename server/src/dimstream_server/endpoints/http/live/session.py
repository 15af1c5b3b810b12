"""One viewer's connection: the messages of `viewer` over a WebSocket."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from functools import partial

from starlette.websockets import WebSocket, WebSocketDisconnect

from dimstream_server.endpoints.http.live.archive import Archive
from dimstream_server.endpoints.http.live.history import History
from dimstream_server.endpoints.http.live.messages import BadMessage
from dimstream_server.endpoints.http.live.regions import traces
from dimstream_server.endpoints.http.live.viewer import Load, Trace, Viewer

POLICY_VIOLATION = 1008
_ENDED = (WebSocketDisconnect, RuntimeError, asyncio.CancelledError)


async def attend(
    socket: WebSocket,
    viewer: Viewer,
    history: History,
    archive: Archive,
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
    sending = asyncio.ensure_future(_send(socket, viewer, archive, wake, may_stay))
    try:
        await _receive(socket, viewer, wake)
    except BadMessage as error:
        with contextlib.suppress(*_ENDED):
            await socket.close(POLICY_VIOLATION, str(error))
    finally:
        unwatch()
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)


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
    archive: Archive,
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
            await _do(work, viewer, archive)
            continue
        wait_s = viewer.wait_s(clock())
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(wake.wait(), wait_s)
    await socket.close(POLICY_VIOLATION, "the token was taken back")


async def _do(work: Load | Trace, viewer: Viewer, archive: Archive) -> None:
    if isinstance(work, Load):
        viewer.loaded(work, await archive.frame(work.folder, work.seq))
    else:
        viewer.traced(work, await archive.run(partial(traces, work.frames, work.rois)))
