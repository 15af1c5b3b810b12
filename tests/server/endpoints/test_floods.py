"""An honest stream next to an attack: it gets all its results, and the server's memory stays where it was.

``DIMSTREAM_FLOOD_S`` is how long each attack lasts. Latencies are told (``-s`` shows them), not asserted.
"""

import os
import re
import statistics
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from faults import floods
from faults.bundles import write_tiny_bundle
from faults.processes import Server

from dimstream_client import Client
from dimstream_client.keys import CurveKeys, choose_curve_keys, make_pair
from dimstream_server.cli import main

pytestmark = pytest.mark.slow

SECONDS = float(os.environ.get("DIMSTREAM_FLOOD_S", "1.5"))
LIMITS = {"max_frame_bytes": 2**24}
GROWTH_MIB = 2 * 16 + 64  # what docs/security.md promises, with as many connections as come here
INTERVAL_S = 0.03
HANG_S = 60.0
FRAME = np.random.default_rng(0).poisson(3.0, (64, 64)).astype(np.uint16)
OPEN_ATTACKS: dict[str, floods.Attack] = {
    attack.__name__: attack
    for attack in (
        floods.empty_parts,
        floods.large_parts,
        floods.parts_as_large_as_allowed,
        floods.huge_pixels,
        floods.small_nonsense,
        floods.zlib_without_a_stream,
        floods.zlib_for_a_stream,
        floods.updates,
    )
}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny")


@pytest.fixture(scope="module")
def server(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(bundle, tmp_path_factory.mktemp("server"), settings={"limits": LIMITS}) as server:
        yield server


def memory_mib(server: Server, what: str = "VmRSS") -> int:
    status = Path(f"/proc/{server.pid}/status").read_text()
    found = re.search(rf"{what}:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1]) // 1024


def forget_peak(server: Server) -> None:
    Path(f"/proc/{server.pid}/clear_refs").write_text("5")


def latencies_ms(client: Client, *, for_s: float) -> list[float]:
    """How long each frame's result took; every frame must have one."""
    sent: list[float] = []
    took: list[float] = []
    stream = client.open(
        FRAME.shape, "uint16", on_result=lambda result: took.append(time.perf_counter() - sent[result.seq])
    )
    until = time.monotonic() + for_s
    while time.monotonic() < until:
        sent.append(time.perf_counter())
        stream.send(FRAME)
        time.sleep(INTERVAL_S)
    stream.close()
    assert len(took) == len(sent)
    return [1e3 * seconds for seconds in took]


def readyz_ms(server: Server) -> float:
    start = time.perf_counter()
    with urllib.request.urlopen(f"{server.http}/readyz", timeout=HANG_S) as answer:
        assert answer.status == 200
    return 1e3 * (time.perf_counter() - start)


def check(server: Server, attack: floods.Attack, name: str, record: Any, **keys: Any) -> floods.Flood:
    with Client(server.endpoint, timeout_s=HANG_S, **keys) as client:
        alone = latencies_ms(client, for_s=0.5)
        before = memory_mib(server)
        forget_peak(server)
        with floods.Flood(attack, server.endpoint) as flood:
            during = latencies_ms(client, for_s=SECONDS)
            ready = readyz_ms(server)
        peak = memory_mib(server, "VmHWM")
    told = {
        "sent_mib": round(flood.bytes / 2**20, 1),
        "hung_up": flood.hung_up,
        "memory_mib": (before, peak),
        "alone_ms": (round(statistics.median(alone), 1), round(max(alone), 1)),
        "during_ms": (round(statistics.median(during), 1), round(max(during), 1)),
        "readyz_ms": round(ready, 1),
    }
    record(name, told)
    print(f"\n{name}: {told}")
    assert peak - before < GROWTH_MIB
    return flood


@pytest.mark.parametrize("name", OPEN_ATTACKS)
def test_an_honest_stream_goes_on_and_memory_stays(name: str, server: Server, record_property: Any) -> None:
    flood = check(server, OPEN_ATTACKS[name], name, record_property)
    assert flood.bytes > 0


@pytest.mark.parametrize("size", [0, 2**20])
def test_an_admitted_client_cannot_fill_the_memory_either(
    size: int, bundle: Path, tmp_path: Path, record_property: Any
) -> None:
    assert main(["keygen", str(tmp_path / "keys")]) == 0
    honest = _keys(tmp_path / "keys", "honest")
    attacker = choose_curve_keys(**_keys(tmp_path / "keys", "attacker"))
    assert isinstance(attacker, CurveKeys)
    table = {
        "server_secret_key": str(tmp_path / "keys" / "server.key"),
        "allowed_clients": str(tmp_path / "keys" / "clients"),
    }
    with Server(bundle, tmp_path / "server", settings={"zmq": table, "limits": LIMITS}) as server:
        attack = floods.encrypted_parts(attacker, size=size)
        check(server, attack, f"encrypted parts of {size}", record_property, **honest)


def _keys(folder: Path, name: str) -> dict[str, Path]:
    secret, public = make_pair(folder / "own", name)
    public.rename(folder / "clients" / public.name)
    return {"key": secret, "server_key": folder / "server.pub"}


def test_connections_without_a_word_leave_descriptors_for_others(
    bundle: Path, tmp_path: Path, record_property: Any
) -> None:
    few = ["sh", "-c", 'ulimit -n 256; exec "$@"', "sh"]
    with Server(bundle, tmp_path / "server", settings={"limits": LIMITS}, within=few) as server:
        with floods.Flood(floods.idle_connections, server.endpoint):
            time.sleep(0.5)
            with Client(server.endpoint, timeout_s=HANG_S) as newcomer:
                assert len(list(newcomer.stream([FRAME] * 5))) == 5
        check(server, floods.idle_connections, "idle connections", record_property)
        assert "Too many open files" not in server.log


def test_what_is_refused_a_thousand_times_is_logged_once_with_a_count(server: Server) -> None:
    before = server.log.count("event=refused")
    with floods.Flood(floods.small_nonsense, server.endpoint) as flood:
        until = time.monotonic() + HANG_S
        while flood.bytes <= 6000 and time.monotonic() < until:  # 1,000 messages
            time.sleep(0.02)
    assert flood.bytes > 6000
    assert server.log.count("event=refused") - before <= 2
