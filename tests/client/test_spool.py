import contextlib
import os
import stat
import subprocess
import sys
import time

import numpy as np
import pytest

from dimstream_client import Client
from dimstream_client.errors import SpoolError, SpoolFull, Timeout
from dimstream_client.messages import Frame, Open, PlaneIndex, Skip
from dimstream_client.resume_handle import ResumeHandle
from dimstream_client.spool import Spool

SHAPE = (8, 10)
HANDLE = ResumeHandle("tcp://127.0.0.1:1", "s0", "t", Open("scope", SHAPE, "uint16", split_every=2))


def frame(seq, *, z=0):
    pixels = np.full(SHAPE, seq, np.uint16)
    return Frame("s0", seq, pixels, PlaneIndex(t=seq, z=z), t_acq=1.5, meta={"laser": "775 nm"})


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "spool"


@pytest.fixture
def open_spool(folder):
    """Maker of spools in the folder; all are closed at the end."""
    with contextlib.ExitStack() as stack:
        yield lambda **options: stack.enter_context(Spool(folder, **options))


def files(folder):
    return sorted(int(path.stem) for path in folder.glob("*.frame"))


def broken_off(folder, frames=4):
    """Leave a spool as a program does that is killed."""
    spool = Spool(folder)
    spool.begin(HANDLE)
    for seq in range(frames):
        spool.keep(frame(seq))
    spool.close(done=False)


def test_frames_come_back_as_they_were(folder, open_spool):
    broken_off(folder)
    spool = open_spool()
    assert spool.resume_handle == HANDLE
    assert spool.recover() == []
    for seq, kept in enumerate(spool.items):
        again = kept.load()
        assert again == frame(seq)
        np.testing.assert_array_equal(again.pixels, frame(seq).pixels)


def test_what_was_dealt_with_is_dropped_but_for_the_last_of_each_plane(folder, open_spool):
    spool = open_spool()
    spool.begin(HANDLE)
    for seq in range(8):
        spool.keep(frame(seq, z=seq % 2))
    spool.settle(5)
    assert files(folder) == [3, 4, 5, 6, 7]
    assert spool.find(3).seq == 3
    assert spool.find(2) is None
    spool.close(done=False)

    spool = open_spool()
    spool.recover()
    assert [item.seq for item in spool.items] == [5, 6, 7]
    assert spool.find(4).seq == 4
    spool.settle(8)
    assert files(folder) == [6, 7]
    assert spool.bytes == sum(path.stat().st_size for path in folder.glob("*.frame"))
    spool.close(done=True)
    assert not folder.exists()


def test_a_program_cannot_go_back_behind_what_it_has_dealt_with(folder, open_spool):
    broken_off(folder)
    spool = open_spool()
    spool.recover()
    spool.settle(3)
    spool.close(done=False)
    spool = open_spool()
    with pytest.raises(SpoolError, match="from 3 on, as frames before are gone, got 2"):
        spool.recover(2)
    spool.recover(4)
    assert spool.items == []


def test_a_full_spool_says_so_and_keeps_what_it_has(folder, open_spool):
    spool = open_spool()
    spool.begin(HANDLE)
    for seq in range(2):
        spool.keep(frame(seq))
    spool.max_bytes = spool.bytes
    with pytest.raises(SpoolFull, match="exceed its limit"):
        spool.keep(frame(2))
    assert files(folder) == [0, 1]
    spool.settle(2)
    spool.keep(frame(2))


def test_a_disk_that_would_be_full_is_left_alone(folder, open_spool):
    spool = open_spool(reserve_bytes=2**60)
    spool.begin(HANDLE)
    with pytest.raises(SpoolFull, match="are not touched; free some"):
        spool.keep(frame(0))
    assert files(folder) == []


def test_one_program_at_a_time(folder, open_spool):
    spool = open_spool()
    with pytest.raises(SpoolError, match="used by another program"):
        Spool(folder)
    spool.close(done=False)
    Spool(folder).close(done=False)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such permissions")
def test_only_their_owner_reads_frames_and_token(folder):
    broken_off(folder)
    for path in (folder / "stream.json", *folder.glob("*.frame")):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_last_file_that_is_cut_short_was_never_promised(folder, open_spool):
    broken_off(folder)
    last = folder / f"{3:012d}.frame"
    last.write_bytes(last.read_bytes()[:-1])
    spool = open_spool()
    assert spool.recover() == []
    assert [item.seq for item in spool.items] == [0, 1, 2]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda content: content[:-1], "cut short"),
        (lambda content: content[:10], "cut short"),
        (lambda content: content[:-1] + b"\xff", "damaged"),
        (lambda content: b"II*\0" + content[4:], "expected a spooled frame"),
    ],
)
def test_a_damaged_file_leaves_a_named_hole(folder, open_spool, change, says):
    broken_off(folder)
    path = folder / f"{1:012d}.frame"
    path.write_bytes(change(path.read_bytes()))
    spool = open_spool()
    (damage,) = spool.recover()
    assert says in str(damage)
    assert [type(item).__name__ for item in spool.items] == ["SpooledFrame", "Skip", *["SpooledFrame"] * 2]
    assert spool.items[1] == Skip("s0", 1, 1, "its file was damaged")


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"version": 2}', '{"version": 1, "open": {}}'])
def test_what_resumes_no_stream_is_refused(folder, text):
    broken_off(folder)
    (folder / "stream.json").write_text(text)
    with pytest.raises(SpoolError, match=r"stream\.json: expected"):
        Spool(folder)


def test_a_folder_without_a_stream_cannot_be_resumed_and_one_with_a_stream_not_be_opened(folder, peer):
    server = peer()
    with Client(server.endpoint) as client, pytest.raises(SpoolError, match="holds no stream"):
        client.resume(folder)
    broken_off(folder)
    with Client(server.endpoint) as client, pytest.raises(SpoolError, match="continue it with resume"):
        client.open(SHAPE, "uint16", spool=folder)


def test_nobody_waits_for_a_server_that_is_away(folder, peer):
    server = peer()
    with Client(server.endpoint, timeout_s=0.5) as client:
        stream = client.open(SHAPE, "uint16", spool=Spool(folder, memory_bytes=400))
        stream.send(frame(0).pixels)
        server.leave()
        for seq in range(1, 300):
            stream.send(frame(seq).pixels)
        assert stream.backlog >= 299  # all were taken before anybody was there again
        server.away.clear()
        stream.finish()
        assert [result.pixels[0, 0] for result in stream.results()] == list(range(300))
        assert stream.backlog == 0
    assert not folder.exists()


PROGRAM = """
import sys, time, numpy as np
from dimstream_client import Client
endpoint, folder, resume = sys.argv[1:]
client = Client(endpoint, timeout_s=60)
if resume == "no":
    stream = client.open((8, 10), "uint16", spool=folder)
    for seq in range(40):
        stream.send(np.full((8, 10), seq, np.uint16))
else:
    stream = client.resume(folder)
stream.finish()
for result in stream.results():
    print(result.seq, result.pixels[0, 0], flush=True)
    time.sleep(0.01)
"""


def run(server, folder, resume, *, until_frame):
    """Run the program, kill it once it has dealt with so many frames; return those."""
    command = [sys.executable, "-c", PROGRAM, server.endpoint, str(folder), resume]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as program:
        got = []
        for line in program.stdout:
            seq, value = map(int, line.split())
            assert seq == value
            got.append(seq)
            if seq == until_frame:
                program.kill()
                break
        program.stdout.read()
    return got


@pytest.mark.slow
def test_a_program_that_is_killed_goes_on_where_it_stopped(folder, peer):
    server = peer(window=4)
    first = run(server, folder, "no", until_frame=11)
    second = run(server, folder, "yes", until_frame=23)
    third = run(server, folder, "yes", until_frame=None)
    # the result that a killed program was dealing with comes to it again, and no other
    assert first == list(range(12))
    assert second[0] in (11, 12)
    assert second == list(range(second[0], 24))
    assert third == list(range(third[0], 40))
    assert third[0] in (23, 24)
    assert not folder.exists()


def test_results_that_nobody_takes_are_bounded_even_at_the_end(folder, peer):
    server = peer(window=4)
    with Client(server.endpoint, timeout_s=60) as client:
        stream = client.open(SHAPE, "uint16", spool=folder)
        for seq in range(60):
            stream.send(frame(seq).pixels)
        stream.finish()
        deadline = time.monotonic() + 60
        while len(server.seqs()) < 8:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        time.sleep(0.3)
        assert len(server.seqs()) == 8  # and no more come
        assert len(list(stream.results())) == 60


def test_a_buffer_in_memory_takes_frames_for_later(peer):
    server = peer(window=2)
    server.hold.set()
    with Client(server.endpoint, timeout_s=60) as client:
        stream = client.open(SHAPE, "uint16", buffer_bytes=20 * 160)
        for seq in range(20):
            stream.send(frame(seq).pixels, timeout_s=0)
        with pytest.raises(Timeout):
            stream.send(frame(20).pixels, timeout_s=0)
        server.hold.clear()
        stream.finish()
        assert [result.seq for result in stream.results()] == list(range(20))
