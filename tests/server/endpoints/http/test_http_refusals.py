"""Hostile and mistaken requests: each gets a problem with its code, and the server lives on."""

import contextlib
import http.client
import io
import json
import select
import socket
import struct
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import tifffile

PATH = "/v1/models/blur/denoise"
SHAPE = (24, 32)


def npy(array: Any, **options: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array, **options)
    return file.getvalue()


def npy_header(text: str) -> bytes:
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode()


def saved(array: Any, **options: Any) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, array, **options)
    return file.getvalue()


def huge_tiff() -> bytes:
    """One page that declares 60,000 x 60,000 pixels."""
    data = bytearray(saved(np.zeros(SHAPE, np.uint16)))
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        tags = file.pages[0].tags
        offsets = [tags[name].valueoffset for name in ("ImageWidth", "ImageLength")]
    for offset in offsets:
        data[offset : offset + 4] = struct.pack("<I", 60000)
    return bytes(data)


NAN = np.full(SHAPE, np.nan, np.float32)
COUNTS = np.random.default_rng(0).poisson(3.0, SHAPE).astype(np.uint16)
BODIES: dict[str, tuple[int, str, bytes]] = {
    "empty": (422, "bad_image", b""),
    "garbage": (422, "bad_image", b"certainly no image"),
    "truncated tiff": (422, "bad_image", saved(COUNTS)[:600]),
    "tiff of magic only": (422, "bad_image", b"II*\0"),
    "tiff of 0 pages": (422, "bad_image", b"II*\0\0\0\0\0"),
    "rgb": (422, "bad_image", saved(np.zeros((*SHAPE, 3), np.uint8), photometric="rgb")),
    "nan tiff": (422, "not_finite", saved(NAN)),
    "nan npy": (422, "not_finite", npy(NAN)),
    "nan float64 npy": (422, "not_finite", npy(NAN.astype(np.float64))),
    "huge tiff": (413, "oversize", huge_tiff()),
    "huge npy": (
        413,
        "oversize",
        npy_header("{'descr': '<u2', 'fortran_order': False, 'shape': (60000, 60000)}\n"),
    ),
    "large frame": (413, "oversize", npy(np.zeros((1024, 600), np.uint16))),
    "pickled npy": (422, "wrong_dtype", npy(np.array([[{}]], dtype=object), allow_pickle=True)),
    "truncated npy": (422, "bad_image", npy(COUNTS)[:-3]),
    "npy with a tail": (422, "bad_image", npy(COUNTS) + b"x"),
    "npy of no pixels": (422, "bad_image", npy(np.zeros((0, 5, 5), np.uint16))),
    "npy of one axis": (422, "bad_image", npy(np.zeros(5, np.uint16))),
    "npy header that is code": (422, "bad_image", npy_header("__import__('os').abort()\n")),
    "npy header of minuses": (422, "bad_image", npy_header("-" * 9000 + "1\n")),
    "npy header of parentheses": (422, "bad_image", npy_header("(" * 5000 + "\n")),
    "npy header badly indented": (422, "bad_image", npy_header(" \n  x\n y\n")),
    "npy of negative sides": (
        422,
        "bad_image",
        npy_header("{'descr': '<u2', 'fortran_order': False, 'shape': (-24, -32)}\n") + COUNTS.tobytes(),
    ),
    "npy of true sides": (
        422,
        "bad_image",
        npy_header("{'descr': '<u2', 'fortran_order': False, 'shape': (True, 24, 32)}\n") + COUNTS.tobytes(),
    ),
    "npy header cut short": (422, "bad_image", b"\x93NUMPY\x01\x00\xff\xff{"),
    "npy version 9": (422, "bad_image", b"\x93NUMPY\x09\x00\x01\x00\n"),
    "int64 npy beyond float32": (422, "wrong_dtype", npy(COUNTS.astype(np.int64) + 2**25)),
    "negative float npy": (422, "wrong_dtype", npy(COUNTS.astype(np.float32) - 100)),
    "complex npy": (422, "wrong_dtype", npy(COUNTS.astype(np.complex64))),
    "negative npy": (422, "wrong_dtype", npy(COUNTS.astype(np.int16) - 100)),
}


def problem_of(answer: Any, status: int, code: str) -> dict[str, Any]:
    assert answer.headers["Content-Type"] == "application/problem+json", answer
    problem: dict[str, Any] = json.loads(answer.body)
    assert (answer.status, problem["code"]) == (status, code), problem
    return problem


@pytest.mark.parametrize("case", BODIES)
def test_a_bad_body_has_its_problem_and_the_server_lives_on(request_of: Any, case: str) -> None:
    status, code, body = BODIES[case]
    problem = problem_of(request_of("POST", PATH, body), status, code)
    assert "\n" not in problem["detail"]
    assert request_of("POST", PATH, npy(COUNTS)).status == 200


FORMS: dict[str, tuple[str, bytes, str]] = {
    "cut short": ("bad_multipart", b'--cut\r\nContent-Disposition: form-data; name="file"\r\n\r\nII*', "cut"),
    "no boundary": ("bad_multipart", b"--cut--\r\n", ""),
    "another field": (
        "bad_multipart",
        b'--cut\r\nContent-Disposition: form-data; name="image"\r\n\r\nII*\r\n--cut--\r\n',
        "cut",
    ),
    "nothing": ("bad_multipart", b"--cut--\r\n", "cut"),
    "garbage": ("bad_multipart", b"\0" * 100, "cut"),
}


@pytest.mark.parametrize("case", FORMS)
def test_a_bad_form_is_refused(request_of: Any, case: str) -> None:
    code, body, boundary = FORMS[case]
    content_type = f"multipart/form-data; boundary={boundary}" if boundary else "multipart/form-data"
    problem_of(request_of("POST", PATH, body, {"Content-Type": content_type}), 400, code)


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/none", 404, "not_found"),
        ("GET", "/docs", 404, "not_found"),
        ("GET", PATH, 405, "method_not_allowed"),
        ("PUT", "/v1/models", 405, "method_not_allowed"),
        ("FOO", "/v1/models", 405, "method_not_allowed"),
        ("POST", PATH + "/", 404, "not_found"),
        ("GET", "/v1/models/", 404, "not_found"),
        ("GET", "/v1/models/none", 404, "unknown_model"),
        ("POST", "/v1/models/none/denoise", 404, "unknown_model"),
        ("POST", PATH + "?outdtype=uint16", 422, "bad_query"),
        ("POST", PATH + "?out_dtype=int8", 422, "bad_query"),
        ("POST", PATH + "?report=xml", 422, "bad_query"),
        ("POST", PATH + "?axes=QYX", 422, "bad_query"),
        ("POST", PATH + "?axes=TTYX", 422, "bad_image"),
        ("POST", PATH + "?output=maps", 422, "bad_query"),
        ("POST", PATH + "?split_every=-1", 422, "bad_query"),
        ("POST", PATH + "?split_every=1.5", 422, "bad_query"),
        ("POST", PATH + f"?split_every={2**53}", 422, "bad_query"),
        ("POST", PATH + "?frame_interval_s=0", 422, "bad_query"),
        ("POST", PATH + "?gain=0", 422, "bad_query"),
        ("POST", PATH + "?gain=-1", 422, "bad_query"),
        ("POST", PATH + "?gain=nan", 422, "bad_query"),
        ("POST", PATH + "?offset=inf", 422, "bad_query"),
        ("POST", PATH + "?offset=1e10", 422, "bad_query"),
        ("POST", PATH + "?frame_interval_s=inf", 422, "bad_query"),
        ("POST", PATH + "?frame_interval_s=nan", 422, "bad_query"),
        ("POST", PATH + "?view=orthogonal", 406, "not_acceptable"),  # of an image
        ("POST", PATH + "?view=top", 422, "bad_query"),
        ("POST", PATH + "?view=projection&report=json", 422, "bad_query"),
        ("POST", PATH + "?view=projection&output=support", 422, "bad_query"),
        ("POST", PATH + "?view=projection&aspect=2", 422, "bad_query"),
        ("POST", PATH + "?view=projection&time=-1", 422, "bad_query"),
        ("POST", PATH + "?view=projection&channel=0.5", 422, "bad_query"),
        ("POST", PATH + "?view=orthogonal&aspect=0", 422, "bad_query"),
        ("POST", PATH + "?view=orthogonal&aspect=inf", 422, "bad_query"),
        ("POST", PATH + "?time=0", 422, "bad_query"),
        ("POST", PATH + "?aspect=2", 422, "bad_query"),
    ],
)
def test_a_bad_request_has_its_problem(
    request_of: Any, method: str, path: str, status: int, code: str
) -> None:
    answer = request_of(method, path, npy(COUNTS) if method == "POST" else None)
    problem_of(answer, status, code)
    if status == 405:
        assert answer.headers["Allow"]


def test_a_body_of_another_type_is_unsupported(request_of: Any) -> None:
    answer = request_of("POST", PATH, b'{"image": "base64"}', {"Content-Type": "application/json"})
    problem_of(answer, 415, "unsupported_media_type")
    answer = request_of("POST", PATH, npy(COUNTS), {"Content-Encoding": "gzip"})
    problem_of(answer, 415, "unsupported_media_type")


def test_sizes_are_counted_as_bytes_arrive(request_of: Any) -> None:
    body = npy(np.zeros((40, 256, 256), np.uint16))  # 5 MiB, of 4 that are taken
    problem_of(request_of("POST", PATH, body), 413, "oversize")
    chunks = iter([body[i : i + 65536] for i in range(0, len(body), 65536)])
    problem_of(request_of("POST", PATH, chunks, chunked=True), 413, "oversize")


def test_a_compressed_tiff_that_unfolds_is_refused_by_what_it_declares(request_of: Any) -> None:
    bomb = saved(np.zeros((20, 700, 700), np.uint16), compression="zlib", photometric="minisblack")
    assert len(bomb) < 2**20
    problem_of(request_of("POST", PATH, bomb), 413, "oversize")


def test_another_host_name_is_refused(request_of: Any) -> None:
    problem_of(request_of("GET", "/livez", headers={"Host": "evil.example:80"}), 421, "bad_host")
    assert request_of("GET", "/livez", headers={"Host": "LocalHost:8570"}).status == 200
    assert request_of("GET", "/livez", headers={"Host": "[::1]:8570"}).status == 200


OWN_HOSTS = ["localhost", "LOCALHOST:8570", "localhost:", "127.0.0.1:80", "127.8.9.1", "[::1]", "[::1]:65535"]
OTHER_HOSTS = [
    "",
    ":80",
    "127.0.0.1:80@evil.com",
    "127.0.0.1@evil.com",
    "evil.com@127.0.0.1",
    "user:pass@localhost:80",
    "localhost:80:80",
    "localhost:http",
    "localhost:65536",
    "localhost:0000000080",
    "localhost:-1",
    "localhost.",
    "localhost.evil.com",
    "localhost, evil.com",
    "localhost/..",
    "localhost?evil.com",
    "localhost#evil.com",
    "local host",
    "localhost\\evil.com",
    "loc%61lhost",
    "127.0.0.1.",
    "127.1",
    "2130706433",
    "0x7f000001",
    "127.0.0.01",
    "[127.0.0.1]",
    "[localhost]",
    "::1",
    "[::1",
    "[::1]80",
    "[::1]:80@evil.com",
    "[::1%25lo]",
    "[::1%lo]",
    "[::ffff:127.0.0.1]",
    "[evil.com]",
    "0.0.0.0",
    "[::]",
    "http://localhost",
    "ｌocalhost".encode().decode("latin-1"),
    "localhost\xa0",
]


@pytest.mark.parametrize("host", OWN_HOSTS)
def test_a_request_for_this_machine_is_let_in(request_of: Any, host: str) -> None:
    assert request_of("GET", "/livez", headers={"Host": host}).status == 200


@pytest.mark.parametrize("host", OTHER_HOSTS)
def test_any_other_host_is_refused(request_of: Any, host: str) -> None:
    problem_of(request_of("GET", "/livez", headers={"Host": host}), 421, "bad_host")


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("http://localhost/livez", 200),
        ("HTTP://127.0.0.1:80/livez?x=1", 200),
        ("http://evil.com/livez", 421),
        ("http://localhost:80@evil.com/livez", 421),
        ("http://localhost", 404),
    ],
)
def test_a_target_with_its_host_is_judged_by_that_host(request_of: Any, target: str, status: int) -> None:
    assert request_of("GET", target).status == status
    assert request_of("GET", target, headers={"Host": "evil.com"}).status == status


def raw_answer(server: Any, *parts: bytes) -> tuple[int, bytes, dict[str, Any]]:
    """Status, head and problem that bytes bring."""
    host, port = server.addresses.http.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=60) as raw:
        with contextlib.suppress(ConnectionError):  # it may be closed before everything was sent
            for part in parts:
                raw.sendall(part)
        received = b""
        while not received.endswith(b"}"):
            received += raw.recv(65536)
    head, _, body = received.partition(b"\r\n\r\n")
    return int(head.split()[1]), head.lower(), json.loads(body)


HEAD = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n"
CHUNKED = f"POST {PATH} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n".encode()
NO_REQUESTS = {
    "no http": (400, "bad_request", [b"\xff\0\0\0\0\0\0\0\x01\x7f"]),
    "unknown version": (400, "bad_request", [b"GET /livez HTTP/7.x\r\nHost: localhost\r\n\r\n"]),
    "no host": (400, "bad_request", [b"GET /livez HTTP/1.1\r\n\r\n"]),
    "two hosts": (400, "bad_request", [HEAD + b"Host: localhost\r\n\r\n"]),
    "two lengths": (
        400,
        "bad_request",
        [HEAD + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"],
    ),
    "many headers at once": (431, "head_too_large", [HEAD + b"X: y\r\n" * 256 + b"\r\n"]),
    "long header at once": (431, "head_too_large", [HEAD + b"X: " + b"y" * 66000 + b"\r\n\r\n"]),
    "long header": (431, "head_too_large", [HEAD + b"X: ", *[b"y" * 65536] * 8]),
    "many headers": (431, "head_too_large", [HEAD, *[b"X: yyyyyyyyyy\r\n" * 4096] * 8]),
    "long address": (431, "head_too_large", [b"GET /", *[b"y" * 65536] * 8]),
    "many trailers": (431, "head_too_large", [CHUNKED, *[b"X: yyyyyyyyyy\r\n" * 4096] * 8]),
}


@pytest.mark.parametrize("case", NO_REQUESTS)
def test_bytes_that_become_no_request_are_refused_by_a_problem(
    server: Any, request_of: Any, case: str
) -> None:
    status, code, parts = NO_REQUESTS[case]
    answered, head, problem = raw_answer(server, *parts)
    assert (answered, problem["status"], problem["code"]) == (status, status, code)
    assert b"content-type: application/problem+json" in head
    assert b"connection: close" in head
    assert request_of("GET", "/livez").status == 200


def figure(request_of: Any, name: str) -> float:
    """Sum of one of the server's figures."""
    text = request_of("GET", "/metrics").body.decode()
    return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith(name))


def chunked(body: bytes, tail: bytes) -> bytes:
    head = f"POST {PATH} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head.encode() + b"%x\r\n%b\r\n0\r\n" % (len(body), body) + tail


WHOLE_BUT = {
    "trailers are too long": (431, chunked(npy(COUNTS), b"X: " + b"y" * 300_000)),
    "a trailer is none": (400, chunked(npy(COUNTS), b"no trailer\r\n\r\n")),
    "a head is too long": (431, HEAD.replace(b"GET", b"POST") + b"X: " + b"y" * 300_000),
    "a chunk is none": (400, chunked(npy(COUNTS), b"\r\n").replace(b"0\r\n\r\n", b"zz\r\n\r\n")),
}


@pytest.mark.parametrize("case", WHOLE_BUT)
def test_what_is_refused_is_not_denoised_and_holds_nothing(server: Any, request_of: Any, case: str) -> None:
    status, data = WHOLE_BUT[case]
    before = figure(request_of, "dimstream_frames_total")
    assert raw_answer(server, data)[0] == status
    assert figure(request_of, "dimstream_frames_total") == before
    assert figure(request_of, "dimstream_http_buffered_bytes") == 0
    answers = [request_of("POST", PATH, npy(COUNTS)).status for _ in range(10)]  # more than there are places
    assert answers == [200] * 10


def test_refusals_are_logged_with_the_address_and_not_with_what_came(
    start_server: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    server = start_server()
    for _ in range(5):
        raw_answer(server, b"GET /secret-of-mine HTTP/7.x\r\nHost: localhost\r\n\r\n")
    lines = [one.getMessage() for one in caplog.records if "event=refused" in one.getMessage()]
    assert len(lines) == 1
    assert "endpoint=http code=bad_request address=127.0.0.1" in lines[0]
    assert "secret" not in caplog.text


def test_no_cross_origin_headers_are_sent(request_of: Any) -> None:
    answer = request_of("GET", "/v1/models", headers={"Origin": "http://evil.example"})
    assert not [name for name in answer.headers if name.lower().startswith("access-control")]
    assert answer.headers["Server"] is None


def test_requests_beyond_the_limit_are_told_to_come_again(
    start_server: Any, request_of: Any, denoise_meanwhile: Any
) -> None:
    server = start_server(http={"max_requests": 1})
    body = npy(COUNTS)
    with denoise_meanwhile(server):
        answer = request_of("POST", PATH, body, server=server)
        problem_of(answer, 503, "server_busy")
        assert answer.headers["Retry-After"] == "1"
    deadline = time.monotonic() + 60
    while request_of("POST", PATH, body, server=server).status != 200:
        assert time.monotonic() < deadline


@contextlib.contextmanager
def half_sent(server: Any, body: bytes, count: int) -> Iterator[list[http.client.HTTPConnection]]:
    """Requests of which all but a byte of their bodies was sent."""
    address = server.addresses.http.removeprefix("http://")
    connections = [http.client.HTTPConnection(address, timeout=60) for _ in range(count)]
    for connection in connections:
        connection.putrequest("POST", PATH)
        connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body[:-1])
    try:
        yield connections
    finally:
        for connection in connections:
            connection.close()


def test_bodies_that_are_arriving_keep_nobody_out(start_server: Any, request_of: Any) -> None:
    server = start_server(http={"max_requests": 1})
    body = npy(COUNTS)
    with half_sent(server, body, 20) as waiting:
        assert request_of("POST", PATH, body, server=server).status == 200
        for connection in waiting:
            connection.send(body[-1:])
            assert connection.getresponse().status == 200


@pytest.mark.slow
def test_bodies_that_are_arriving_take_no_more_memory_than_they_may(
    start_server: Any, request_of: Any
) -> None:
    server = start_server(http={"max_body_bytes": 2**20, "max_buffered_bytes": 2**21})
    body = npy(np.zeros((7, 256, 256), np.uint16))  # 0.9 MiB; one client may hold 1 MiB
    with half_sent(server, body, 1) as (first,):
        arrived = f"dimstream_http_buffered_bytes {float(len(body) - 1)}\n".encode()
        deadline = time.monotonic() + 60
        while arrived not in request_of("GET", "/metrics", server=server).body:
            assert time.monotonic() < deadline
        answer = request_of("POST", PATH, body, server=server)
        assert "http.max_buffered_bytes" in problem_of(answer, 503, "server_busy")["detail"]
        first.send(body[-1:])
        assert first.getresponse().status == 200
    assert request_of("POST", PATH, body, server=server).status == 200


@pytest.mark.slow
def test_an_answer_that_is_not_taken_keeps_nobody_out_and_ends(start_server: Any, request_of: Any) -> None:
    server = start_server(http={"max_requests": 1, "stall_s": 1.0})
    stack = npy(np.ones((100, 256, 256), np.uint8))
    host, port = server.addresses.http.removeprefix("http://").split(":")
    head = (
        f"POST {PATH}?out_dtype=float32 HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(stack)}\r\n\r\n"
    )
    with socket.create_connection((host, int(port)), timeout=60) as deaf:
        deaf.sendall(head.encode() + stack)
        assert select.select([deaf], [], [], 60)[0]  # 26 MB begin to come
        assert request_of("POST", PATH, npy(COUNTS), server=server).status == 200
        deadline = time.monotonic() + 60
        while b"dimstream_http_connections 1.0\n" not in request_of("GET", "/metrics", server=server).body:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert b"dimstream_http_buffered_bytes 0.0\n" in request_of("GET", "/metrics", server=server).body


def test_a_body_that_stalls_is_given_up(start_server: Any, request_of: Any) -> None:
    server = start_server(http={"stall_s": 0.2})
    slow = http.client.HTTPConnection(server.addresses.http.removeprefix("http://"), timeout=60)
    slow.putrequest("POST", PATH)
    slow.putheader("Content-Length", "1000")
    slow.endheaders(b"\x93NUMPY")
    response = slow.getresponse()
    assert (response.status, json.loads(response.read())["code"]) == (408, "request_timeout")
    slow.close()


@pytest.mark.parametrize(
    "table", [{"stall_s": 0.3}, {"stall_s": 0.3, "min_body_bytes_per_s": 10**9}, {"body_s": 0.3}]
)
def test_a_body_that_trickles_is_given_up(start_server: Any, table: dict[str, float]) -> None:
    server = start_server(http=table)
    slow = http.client.HTTPConnection(server.addresses.http.removeprefix("http://"), timeout=60)
    slow.putrequest("POST", PATH)
    slow.putheader("Content-Length", "100000000")
    slow.endheaders(b"\x93NUMPY")
    piece = b"x" if "min_body_bytes_per_s" not in table else bytes(65536)
    with contextlib.suppress(ConnectionError):
        while not select.select([slow.sock], [], [], 0.02)[0]:
            slow.send(piece)
    response = slow.getresponse()
    assert (response.status, json.loads(response.read())["code"]) == (408, "request_timeout")
    slow.close()


@pytest.mark.slow
def test_a_stop_finishes_requests_that_run(start_server: Any, request_of: Any) -> None:
    server = start_server()
    body = npy(np.random.default_rng(0).poisson(3.0, (20, 300, 300)).astype(np.uint16))
    answers: list[Any] = []
    thread = threading.Thread(target=lambda: answers.append(request_of("POST", PATH, body, server=server)))
    thread.start()
    while not server.engine.queue_length():
        assert thread.is_alive()
    server.begin_stop()
    thread.join()
    assert answers[0].status == 200
    assert server.wait_stopped()
