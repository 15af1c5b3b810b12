"""One worker in a process of a Ray cluster: an ordinary server, in a thread of the actor's process.

So whatever ends the actor ends the server, and nothing is left behind. Ray carries no frames: they come by
ZeroMQ, as to any server.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from dimstream_server.cluster.bundle_store import fetch
from dimstream_server.monitoring.logs import set_up_logging
from dimstream_server.ready_file import Addresses
from dimstream_server.serving import serve_until
from dimstream_server.settings import Settings
from dimstream_server.settings_file import make_settings, read_settings

START_S: Final = 300.0
_CACHE: Final = Path.home() / ".cache" / "dimstream" / "bundles"


@dataclass(frozen=True, slots=True)
class WorkerRecipe:
    """How a worker is started, on whatever machine.

    Parameters
    ----------
    bundles : tuple of str
        SHA-256 of zips in the store; without a store paths, the same on each machine.
    store : str or None
        Folder or address of the store.
    settings : str or None
        File of further settings, at the same place on each machine.
    log_level : str
        Of the worker's log.
    """

    bundles: tuple[str, ...]
    store: str | None
    settings: str | None
    log_level: str


class RayWorker:
    """The actor; made on the machine that Ray has chosen, when the server takes work.

    Parameters
    ----------
    host : str
        Address of this machine in the cluster.
    """

    def __init__(self, recipe: WorkerRecipe, host: str) -> None:
        self._ready = threading.Event()
        self._addresses: Addresses | None = None
        self._error: BaseException | None = None
        settings = make_settings(_tables(recipe, host), source=recipe.settings or "worker")
        threading.Thread(target=self._serve, args=(settings,), daemon=True).start()
        if not self._ready.wait(START_S):
            raise TimeoutError(f"the worker was not ready within {START_S:g} s")
        if self._error is not None:
            raise self._error

    def address(self) -> str:
        """Its ZeroMQ endpoint."""
        if self._error is not None or self._addresses is None:
            raise RuntimeError(f"the worker has ended: {self._error}")
        return self._addresses.zmq

    def _serve(self, settings: Settings) -> None:
        set_up_logging(settings.server.log_level, settings.server.log_format)
        try:
            asyncio.run(serve_until(asyncio.Event(), settings, on_ready=self._take))
        except BaseException as error:
            self._error = error
        else:
            self._error = RuntimeError("the server has ended")
        self._ready.set()

    def _take(self, addresses: Addresses) -> None:
        self._addresses = addresses
        self._ready.set()


def _tables(recipe: WorkerRecipe, host: str) -> dict[str, Any]:
    """Settings of a worker: its own file's, with what its gateway wants over them."""
    tables: dict[str, Any] = {} if recipe.settings is None else read_settings(Path(recipe.settings))
    named = recipe.bundles
    if recipe.store is not None:
        named = tuple(str(fetch(digest, recipe.store, _CACHE)) for digest in named)
    wanted: Mapping[str, Mapping[str, Any]] = {
        "server": {"bundles": named, "state": "memory", "log_level": recipe.log_level},
        "zmq": {"endpoint": f"tcp://{host}:0"},
        "http": {"address": "127.0.0.1:0"},
    }
    return {name: {**tables.get(name, {}), **wanted.get(name, {})} for name in {*tables, *wanted}}
