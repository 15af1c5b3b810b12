"""The engine of a gateway whose workers are placed by Ray."""

from __future__ import annotations

from pathlib import Path

from dimstream_server.cluster.bundle_store import StoreError, is_address, publish
from dimstream_server.cluster.ray_placing import RayPlacing
from dimstream_server.cluster.ray_worker import WorkerRecipe
from dimstream_server.engine.protocol import Engine
from dimstream_server.errors import StartError
from dimstream_server.ready_file import CannotStart
from dimstream_server.reloading import bundles_of
from dimstream_server.server_parts import make_workers_engine, wait_for_workers
from dimstream_server.settings import Settings


def load_cluster(settings: Settings) -> Engine:
    """The engine, once Ray has placed workers; without them it starts all the same, and is not ready.

    Raises
    ------
    CannotStart
    """
    table = settings.workers
    assert table.ray is not None
    engine = make_workers_engine(settings)
    try:
        engine.cluster = RayPlacing(
            table.ray,
            _recipe(settings),
            table.ray_workers,
            cpus=table.ray_cpus,
            gpus=table.ray_gpus,
            tell=engine.set_placed,
            is_used=lambda address: any(one["address"] == address for one in engine.workers()),
        )
    except StartError as error:
        engine.drain().result()
        raise CannotStart(str(error)) from error
    wait_for_workers(engine, settings)
    return engine


def _recipe(settings: Settings) -> WorkerRecipe:
    table, paths = settings.workers, bundles_of(settings)
    if table.store is None:
        named = tuple(str(path.absolute()) for path in paths)
    elif is_address(table.store):
        named = tuple(_published_elsewhere(path, table.store) for path in paths)
    else:
        named = tuple(publish(path, Path(table.store)) for path in paths)
    return WorkerRecipe(
        bundles=named,
        store=table.store,
        settings=None if table.ray_settings is None else str(table.ray_settings.absolute()),
        log_level=settings.server.log_level,
    )


def _published_elsewhere(path: Path, store: str) -> str:
    """The name under which a bundle is in a store that this gateway cannot write."""
    if not path.is_file():
        raise StoreError(
            f"expected bundles as zips, as {store} has them by their SHA-256, got the folder {path}; "
            "name a store that is a folder, which a gateway fills by itself, or zip it and put it there"
        )
    return publish(path, None)
