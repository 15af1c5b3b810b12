"""What goes wrong with one message or callback ends no other stream, and nobody waits in vain."""

import contextlib
import os
import sys
import threading
import time
from concurrent.futures import Future

import numpy as np
import pytest

from dimstream_client import Client, Frame, PlaneIndex, Spool
from dimstream_client.connection import Connection
from dimstream_client.errors import ArgumentError, Code, ConnectionLost, DimstreamError, StreamError, Timeout
from dimstream_client.messages import Open
from dimstream_client.spool import SpooledFrame
from dimstream_client.stream import Stream

pytestmark = pytest.mark.slow

SHAPE = (12, 16)
STREAMS = int(os.environ.get("DIMSTREAM_SHORT_STREAMS", "300"))


def frame(value=0):
    return np.full(SHAPE, value, np.uint16)


def fail(error):
    def call(*_):
        raise error

    return call


class Bystanders:
    """A stream in memory and one with a spool, which must deliver everything."""

    def __init__(self, client, folder):
        self._folder = folder
        self._streams = [client.open(SHAPE, "uint16"), client.open(SHAPE, "uint16", spool=folder)]
        self.step()

    def step(self):
        for stream in self._streams:
            seq = stream.send(frame(stream.next_seq))
            result = stream.take(timeout_s=60)
            assert (result.seq, int(result.pixels[0, 0])) == (seq, seq)

    def check(self):
        self.step()
        for stream in self._streams:
            stream.close()
            assert stream.take(timeout_s=60) is None
        assert not self._folder.exists()


@pytest.fixture
def bystanders(tmp_path):
    return lambda client: Bystanders(client, tmp_path / "bystander")


@pytest.mark.parametrize(
    "error", [OSError("the disk is full"), SystemExit(3), KeyboardInterrupt(), RecursionError()]
)
def test_what_a_callback_raises_is_told_and_logged(peer, bystanders, caplog, error):
    with Client(peer().endpoint) as client:
        others = bystanders(client)
        stream = client.open(SHAPE, "uint16", on_result=fail(error))
        stream.send(frame())
        with pytest.raises(DimstreamError, match="on_result failed on frame 0") as told:
            stream.close()
        assert told.value.__cause__ is error
        others.check()
    assert "on_result failed on frame 0" in caplog.text


def test_a_result_on_which_the_callback_failed_stays_in_the_spool(peer, tmp_path):
    got = []

    def on_result(result):
        if result.seq == 2 and not got[-1:] == ["again"]:
            raise OSError("the disk is full")
        got.append(result.seq)

    server = peer()
    with Client(server.endpoint) as client:
        stream = client.open(SHAPE, "uint16", spool=tmp_path / "spool", on_result=on_result)
        for value in range(4):
            stream.send(frame(value))
        with pytest.raises(DimstreamError, match="frame 2"):
            stream.close()
    assert got == [0, 1, 3]
    got.append("again")
    with Client(server.endpoint) as client:
        client.resume(tmp_path / "spool", on_result=got.append).close()
    assert [r if isinstance(r, int | str) else r.seq for r in got] == [0, 1, 3, "again", 2, 3]
    assert not (tmp_path / "spool").exists()


def test_a_callback_that_always_fails_takes_no_memory(peer):
    with Client(peer().endpoint) as client:
        stream = client.open(SHAPE, "uint16", on_result=fail(OSError("no")), buffer_bytes=2**20)
        for _ in range(200):
            with contextlib.suppress(DimstreamError):
                stream.send(frame())
        with pytest.raises(DimstreamError):
            stream.close()
        told = 1
        while True:
            try:
                stream.close()
            except DimstreamError:
                told += 1
            else:
                break
        assert told <= 65


WRONG_REFERENCES = {
    "raises": fail(OSError("the disk is gone")),
    "exits": fail(SystemExit()),
    "no frame": lambda seq: "frame",
    "another frame": lambda seq: Frame("s0", seq + 1, frame()),
    "another shape": lambda seq: Frame("s0", seq, np.zeros((2, 2), np.uint16)),
    "another place": lambda seq: Frame("s0", seq, frame(), index=PlaneIndex(t=1.5)),
    "no pixels": lambda seq: Frame("s0", seq, None),
}


@pytest.mark.parametrize("name", WRONG_REFERENCES)
def test_a_program_that_gives_a_frame_again_wrongly_learns_of_it(peer, bystanders, name):
    server = peer()
    with Client(server.endpoint) as client:
        stream = client.open(SHAPE, "uint16")
        resume_handle = stream.resume_handle
        for value in range(3):
            stream.send(frame(value))
            stream.take(timeout_s=60)
    with Client(server.endpoint) as client:
        others = bystanders(client)
        resumed = client.resume_with(resume_handle, next_result=np.int64(3), frame_of=WRONG_REFERENCES[name])
        with pytest.raises(DimstreamError, match="frame 2 cannot be given again"):
            resumed.take(timeout_s=60)
        others.check()


def test_a_frame_given_again_is_taken_as_programs_have_it(peer):
    server = peer()
    with Client(server.endpoint) as client:
        stream = client.open(SHAPE, "uint16")
        stream.send(frame())
        stream.take(timeout_s=60)
        resume_handle = stream.resume_handle
    with Client(server.endpoint) as client:
        again = Frame("whatever", 0, frame(), index=PlaneIndex(t=np.int64(0)), t_acq=np.float32(1))
        resumed = client.resume_with(resume_handle, next_result=1, frame_of=lambda seq: again)
        assert resumed.send(frame(7)) == 1
        assert resumed.take(timeout_s=60).seq == 1
    assert [f.seq for f in server.log if f.TYPE == "FRAME"] == [0, 0, 1]


def test_a_frame_that_cannot_be_read_when_its_turn_comes_is_refused_alone(peer, bystanders):
    with Client(peer().endpoint) as client:
        others = bystanders(client)
        connection = Connection(client._connection.endpoint, timeout_s=60)
        try:
            stream = Stream(connection, Open("c", SHAPE, "uint16"), timeout_s=60, on_result=None)
            for seq in range(4):
                good = Frame(stream.id, seq, frame(seq))
                load = fail(RuntimeError("a bug")) if seq == 1 else lambda good=good: good
                connection.offer(SpooledFrame(stream.id, seq, PlaneIndex(), load))
            assert stream.take(timeout_s=60).seq == 0
            with pytest.raises(StreamError, match="a bug") as refused:
                stream.take(timeout_s=60)
            assert (refused.value.seq, refused.value.code) == (1, Code.FRAME_FAILED)
            assert [stream.take(timeout_s=60).seq for _ in range(2)] == [2, 3]
        finally:
            connection.stop()
        others.check()


def test_an_iterable_that_fails_or_gives_no_frames_ends_its_stream_alone(peer, bystanders):
    def camera(last):
        yield frame(1)
        yield last
        if last is None:
            raise SystemExit("the shutter is stuck")

    with Client(peer().endpoint) as client:
        others = bystanders(client)
        for last in (
            "no frame",
            (frame(),),
            (frame(), {"g": 1}),
            (frame(), 3),
            np.zeros((2, 2), np.uint16),
            None,
        ):
            results = client.stream(camera(last))
            assert next(results).seq == 0
            with pytest.raises((DimstreamError, ValueError)):
                next(results)
        others.check()


class Faulty(Connection):
    """Fails where its thread passes by, once it is told to."""

    broken = False

    def _note_debts(self):
        if self.broken:
            raise RuntimeError("a bug")
        super()._note_debts()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_when_the_io_thread_fails_everybody_learns_of_it_at_once(peer, tmp_path):
    server = peer()
    connection = Faulty(server.endpoint, timeout_s=120)
    stream = Stream(connection, Open("c", SHAPE, "uint16"), timeout_s=120, on_result=None)
    server.hold.set()
    stream.send(frame())
    ping = connection.ping()
    begun = time.monotonic()
    waiting = threading.Thread(target=lambda: told.append(_error_of(lambda: stream.take(timeout_s=120))))
    told = []
    waiting.start()
    closing = connection.close_stream(stream.id, drop=False)
    connection.broken = True
    connection.look_again(stream.id)
    waiting.join()
    assert "a bug" in str(told[0])
    assert ping.done()
    for call in (lambda: closing.result(120), lambda: stream.send(frame()), stream.close, stream.update):
        assert isinstance(_error_of(call), ConnectionLost)
    for call in (
        lambda: connection.ping().result(120),
        lambda: connection.open(stream.request, None).result(120),
    ):
        assert "failed" in str(_error_of(call))
    connection.stop()
    assert time.monotonic() - begun < 60
    server.hold.clear()


def _error_of(call):
    try:
        call()
    except DimstreamError as error:
        return error
    raise AssertionError("no error was raised")


class Slow(Connection):
    """Takes its time to pass a CLOSE on, so that two threads can both be about to."""

    def close_stream(self, stream, *, drop):
        time.sleep(0.1)
        return super().close_stream(stream, drop=drop)


def test_two_threads_that_finish_a_stream_at_once_close_it_once(peer):
    server = peer()
    connection = Slow(server.endpoint, timeout_s=60)
    try:
        stream = Stream(connection, Open("c", SHAPE, "uint16"), timeout_s=60, on_result=None)
        stream.send(frame())
        threads = [threading.Thread(target=call) for call in (stream.finish, stream.finish, stream.abandon)]
        for thread in threads:
            thread.start()
        assert stream.close().counts == {"frames": 1}
        for thread in threads:
            thread.join()
        assert stream.close().counts == {"frames": 1}
    finally:
        connection.stop()
    assert sum(message.TYPE == "CLOSE" for message in server.log) == 1


def test_short_streams_all_end_well(peer):
    """Feeder and caller both finish; `DIMSTREAM_SHORT_STREAMS` says how many are tried."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with Client(peer().endpoint) as client:
            for _ in range(STREAMS):
                results = client.stream([frame(), frame()])
                assert [r.seq for r in results] == [0, 1]
                assert results.stream.close().counts == {"frames": 2}
    finally:
        sys.setswitchinterval(interval)


def test_a_close_that_took_too_long_can_be_tried_again(peer):
    server = peer()
    server.hold.set()
    with Client(server.endpoint) as client:
        stream = client.open(SHAPE, "uint16")
        stream.send(frame())
        for _ in range(2):
            with pytest.raises(Timeout):
                stream.close(timeout_s=0.05)
        server.hold.clear()
        assert stream.close().counts == {"frames": 1}


def test_many_threads_send_into_one_stream(peer):
    with Client(peer().endpoint) as client:
        stream = client.open(SHAPE, "uint16", buffer_bytes=2**20)
        sent = []
        threads = [
            threading.Thread(target=lambda: sent.extend(stream.send(frame()) for _ in range(50)))
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        results = [stream.take(timeout_s=60).seq for _ in range(200)]
        for thread in threads:
            thread.join()
        assert results == sorted(sent) == list(range(200))


def test_a_callback_may_close_its_client(peer):
    closed = threading.Event()
    with Client(peer().endpoint) as client:

        def on_result(result):
            client.close()
            closed.set()

        client.open(SHAPE, "uint16", on_result=on_result).send(frame())
        assert closed.wait(60)


def test_a_stream_that_is_open_here_is_not_resumed_beside_itself(peer):
    with Client(peer().endpoint) as client:
        stream = client.open(SHAPE, "uint16")
        with pytest.raises(ArgumentError, match="is open in this client"):
            client.resume_with(stream.resume_handle, next_result=0, frame_of=lambda _: None)
        stream.send(frame())
        assert stream.take(timeout_s=60).seq == 0


class LateAnswer(Connection):
    """Answers a CLOSE only after its results have ended, as the I/O thread may."""

    def close_stream(self, stream, *, drop):
        closed, late = super().close_stream(stream, drop=drop), Future()
        closed.add_done_callback(lambda _: threading.Timer(0.2, late.set_result, [closed.result()]).start())
        return late


def test_a_spool_is_removed_also_when_its_results_end_before_close_is_answered(peer, tmp_path):
    connection = LateAnswer(peer().endpoint, timeout_s=60)
    try:
        with Spool(tmp_path / "spool") as spool:
            request = Open("c", SHAPE, "uint16")
            stream = Stream(connection, request, timeout_s=60, on_result=None, spool=spool)
            stream.send(frame())
            stream.finish()
            assert [result.seq for result in stream.results()] == [0]
            assert not (tmp_path / "spool").exists()
    finally:
        connection.stop()
