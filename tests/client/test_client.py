import contextlib
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import dimstream_client
from dimstream_client import Client, PlaneIndex, QualityMetrics, SplitResult
from dimstream_client.errors import Code, ConnectionLost, DimstreamError, FrameError, StreamError, Timeout

SHAPE = (12, 16)


def movie(n):
    return [np.full(SHAPE, value, np.uint16) for value in range(n)]


def values(results):
    return [int(result.pixels[0, 0]) for result in results]


def until(condition, timeout_s=60):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "the condition never came true"
        time.sleep(0.005)


def test_a_movie_streams_there_and_back_in_order(peer):
    with Client(peer().endpoint) as client:
        results = list(client.stream(movie(30)))
    assert [result.seq for result in results] == list(range(30))
    assert values(results) == list(range(30))


def test_an_empty_movie_has_no_results(peer):
    with Client(peer().endpoint) as client:
        assert list(client.stream([])) == []


def test_frames_carry_their_place(peer):
    with Client(peer().endpoint) as client:
        frames = [(frame, PlaneIndex(t=n // 2, z=n % 2)) for n, frame in enumerate(movie(4))]
        assert [r.index for r in client.stream(frames)] == [index for _, index in frames]


def test_settings_reach_the_server(peer):
    server = peer()
    with Client(server.endpoint, name="scope") as client:
        list(client.stream(movie(2), out_dtype="float32", window=3, pixel_size_um=0.02, user="u"))
    request = server.opened[0]
    assert (request.client, request.out_dtype, request.window) == ("scope", "float32", 3)


def test_maps_come_with_the_results_and_without_pixels(peer):
    frames = [np.arange(192, dtype=np.uint16).reshape(SHAPE) + value for value in range(3)]
    with Client(peer().endpoint) as client:
        for deliver in ("result", "flags"):
            results = list(client.stream(frames, maps=True, deliver=deliver, checksum="crc32"))
            assert [result.pixels is None for result in results] == [deliver == "flags"] * 3
            for result, frame in zip(results, frames, strict=True):
                assert result.support.dtype == np.uint8
                np.testing.assert_array_equal(result.support, frame % 2)
        assert next(client.stream(frames)).support is None


def test_error_bars_come_with_the_results_and_without_pixels(peer):
    frames = [np.arange(192, dtype=np.uint16).reshape(SHAPE) + value for value in range(3)]
    server = peer()
    with Client(server.endpoint) as client:
        for deliver, maps in (("result", False), ("flags", True), ("flags", False)):
            results = list(client.stream(frames, sd=True, maps=maps, deliver=deliver, checksum="crc32"))
            assert [result.support is not None for result in results] == [maps] * 3
            for result, frame in zip(results, frames, strict=True):
                assert result.sd.dtype == np.float32
                np.testing.assert_array_equal(result.sd, frame / 4)
        assert next(client.stream(frames)).sd is None
    assert [request.sd for request in server.opened] == [True, True, True, None]


def test_photons_are_split_now_and_then(peer):
    with Client(peer().endpoint) as client:
        results = list(client.stream(movie(5), split_every=2))
    assert [result.quality.split is not None for result in results] == [True, False] * 2 + [True]
    assert results[0].quality == QualityMetrics(
        structure_score=9.5, unsupported_fraction=0.25, split=SplitResult(t_ms=2.0, ssim=0.5)
    )


def test_results_come_before_the_next_frame_of_a_slow_camera(peer):
    more = threading.Event()

    def camera():
        yield movie(1)[0]
        assert more.wait(60)
        yield movie(1)[0]

    with Client(peer().endpoint) as client:
        results = client.stream(camera())
        assert next(results).seq == 0
        more.set()
        assert next(results).seq == 1


def test_checksums_are_used_when_they_were_agreed(peer):
    with Client(peer().endpoint) as client:
        assert values(client.stream(movie(5), checksum="crc32")) == list(range(5))


def test_two_streams_share_a_client(peer):
    with Client(peer().endpoint) as client:
        one, two = client.stream(movie(9)), client.stream(movie(9))
        pairs = list(zip(one, two, strict=True))
    assert [a.seq for a, _ in pairs] == [b.seq for _, b in pairs] == list(range(9))


def test_push_style_with_a_callback(peer):
    got = []
    with Client(peer().endpoint) as client, client.open(SHAPE, "uint16", on_result=got.append) as stream:
        for frame in movie(40):
            stream.send(frame)
        closed = stream.close()
    assert values(got) == list(range(40))
    assert closed.counts == {"frames": 40}


def test_results_can_be_taken_after_close(peer):
    with Client(peer(window=4).endpoint) as client, client.open(SHAPE, "uint16") as stream:
        for frame in movie(8):
            stream.send(frame)
        stream.close()
        assert values(stream.results()) == list(range(8))


def test_an_array_may_be_reused_right_after_send(peer):
    with Client(peer().endpoint) as client, client.open(SHAPE, "uint16") as stream:
        buffer = np.zeros(SHAPE, np.uint16)
        for value in range(6):
            buffer[:] = value
            stream.send(buffer)
        stream.finish()
        assert values(stream.results()) == list(range(6))


def test_send_blocks_no_longer_than_told_and_keeps_nothing_half_sent(peer):
    server = peer(window=2)
    server.hold.set()
    with Client(server.endpoint) as client, client.open(SHAPE, "uint16") as stream:
        frames = movie(6)
        for frame in frames[:4]:
            stream.send(frame, timeout_s=0)
        for timeout_s in (0, 0.05):
            with pytest.raises(Timeout):
                stream.send(frames[4], timeout_s=timeout_s)
        until(lambda: server.seqs() == [0, 1])  # the window, and not one more
        server.hold.clear()
        assert next(stream.results()).seq == 0
        assert stream.send(frames[4]) == 4
        stream.finish()
        assert values(stream.results()) == [1, 2, 3, 4]


def test_latest_mode_sends_the_newest_and_names_the_hole(peer):
    server = peer()
    server.hold.set()
    with Client(server.endpoint) as client, client.open(SHAPE, "uint16", mode="latest") as stream:
        for frame in movie(10):
            stream.send(frame, timeout_s=0)
        until(lambda: server.seqs() == [0, 1])
        server.hold.clear()
        stream.finish()
        assert values(stream.results()) == [0, 1, 9]
    assert server.skips() == [(2, 8)]


def test_latest_mode_holds_back_while_results_are_not_taken(peer):
    server = peer()
    with Client(server.endpoint) as client, client.open(SHAPE, "uint16", mode="latest") as stream:
        for frame in movie(4):
            stream.send(frame)
            until(lambda seq=int(frame[0, 0]): seq in server.seqs())
        for frame in movie(50)[4:]:
            stream.send(frame)
        time.sleep(0.05)
        assert server.seqs() == [0, 1, 2, 3]
        got = [next(stream.results()) for _ in range(4)]
        stream.finish()
        got += stream.results()
    assert values(got) == [0, 1, 2, 3, 49]
    assert server.skips() == [(4, 48)]


def test_a_named_gap_uses_up_its_numbers(peer):
    server = peer(window=2)
    with Client(server.endpoint) as client, client.open(SHAPE, "uint16") as stream:
        stream.send(movie(1)[0])
        stream.skip(5, reason="shutter closed")
        assert stream.send(movie(2)[1]) == 6
        stream.finish()
        assert [r.seq for r in stream.results()] == [0, 6]


@pytest.mark.parametrize("code", [Code.BAD_CHECKSUM, Code.OVER_CREDIT])
def test_a_retryable_refusal_is_sent_again_from_there(peer, code):
    server = peer(refuse={3: [code], 7: [code, code]})
    with Client(server.endpoint) as client:
        assert values(client.stream(movie(20))) == list(range(20))


def test_a_busy_server_is_tried_again_until_it_has_room(peer):
    server = peer(refuse={3: [Code.SERVER_BUSY] * 8})
    with Client(server.endpoint) as client:
        assert values(client.stream(movie(6))) == list(range(6))


def test_a_refused_frame_surfaces_in_its_place_and_the_stream_goes_on(peer):
    server = peer(refuse={3: [Code.NOT_FINITE], 19: [Code.WRONG_DTYPE]})
    server.hold.set()
    threading.Timer(0.1, server.hold.clear).start()
    told = []
    with Client(server.endpoint) as client:
        results = client.stream(movie(20))
        while True:
            try:
                told.append(next(results).seq)
            except StreamError as error:
                told.append((error.seq, error.code))
            except StopIteration:
                break
    refused = {3: (3, Code.NOT_FINITE), 19: (19, Code.WRONG_DTYPE)}
    assert told == [refused.get(n, n) for n in range(20)]
    assert {(3, 3), (19, 19)} <= set(server.skips())


def test_a_refused_frame_surfaces_at_the_next_call_of_a_callback_user(peer):
    server = peer(refuse={0: [Code.NOT_FINITE]})
    got = []
    with Client(server.endpoint) as client, client.open(SHAPE, "uint16", on_result=got.append) as stream:
        stream.send(movie(1)[0])
        until(server.skips)
        time.sleep(0.05)
        with pytest.raises(StreamError) as refused:
            stream.send(movie(1)[0])
        assert refused.value.seq == 0
        stream.send(movie(1)[0])
    assert [r.seq for r in got] == [1]


def test_a_frame_that_is_refused_again_and_again_is_given_up(peer):
    server = peer(refuse={2: [Code.BAD_CHECKSUM] * 6})
    with Client(server.endpoint) as client:
        results = client.stream(movie(5))
        assert [next(results).seq for _ in range(2)] == [0, 1]
        with pytest.raises(StreamError) as refused:
            next(results)
        assert (refused.value.seq, refused.value.code) == (2, Code.BAD_CHECKSUM)
        assert [r.seq for r in results] == [3, 4]


def test_a_damaged_result_is_asked_for_again(peer):
    server = peer(window=2, damage=[1, 1])
    with Client(server.endpoint) as client:
        results = client.stream([frame + 1 for frame in movie(4)], checksum="crc32")
        assert values(results) == [1, 2, 3, 4]
    assert [message.next_result for message in server.opened] == [0, 1, 1]


def test_a_result_that_comes_damaged_again_and_again_ends_the_stream(peer):
    server = peer(window=1, damage=[1] * 20)
    with Client(server.endpoint) as client:
        results = client.stream([frame + 1 for frame in movie(4)], checksum="crc32")
        assert next(results).seq == 0
        with pytest.raises(FrameError) as damaged:
            next(results)
        assert (damaged.value.seq, damaged.value.code) == (1, Code.BAD_CHECKSUM)


def test_a_draining_server_answers_what_it_accepted_and_gets_the_rest_when_it_is_back(peer):
    server = peer(window=2)
    server.hold.set()
    with Client(server.endpoint) as client, client.open(SHAPE, "uint16") as stream:
        for frame in movie(2):
            stream.send(frame)
        until(lambda: server.seqs() == [0, 1])
        server.draining = True
        stream.send(movie(1)[0])
        server.hold.clear()
        results = stream.results()
        assert [next(results).seq for _ in range(2)] == [0, 1]
        until(lambda: server.seqs().count(2) > 1)
        server.draining = False
        assert next(results).seq == 2
        assert stream.close().counts == {"frames": 3}


def test_an_unknown_model_is_refused_at_open(peer):
    with Client(peer().endpoint) as client:
        with pytest.raises(StreamError) as refused:
            client.open(SHAPE, "uint16", model="none")
        assert refused.value.code == Code.UNKNOWN_MODEL
        assert values(client.stream(movie(2))) == [0, 1]


def test_update_tells_what_is_in_force(peer):
    with Client(peer().endpoint) as client, client.open(SHAPE, "uint16") as stream:
        stream.send(movie(1)[0])
        updated = stream.update(thresholds={"ssim": 0.25})
        assert (updated.from_seq, updated.thresholds.ssim) == (1, 0.25)
        with pytest.raises(StreamError):
            stream.update(model="none")


def test_frames_of_another_kind_are_refused_before_they_are_sent(peer):
    with Client(peer().endpoint) as client:
        with client.open(SHAPE, "uint16") as stream:
            with pytest.raises(FrameError, match="opened for"):
                stream.send(np.zeros((3, 4), np.uint16))
            with pytest.raises(FrameError, match="opened for"):
                stream.send(np.zeros(SHAPE, np.float32))
            with pytest.raises(DimstreamError):
                stream.send(movie(1)[0], meta={"x": float("nan")})
            assert stream.send(movie(1)[0]) == 0
        for wrong in (np.zeros(SHAPE, np.int64), np.zeros((2, 3, 4), np.uint16), "frame"):
            with pytest.raises(FrameError):
                next(client.stream([wrong]))


def test_what_the_camera_raises_reaches_the_caller_after_its_results(peer):
    def camera():
        yield from movie(3)
        raise OSError("the shutter is stuck")

    got = []
    with Client(peer().endpoint) as client, pytest.raises(OSError, match="stuck"):
        got.extend(r.seq for r in client.stream(camera()))
    with Client(peer().endpoint) as client:
        results = client.stream(camera())
        assert [next(results).seq for _ in range(3)] == [0, 1, 2]


def test_what_the_callback_raises_reaches_the_next_call(peer):
    def on_result(result):
        raise OSError("the disk is full")

    with Client(peer().endpoint) as client:
        stream = client.open(SHAPE, "uint16", on_result=on_result)
        stream.send(movie(1)[0])
        with pytest.raises(DimstreamError, match="the disk is full"):
            stream.close()


def test_a_loop_that_is_left_early_leaves_no_stream_behind(peer):
    server = peer()
    with Client(server.endpoint) as client:
        for result in client.stream(movie(100)):
            if result.seq == 3:
                break
        del result
        until(lambda: any(message.TYPE == "CLOSE" for message in server.log))
        assert values(client.stream(movie(2))) == [0, 1]


def test_ping(peer):
    with Client(peer().endpoint) as client:
        assert client.ping().boot_id == "b"


def test_a_slow_server_is_not_taken_for_lost(peer):
    server = peer()
    server.hold.set()
    with Client(server.endpoint, timeout_s=0.3) as client:
        results = client.stream(movie(1))
        threading.Timer(1.0, server.hold.clear).start()
        assert values(results) == [0]
    assert any(message.TYPE == "PING" for message in server.log)


def test_a_frozen_server_is_found_out_and_the_client_lives_on(peer):
    server = peer()
    with Client(server.endpoint, timeout_s=1.5, outage_s=0) as client:
        results = client.stream(movie(100))
        next(results)
        server.freeze.set()
        with pytest.raises(ConnectionLost, match="silent"):
            for _ in results:
                pass
        server.freeze.clear()
        assert values(client.stream(movie(3))) == [0, 1, 2]


def test_a_server_that_was_frozen_goes_on_with_the_stream(peer):
    server = peer()
    with Client(server.endpoint, timeout_s=0.3) as client:
        results = client.stream(movie(60))
        next(results)
        server.freeze.set()
        threading.Timer(1.0, server.freeze.clear).start()
        assert values(results) == list(range(1, 60))
    assert len(server.opened) > 1


def test_a_server_that_has_forgotten_the_stream_ends_it(peer):
    server = peer()
    with Client(server.endpoint, timeout_s=0.3) as client:
        results = client.stream(movie(60))
        next(results)
        server.forget()
        with pytest.raises(StreamError) as refused:
            for _ in results:
                pass
        assert refused.value.code == Code.BAD_TOKEN


def test_where_nobody_listens():
    with Client("tcp://127.0.0.1:9", timeout_s=0.2) as client, pytest.raises((ConnectionLost, Timeout)):
        client.open(SHAPE, "uint16")
    with pytest.raises(ConnectionLost, match="expected tcp"):
        Client("localhost")


def test_a_closed_client_says_so(peer):
    client = Client(peer().endpoint)
    stream = client.open(SHAPE, "uint16")
    client.close()
    client.close()
    with pytest.raises(ConnectionLost, match="closed"):
        next(stream.results())
    for call in (client.ping, lambda: stream.send(movie(1)[0])):
        with pytest.raises(ConnectionLost, match="closed"):
            call()


@pytest.mark.slow
def test_a_client_that_is_closed_while_another_thread_sends_does_not_hang(peer):
    def send(stream):
        frame = movie(1)[0]
        with contextlib.suppress(ConnectionLost):
            while True:
                stream.send(frame, timeout_s=0)

    server = peer()
    for _ in range(100):
        with Client(server.endpoint) as client:
            sender = threading.Thread(target=send, args=(client.open(SHAPE, "uint16", mode="latest"),))
            sender.start()
        sender.join()


@pytest.mark.slow
def test_importing_the_client_loads_nothing_but_numpy_zmq_and_the_standard_library():
    code = "import dimstream_client, sys; print(*{name.split('.')[0] for name in sys.modules})"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name for name in run.stdout.split() if not name.startswith(("_", "cython"))}
    assert loaded - sys.stdlib_module_names == {"numpy", "zmq", "dimstream_client"}


def test_the_public_names_are_these():
    public = {name for name in vars(dimstream_client) if not name.startswith("_")}
    submodules = {name for name in public if f"dimstream_client.{name}" in sys.modules}
    assert public - submodules | {"Client"} == set(dimstream_client.__all__)
