"""A program that ends without closing loses no frame: they are in the spool, and another goes on."""

import subprocess
import sys

import pytest

from dimstream_client import Client
from dimstream_client.errors import SpoolError
from dimstream_client.micromanager import MdaStream, resume_spools

pytest.importorskip("pymmcore_plus")
useq = pytest.importorskip("useq")

PROGRAM = """
import logging, sys
import numpy as np
import useq
from dimstream_client import Client
from dimstream_client.micromanager import MdaStream, replay_core

logging.basicConfig(level=logging.WARNING)
endpoint, spool = sys.argv[1:]
movie = np.zeros((25, 24, 32), np.uint16)
movie[:, 0, 0] = np.arange(25)
core = replay_core(movie, exposure_ms=1.0)
core.mda.engine.use_hardware_sequencing = False
stream = MdaStream(core, Client(endpoint), spool=spool or None)
stream.connect()
core.run_mda(useq.MDASequence(time_plan={"interval": 0, "loops": 25}), block=True)
"""


def ended(endpoint, spool):
    """Run the program to its end, and return what it said."""
    command = [sys.executable, "-c", PROGRAM, endpoint, str(spool)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stderr


@pytest.mark.slow
def test_frames_of_a_program_that_ends_without_closing_are_in_the_spool(peer, tmp_path):
    server = peer(window=4)
    server.hold.set()
    said = ended(server.endpoint, tmp_path)
    assert "25 frames without a result" in said
    assert "resume" in said
    server.hold.clear()
    got = []
    with Client(server.endpoint) as client:
        resumed = resume_spools(client, tmp_path, on_result=got.append)
        assert resume_spools(client, tmp_path) == {}
    assert list(resumed.values()) == [25]
    assert [int(result.pixels[0, 0]) for result in got] == list(range(25))
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_without_a_spool_the_program_says_what_is_lost(peer):
    server = peer()
    server.hold.set()
    assert "25 frames are lost" in ended(server.endpoint, "")


def test_a_spool_that_is_in_use_is_not_resumed(replay, peer, tmp_path, eventually):
    server = peer()
    server.hold.set()
    with Client(server.endpoint) as client, Client(server.endpoint) as other:
        stream = MdaStream(replay, client, spool=tmp_path)
        stream.connect()
        replay.run_mda(useq.MDASequence(time_plan={"interval": 0, "loops": 3}), block=True)
        eventually(lambda: stream.reports and stream.reports[0].sent == 3)
        with pytest.raises(SpoolError, match="used by another program"):
            resume_spools(other, tmp_path)
        server.hold.clear()
        stream.close(timeout_s=60)
