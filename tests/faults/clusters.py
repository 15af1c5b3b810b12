"""A Ray cluster of two nodes on this machine, and a gateway whose workers it places."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from dimstream_client.cli import main as client
from dimstream_server.cli import main as serve
from faults.processes import Server

WORKER = "ray::_HostedWorker"


@dataclass
class RayCluster:
    """The cluster, its second node, and the gateway."""

    cluster: Any
    node: Any
    gateway: Server


@contextmanager
def ray_cluster(bundle: Path, folder: Path, *, workers: int = 2) -> Iterator[RayCluster]:
    """Start a head and one more node, two cores each, and a gateway in front of Ray's workers."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("RAY_USAGE_STATS_ENABLED", "0")
        environment.setenv("RAY_raylet_start_wait_time_s", "300")  # a busy machine is slow
        environment.setenv("RAY_agent_register_timeout_ms", "300000")
        environment.setenv("OMP_NUM_THREADS", "1")
        from ray.cluster_utils import Cluster  # reads the environment as it is imported

        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
        try:
            node = cluster.add_node(num_cpus=2)
            command = ("gateway", "--ray", cluster.address, "--store", str(folder / "store"))
            settings = {
                "workers": {"silence_s": 3.0, "wait_s": 60.0, "ray_workers": workers, **_keys(folder)},
                "zmq": {"silence_s": 3.0},
            }
            gateway = Server(bundle, folder / "gateway", settings=settings, command=command)
            with gateway:
                yield RayCluster(cluster, node, gateway)
                gateway.terminate()
        finally:
            cluster.shutdown()


def _keys(folder: Path) -> dict[str, str]:
    """Keys of the workers and of their gateway, and the settings that say where they are."""
    assert serve(["keygen", str(folder / "keys")]) == 0
    assert client(["keygen", str(folder / "mine"), "--name", "gateway"]) == 0
    shutil.copy(folder / "mine" / "gateway.pub", folder / "keys" / "clients")
    locked = folder / "worker.toml"
    locked.write_text('[zmq]\nserver_secret_key = "keys/server.key"\nallowed_clients = "keys/clients"\n')
    return {
        "ray_settings": str(locked),
        "server_key": str(folder / "keys" / "server.pub"),
        "key": str(folder / "mine" / "gateway.key"),
    }


def processes(name: str) -> list[int]:
    """Processes that this one began, or theirs, whose command begins with a name."""
    known = {}
    for place in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((place / "stat").read_text().rpartition(")")[2].split()[1])
            known[int(place.name)] = parent, (place / "cmdline").read_bytes().decode(errors="replace")
        except OSError:  # it has just ended
            continue
    ours = {os.getpid()}
    while more := {pid for pid, (parent, _) in known.items() if parent in ours and pid not in ours}:
        ours |= more
    return [pid for pid in ours & set(known) if known[pid][1].startswith(name)]
