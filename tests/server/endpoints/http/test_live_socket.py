"""The live view's WebSocket: what viewers get, who gets in, and what a viewer cannot do to others."""

import contextlib
import http.client
import json
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from live_viewers import PATIENCE_S, decoded, viewing
from websockets.exceptions import ConnectionClosed, InvalidStatus

from dimstream_client.keys import TOKEN, make_token, read_only_entry
from dimstream_server.endpoints.http.websocket_fragments import PIECE_BYTES
from dimstream_server.security import access

SHAPE = (24, 32)


def send(peer: Any, stream: str, count: int, *, first: int = 0, make: Any) -> list[Any]:
    return [peer.denoise(stream, seq, make(SHAPE, seq=seq)) for seq in range(first, first + count)]


@pytest.fixture
def make_frame(make_counts: Any) -> Callable[..., Any]:
    return lambda shape, *, seq: make_counts(shape, seed=seq)


def refusal(http: str, **options: Any) -> tuple[int, dict[str, Any]]:
    with pytest.raises(InvalidStatus) as refused, viewing(http, **options):
        pass
    response = refused.value.response
    return response.status_code, json.loads(response.body)


def test_a_viewer_gets_the_frames_as_they_came_and_went(server: Any, peer: Any, make_frame: Any) -> None:
    stream = peer.open(SHAPE, pixel_size_um=0.02, channels=("er",)).stream
    with viewing(server.addresses.http) as viewer:
        viewer.watch(stream=stream, parts=["raw", "denoised"], rows=True)
        (result,) = send(peer, stream, 1, make=make_frame)
        header, arrays = viewer.of_kind("frame")
        np.testing.assert_array_equal(arrays["raw"], make_frame(SHAPE, seq=0))
        np.testing.assert_array_equal(arrays["denoised"], result.pixels)
        assert (header["seq"], header["flag"], header["reason"]) == (0, result.flag, result.reason)
        status, _ = viewer.until(lambda header: header["type"] == "status" and header["streams"])
        (known,) = [one for one in status["streams"] if one["stream"] == stream]
        assert (known["pixel_size_um"], known["channels"], known["state"]) == (0.02, ["er"], "open")


def test_a_large_frame_comes_in_pieces_between_which_pings_are_answered(
    server: Any, peer: Any, make_frame: Any
) -> None:
    shape = (512, 520)
    stream = peer.open(shape).stream
    result = peer.denoise(stream, 0, make_frame(shape, seq=0))
    with viewing(server.addresses.http) as viewer:
        viewer.watch(stream=stream, parts=["raw", "denoised"])
        answered = viewer.socket.ping()
        header: dict[str, Any] = {}
        while header.get("type") != "frame":
            pieces = list(viewer.socket.recv_streaming())
            header, arrays = decoded(b"".join(pieces))  # type: ignore[arg-type]
        assert [len(piece) for piece in pieces[:-1]] == [PIECE_BYTES] * 8
        np.testing.assert_array_equal(arrays["raw"], make_frame(shape, seq=0))
        np.testing.assert_array_equal(arrays["denoised"], result.pixels)
        assert answered.wait(60)


def test_the_timeline_has_every_frame_also_those_before_the_viewer_came(
    server: Any, peer: Any, make_frame: Any
) -> None:
    stream = peer.open(SHAPE).stream
    results = send(peer, stream, 5, make=make_frame)
    with viewing(server.addresses.http) as viewer:
        viewer.watch(stream=stream, rows=True)
        seen: list[float] = []
        while len(seen) < 7:
            header, arrays = viewer.of_kind("rows")
            assert header["first"] == len(seen)
            seen += arrays["seq"].tolist()
            for seq, ssim in zip(arrays["seq"], arrays["ssim"], strict=True):
                raw = make_frame(SHAPE, seq=int(seq))
                at = int(np.flatnonzero(arrays["seq"] == seq)[0])
                assert arrays["intensity"][at] == pytest.approx(raw.mean())
                if seq == 0:
                    assert np.isnan(ssim)
            if len(seen) == 5:
                results += send(peer, stream, 2, first=5, make=make_frame)
        assert seen == list(range(7))


def test_a_frame_of_the_past_comes_again_and_one_that_is_gone_is_named(
    start_server: Any, connect: Any, make_frame: Any
) -> None:
    frame_bytes = 2 * 24 * 32 * 2  # raw and denoised
    server = start_server("blur", live={"memory_bytes": 4 * frame_bytes})
    peer = connect(server)
    stream = peer.open(SHAPE).stream
    send(peer, stream, 8, make=make_frame)
    with viewing(server.addresses.http) as viewer:
        viewer.until(lambda header: header["type"] == "status" and header["streams"][0]["newest_seq"] == 7)
        viewer.watch(stream=stream, seq=5, parts=["raw"])
        _, arrays = viewer.of_kind("frame")
        np.testing.assert_array_equal(arrays["raw"], make_frame(SHAPE, seq=5))
        viewer.watch(stream=stream, seq=1, parts=["raw"])
        assert viewer.of_kind("missing")[0]["seq"] == 1


def test_who_does_not_acknowledge_gets_three_messages_then_the_newest(
    server: Any, peer: Any, make_frame: Any
) -> None:
    stream = peer.open(SHAPE).stream
    with viewing(server.addresses.http) as viewer:
        viewer.watch(stream=stream, parts=["raw"])
        send(peer, stream, 3, make=make_frame)
        for _ in range(3):
            viewer.read()
        send(peer, stream, 4, first=3, make=make_frame)
        with pytest.raises(TimeoutError):
            viewer.socket.recv(0.3)
        viewer.done()
        header, _ = viewer.until(lambda header: header["type"] == "frame" and header["seq"] > 2)
        assert header["seq"] == 6


def test_planes_are_told_apart_and_pixels_can_be_left_out(server: Any, peer: Any, make_frame: Any) -> None:
    from dimstream_client.messages import Frame, PlaneIndex

    stream = peer.open(SHAPE).stream
    for seq in range(4):
        peer.ask(Frame(stream, seq, make_frame(SHAPE, seq=seq), index=PlaneIndex(t=seq // 2, z=seq % 2)))
    with viewing(server.addresses.http) as viewer:
        viewer.watch(stream=stream, plane=[0, 0, 0], parts=["raw"], step=2)
        header, arrays = viewer.of_kind("frame")
        assert (header["seq"], header["index"]) == (2, {"t": 1, "c": 0, "z": 0, "p": 0})
        np.testing.assert_array_equal(arrays["raw"], make_frame(SHAPE, seq=2)[::2, ::2])


@pytest.mark.parametrize(
    "said",
    [
        "{",
        "[" * 4000,
        '{"type": "watch"}',
        '{"type": "watch", "views": [{"stream": "a", "more": 1}]}',
        '{"type": "watch", "views": [{"stream": "a", "step": 0}]}',
        '{"type": "done", "count": 99}',
        '{"type": "stop"}',
        '{"type": "' + "é" * 200 + '"}',  # the reason would not fit into a close frame
        b"bytes",
    ],
)
def test_what_is_no_message_ends_the_viewer(server: Any, said: str | bytes) -> None:
    with viewing(server.addresses.http) as viewer:
        viewer.socket.send(said)
        with pytest.raises(ConnectionClosed) as closed:
            viewer.of_kind("never")
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1008


def test_text_that_is_no_utf8_ends_the_viewer_and_is_no_fault(server: Any, caplog: Any) -> None:
    with viewing(server.addresses.http) as viewer:
        viewer.socket.send(b"\xff", text=True)
        with pytest.raises(ConnectionClosed) as closed:
            viewer.of_kind("never")
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1007
    assert [record for record in caplog.records if record.exc_info] == []


def test_who_speaks_before_it_is_let_in_is_no_fault(start_server: Any, request_of: Any, caplog: Any) -> None:
    server = start_server("blur", limits={"max_requests_per_s_per_client": 1})
    host, port = server.addresses.http.removeprefix("http://").split(":")
    assert request_of("GET", "/v1/models", server=server).status == 200
    with socket.create_connection((host, int(port)), timeout=PATIENCE_S) as early:
        early.sendall(handshake(f"{host}:{port}"))  # too soon, so it waits for its refusal
        assert request_of("GET", "/livez", server=server).status == 200  # the head was read by now
        with contextlib.suppress(ConnectionError):  # it was refused meanwhile
            early.sendall(b"\x81\x01x")  # not masked
            while early.recv(4096):
                pass
    assert request_of("GET", "/livez", server=server).status == 200
    assert [record for record in caplog.records if record.exc_info] == []


def test_who_sends_without_end_is_shut_out(server: Any, request_of: Any) -> None:
    def say_without_end(viewer: Any) -> None:
        for _ in range(100_000):
            viewer.say({"type": "watch", "views": []})

    with viewing(server.addresses.http) as viewer, pytest.raises(ConnectionClosed):
        say_without_end(viewer)
    assert request_of("GET", "/livez").status == 200


@pytest.mark.slow
def test_who_never_reads_is_ended_and_holds_up_nobody(
    start_server: Any, connect: Any, make_frame: Any
) -> None:
    shape = (1024, 1024)  # larger than what the system buffers
    server = start_server("blur", http={"stall_s": 0.5})
    peer = connect(server)
    stream = peer.open(shape).stream
    host, port = server.addresses.http.removeprefix("http://").split(":")
    with socket.socket() as silent:
        silent.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        silent.connect((host, int(port)))
        silent.sendall(handshake(f"{host}:{port}"))
        assert silent.recv(12).startswith(b"HTTP/1.1 101")
        wish = {"type": "watch", "views": [{"stream": stream, "parts": ["raw", "denoised"]}]}
        silent.sendall(masked(json.dumps(wish).encode()))
        for seq in range(3):
            peer.denoise(stream, seq, make_frame(shape, seq=seq))
        viewers = gauge(server, "dimstream_live_viewers")
        deadline = time.monotonic() + PATIENCE_S
        while viewers() and time.monotonic() < deadline:
            time.sleep(0.05)
        assert viewers() == 0


def handshake(host: str, *further: str) -> bytes:
    lines = ["GET /live/ws HTTP/1.1", f"Host: {host}", "Connection: Upgrade", "Upgrade: websocket"]
    lines += [*further, "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==", "", ""]
    return "\r\n".join(lines).encode()


def masked(payload: bytes) -> bytes:
    """A text frame of at most 125 bytes, masked by zeros."""
    assert len(payload) < 126
    return bytes([0x81, 0x80 | len(payload), 0, 0, 0, 0]) + payload


def gauge(server: Any, name: str) -> Callable[[], float]:
    def read() -> float:
        connection = http.client.HTTPConnection(server.addresses.http.removeprefix("http://"))
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
        connection.close()
        (line,) = [line for line in text.splitlines() if line.startswith(f"{name} ")]
        return float(line.split()[1])

    return read


def test_as_many_viewers_as_there_may_be(start_server: Any) -> None:
    server = start_server("blur", live={"max_viewers": 2})
    with viewing(server.addresses.http):
        status, problem = refusal(server.addresses.http)
        assert (status, problem["code"]) == (503, "server_busy")
    deadline = time.monotonic() + PATIENCE_S
    while gauge(server, "dimstream_live_viewers")() and time.monotonic() < deadline:
        time.sleep(0.05)
    with viewing(server.addresses.http) as viewer:
        viewer.of_kind("status")


def test_the_live_view_can_be_turned_off(
    start_server: Any, connect: Any, request_of: Any, make_frame: Any
) -> None:
    server = start_server("blur", live={"max_viewers": 0})
    peer = connect(server)
    stream = peer.open(SHAPE).stream
    send(peer, stream, 1, make=make_frame)
    assert refusal(server.addresses.http)[0] == 503
    kept = request_of("GET", f"/live/frame.tif?stream={stream}&seq=0", server=server)
    assert kept.status == 404


def test_a_viewer_gives_way_when_a_request_needs_its_place(start_server: Any, request_of: Any) -> None:
    server = start_server("blur", http={"max_connections": 1})
    with viewing(server.addresses.http) as viewer:
        viewer.of_kind("status")
        assert request_of("GET", "/v1/models", server=server).status == 200
        with pytest.raises(ConnectionClosed):
            viewer.of_kind("never")


def test_pages_of_other_sites_are_refused(server: Any, request_of: Any) -> None:
    own = server.addresses.http
    status, problem = refusal(own, origin="https://elsewhere.example")
    assert (status, problem["code"]) == (403, "bad_origin")
    assert refusal(own, origin=own.rpartition(":")[0] + ":1")[1]["code"] == "bad_origin"
    assert request_of("GET", "/v1/models", headers={"Origin": "null"}).status == 403
    assert request_of("GET", "/v1/models", headers={"Origin": own}).status == 200
    with viewing(own, origin=own) as viewer:
        viewer.of_kind("status")


def test_a_request_that_is_no_handshake_is_refused(server: Any, request_of: Any) -> None:
    plain = request_of("GET", "/live/ws")
    assert (plain.status, json.loads(plain.body)["code"]) == (426, "upgrade_required")
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket"}
    assert request_of("GET", "/live/ws", headers=upgrade).status == 400
    assert request_of("GET", "/v1/models", headers=upgrade).status == 200  # there is none here
    long = {**upgrade, "Cookie": "x" * 9000}
    refused = request_of("GET", "/live/ws", headers=long)
    assert (refused.status, json.loads(refused.body)["code"]) == (431, "head_too_large")


@pytest.mark.parametrize("line", ["Content-Length: 5", "Transfer-Encoding: chunked", "Cookie: a\x01b"])
def test_a_head_that_no_websocket_has_is_answered(server: Any, line: str) -> None:
    host, port = server.addresses.http.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=PATIENCE_S) as peer:
        peer.sendall(handshake(f"{host}:{port}", line))
        answer = b"".join(iter(lambda: peer.recv(4096), b""))
    assert answer.startswith(b"HTTP/1.1 400")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["code"] == "bad_request"


@pytest.fixture
def locked(start_server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A server that wants tokens; and a token that may do everything, and one that may only look."""
    monkeypatch.setattr(access, "LOOK_S", 0.05)
    full = read_only_entry(make_token(tmp_path / "tokens", "script"), TOKEN).value
    looking = read_only_entry(make_token(tmp_path / "viewers", "office"), TOKEN).value
    tables = {"tokens": str(tmp_path / "tokens"), "viewer_tokens": str(tmp_path / "viewers")}
    return start_server("blur", http=tables), full, looking


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def test_the_page_is_open_and_what_it_shows_is_not(locked: Any, request_of: Any) -> None:
    server, full, looking = locked
    for path in ("/live", "/live/assets/app.js"):
        assert request_of("GET", path, server=server).status == 200
    assert request_of("GET", "/live/assets/..%2fview.py", server=server).status == 404
    assert request_of("POST", "/live/ticket", server=server).status == 401
    assert refusal(server.addresses.http)[0] == 401
    for token in (full, looking):
        with viewing(server.addresses.http, token=token) as viewer:
            viewer.of_kind("status")


def test_a_ticket_lets_one_viewer_in_once(locked: Any, request_of: Any) -> None:
    server, _, looking = locked
    answer = request_of("POST", "/live/ticket", headers=bearer(looking), server=server)
    ticket = json.loads(answer.body)["ticket"]
    with viewing(server.addresses.http, tickets=(ticket,)) as viewer:
        assert viewer.socket.subprotocol == "dimstream-live-1"
        viewer.of_kind("status")
    assert refusal(server.addresses.http, tickets=(ticket,))[1]["code"] == "bad_token"


def test_a_viewers_token_may_look_and_no_more(locked: Any, request_of: Any) -> None:
    server, full, looking = locked
    assert request_of("GET", "/v1/streams", headers=bearer(looking), server=server).status == 200
    path = "/v1/models/blur/denoise"
    refused = request_of("POST", path, b"", bearer(looking), server=server)
    assert (refused.status, json.loads(refused.body)["code"]) == (403, "read_only")
    assert request_of("POST", path, b"", bearer(full), server=server).status == 422


def test_a_viewer_whose_token_is_taken_back_is_sent_away(locked: Any, tmp_path: Path) -> None:
    server, _, looking = locked
    with viewing(server.addresses.http, token=looking) as viewer:
        viewer.of_kind("status")
        (tmp_path / "viewers" / "office.token").unlink()
        with pytest.raises(ConnectionClosed) as closed:
            viewer.of_kind("never")
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1008


def test_a_server_that_stops_says_goodbye(start_server: Any) -> None:
    server = start_server("blur")
    with viewing(server.addresses.http) as viewer:
        viewer.of_kind("status")
        server.begin_stop()
        with pytest.raises(ConnectionClosed) as closed:
            viewer.of_kind("never")
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1012
    assert server.wait_stopped()
