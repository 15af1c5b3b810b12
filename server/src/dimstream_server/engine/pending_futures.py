"""The futures that a device thread must complete, so that no caller waits for a thread that has died."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import Future
from typing import Any

from dimstream_server.engine.stream_state import CloseStream, Item, Job, StreamState
from dimstream_server.engine.thread_commands import Adopt, Append, ChangeStream, Command, Drain
from dimstream_server.errors import ServerError


def of_command(command: Command) -> list[Future[Any]]:
    """Return the futures that belong to a command."""
    if isinstance(command, Append):
        return _of_item(command.item)
    if isinstance(command, Adopt):
        return of_stream(command.state)
    return [command.future] if isinstance(command, ChangeStream | Drain) else []


def of_stream(state: StreamState) -> list[Future[Any]]:
    """Return the pending futures of a stream."""
    items = [future for item in state.waiting for future in _of_item(item)]
    return [*items, *(update.future for update in state.updates)]


def break_all(futures: Iterable[Future[Any]], error: ServerError) -> None:
    """Fail all futures that are not done."""
    for future in futures:
        if not future.done():
            future.set_exception(error)


def _of_item(item: Item) -> list[Future[Any]]:
    return [item.future] if isinstance(item, Job | CloseStream) else []
