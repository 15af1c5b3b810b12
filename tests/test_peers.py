"""`make peers`, with peers that dimstream's own environment can run: the same pixels, and a table of all."""

import json
from pathlib import Path

import pytest
from peers.contenders import CONTENDERS
from peers.measuring import WINDOW, measure
from peers.running import OUR_PYTHON
from peers.tables import write_tables

from dimstream_server.benchmarks.machine import describe_machine

HERE = ("dimstream-zmq", "pyzmq")


@pytest.mark.slow
def test_peers_are_measured_beside_dimstream_and_who_cannot_is_named(tmp_path: Path) -> None:
    pythons = {one: OUR_PYTHON for one in CONTENDERS if one.name in HERE}
    broken = next(one for one in CONTENDERS if one.name == "bentoml")  # is not installed beside dimstream
    found = measure("identity", pythons | {broken: OUR_PYTHON}, {"Triton": "no wheel"}, 1, lap_frames=2)
    assert set(found.routes) == {"bare", *HERE, *(f"{name}_{WINDOW}" for name in HERE)}
    assert set(found.left_out) == {"Triton", broken.title}
    text = write_tables(tmp_path, describe_machine("cpu"), {"pyzmq": "27.3.0"}, [found])
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) == 2 + 1 + len(HERE) + 2
    assert "| Triton | no wheel | | | |" in rows
    written = json.loads((tmp_path / "peers.json").read_text())
    assert written["networks"][0]["routes"]["pyzmq"]["added_ms"]["n"] == 1
    assert text in (tmp_path / "peers.md").read_text()
