"""Workers that Ray places on the machines of its cluster, and starts again elsewhere when one is lost."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from typing import Any, Final

import ray
from ray.exceptions import ActorDiedError, RayError
from ray.util import get_node_ip_address

from dimstream_server.cluster.ray_worker import RayWorker, WorkerRecipe
from dimstream_server.errors import StartError

LOOK_S: Final = 0.5
AGAIN_S: Final = 5.0  # before a worker is placed anew that could not be started
_log = logging.getLogger(__name__)


class ClusterUnavailable(StartError):
    """There is no Ray cluster at the address; the text says why."""

    code = "cluster_unavailable"


class _Actor:
    """An actor, and what it was last heard to say."""

    def __init__(self, handle: Any) -> None:
        self.handle = handle
        self.address: str | None = None
        self.asked: Any = None
        self.trouble: str | None = None
        self.died_at: float | None = None


class RayPlacing:
    """Keeps so many workers in a Ray cluster; Ray chooses the machines, another for each if it can.

    Parameters
    ----------
    address : str
        ``HOST:PORT`` of the cluster, or ``auto``; this machine must belong to it.
    cpus, gpus : float
        What Ray sets aside for each worker.
    tell : callable
        Called with the endpoints of the workers whenever they change, on a thread of its own.
    is_used : callable
        Whether an endpoint that is not told any more still has streams.

    Raises
    ------
    ClusterUnavailable
    """

    def __init__(
        self,
        address: str,
        recipe: WorkerRecipe,
        count: int,
        *,
        cpus: float,
        gpus: float,
        tell: Callable[[tuple[str, ...]], None],
        is_used: Callable[[str], bool],
    ) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        try:
            ray.init(address=address, log_to_driver=False, logging_level=logging.WARNING)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise ClusterUnavailable(f"expected a Ray cluster at {address}: {error}") from error
        self._recipe = recipe
        self._actor = ray.remote(
            num_cpus=cpus, num_gpus=gpus, max_restarts=-1, max_task_retries=0, scheduling_strategy="SPREAD"
        )(_HostedWorker)
        self._tell, self._is_used = tell, is_used
        self._count = count
        self._actors: list[_Actor] = []
        self._leaving: list[_Actor] = []
        self._told: tuple[str, ...] = ()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="dimstream-ray", daemon=True)
        self._thread.start()

    def trouble(self) -> str | None:
        """Why some workers are not placed at present; None when all are."""
        told = {actor.trouble for actor in tuple(self._actors) if actor.trouble is not None}
        return "; ".join(sorted(told)) or None

    def resize(self, count: int) -> None:
        """Have so many workers from now on; those that go have their streams moved first."""
        self._count = count

    def close(self) -> None:
        """End all workers, and leave the cluster."""
        self._end.set()
        self._thread.join()
        for actor in (*self._actors, *self._leaving):
            ray.kill(actor.handle)
        ray.shutdown()

    def _run(self) -> None:
        while not self._end.wait(LOOK_S):
            try:
                self._look()
            except RayError:
                _log.exception("cannot check the workers event=internal_error endpoint=ray")

    def _look(self) -> None:
        while len(self._actors) < self._count:
            self._actors.append(_Actor(self._actor.remote(self._recipe)))
        while len(self._actors) > self._count:
            self._leaving.append(self._actors.pop())
        for actor in self._actors:
            self._ask(actor)
        addresses = tuple(actor.address for actor in self._actors if actor.address is not None)
        if addresses != self._told:
            self._told = addresses
            _log.info("Ray has placed workers event=workers_placed workers=%s", list(addresses))
            self._tell(addresses)
        for actor in [one for one in self._leaving if one.address is None or not self._is_used(one.address)]:
            self._leaving.remove(actor)
            ray.kill(actor.handle)

    def _ask(self, actor: _Actor) -> None:
        """Ask for the endpoint again: an actor that was started elsewhere has another."""
        if actor.died_at is not None:
            if time.monotonic() - actor.died_at < AGAIN_S:
                return
            actor.handle, actor.died_at = self._actor.remote(self._recipe), None
        if actor.asked is None:
            actor.asked = actor.handle.address.remote()
        ready, _ = ray.wait([actor.asked], timeout=0)
        if not ready:
            return
        asked, actor.asked = actor.asked, None
        try:
            actor.address, actor.trouble = str(ray.get(asked)), None
        except RayError as error:
            trouble = str(error).strip().splitlines()[-1]
            if trouble != actor.trouble:
                _log.warning("a worker of Ray is lost event=ray_worker_lost reason=%r", trouble)
            actor.trouble = trouble
            if isinstance(error, ActorDiedError):  # what Ray starts again is only unavailable
                actor.died_at = time.monotonic()


class _HostedWorker(RayWorker):
    """A worker that finds out where it is."""

    def __init__(self, recipe: WorkerRecipe) -> None:
        super().__init__(recipe, get_node_ip_address())
