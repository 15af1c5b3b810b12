"""Bodies of every size, sent by other people's clients in their own ways: every valid request is answered.

`DIMSTREAM_HTTP_SWEEP=full` tries all sizes with all clients (some minutes), else a few of them are drawn.
"""

import http.client
import io
import itertools
import os
import random
import socket
import time
from typing import Any

import numpy as np
import pytest
from http_clients import CLIENTS, SLOW, chunks, connect, read_answer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.slow

PATH = "/v1/models/identity/denoise"
LIMIT = 4 * 2**20
FULL = os.environ.get("DIMSTREAM_HTTP_SWEEP") == "full"
BOUNDARIES = [2**14, 2**15, 2**16, 2**17, 2**18]  # of the buffers on the way
SIZES = [
    *(1, 2, 77, 200, 1000, 98_000),
    *(boundary + by for boundary in BOUNDARIES for by in range(-352, 65, 32)),
    *(2**20 - 352, 2**20 - 64, 2**20, 2**20 + 1, LIMIT - 1, LIMIT),
]
SLOW_LIMIT = 2**17 + 64 if FULL else 17_000


@pytest.fixture(scope="module")
def url(start_module_server: Any) -> str:
    limits = {"max_frame_bytes": LIMIT, "max_requests_per_s_per_client": 1_000_000}
    running = start_module_server("identity", http={"max_body_bytes": LIMIT}, limits=limits)
    return str(running.addresses.http + PATH)


def image_file(size: int, seed: int) -> tuple[bytes, Any]:
    """An NPY file of `size` bytes and its pixels, none an outlier; below 150 bytes None, and no file."""
    if size < 150:
        return bytes(size), None
    rows = 8 if size < 2**18 else 128
    columns = (size - 80) // rows
    pixels = np.random.default_rng(seed).integers(0, 50, (rows, columns), dtype=np.uint8)
    header = f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({rows}, {columns})}}"
    padded = header.ljust(size - pixels.size - 11).encode() + b"\n"
    head = b"\x93NUMPY\x01\x00" + len(padded).to_bytes(2, "little")
    file = head + padded + pixels.tobytes()
    assert len(file) == size
    return file, pixels


def check(answer: tuple[int, bytes], pixels: Any) -> None:
    status, body = answer
    if pixels is None:
        assert status == 422, body
        return
    assert status == 200, body
    denoised = np.load(io.BytesIO(body))
    np.testing.assert_array_equal(denoised, 3 * pixels.astype(np.uint16) + 1)


@pytest.mark.parametrize("kept", [False, True], ids=["fresh", "kept"])
@pytest.mark.parametrize("client", CLIENTS)
def test_every_valid_request_is_answered(url: str, client: str, kept: bool) -> None:
    largest = SLOW_LIMIT if client in SLOW else LIMIT - 1000 * ("form" in client)
    sizes = [size for size in SIZES if size <= largest]
    if not FULL:
        drawn = random.Random(client).sample([size for size in sizes if size < 2**19], 2)
        sizes = [98_000, *drawn]
        if client in SLOW:  # the kept connection has had a small one before
            sizes = [77, drawn[1]] if kept else drawn[:1]
    files = [image_file(size, seed) for seed, size in enumerate(sizes)]
    for start in range(0, len(files), 8):
        group = files[start : start + 8]
        answers = CLIENTS[client](url, [file for file, _ in group], kept)
        assert len(answers) == len(group)
        for answer, (_, pixels) in zip(answers, group, strict=True):
            check(answer, pixels)


@pytest.mark.parametrize("client", sorted({"curl", "requests", "http.client"} & set(CLIENTS)))
def test_a_body_over_the_limit_is_told_so_and_the_connection_goes_on(url: str, client: str) -> None:
    image, pixels = image_file(3000, 0)
    answers = CLIENTS[client](url, [image, bytes(LIMIT + 1), image], True)
    assert [status for status, _ in answers] == [200, 413, 200]
    check(answers[2], pixels)


def test_one_connection_serves_requests_without_end(url: str) -> None:
    frame, pixels = image_file(98_000, 0)
    address = url.removeprefix("http://").partition("/")[0]
    connection = http.client.HTTPConnection(address, timeout=60)
    for number in range(10_000 if FULL else 200):
        path = "/metrics" if number % 4 else "/livez"
        if number % 50:
            connection.request("GET", path)
        else:
            connection.request("POST", PATH, frame, {"Accept": "application/x-npy"})
        response = connection.getresponse()
        body = response.read()
        assert response.status == 200, (number, body)
        if not number % 50:
            check((200, body), pixels)
    connection.close()


def test_pipelined_requests_are_all_answered_in_order(url: str) -> None:
    count = 10_000 if FULL else 1_000
    lines = b"GET /v1/models/%d HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with connect(url) as connection, connection.makefile("rb") as file:
        for first in range(0, count, 500):
            connection.sendall(b"".join(lines % number for number in range(first, first + 500)))
            for number in range(first, first + 500):
                status, body = read_answer(file)
                assert status == 404
                assert f"no model '{number}'".encode() in body


def test_an_empty_line_before_a_request_is_skipped(url: str) -> None:
    with connect(url) as connection, connection.makefile("rb") as file:
        for _ in range(3):
            connection.sendall(
                b"\r\nPOST /livez HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\nab\r\n"
            )
            assert read_answer(file)[0] == 405
            connection.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert read_answer(file)[0] == 200


TWO_FILES = [image_file(size, seed) for seed, size in enumerate((400, 3000))]
CUT = "\r\n".join(["POST {path} HTTP/1.1", "Host: localhost", "Accept: application/x-npy", "{how}", "", ""])


def one_request(path: str, file: bytes, chunk: int | None) -> bytes:
    if chunk is None:
        return CUT.format(path=path, how=f"Content-Length: {len(file)}").encode() + file
    head = CUT.format(path=path, how="Transfer-Encoding: chunked").encode()
    return head + b"".join(b"%x\r\n%b\r\n" % (len(one), one) for one in chunks(file, chunk)) + b"0\r\n\r\n"


@given(
    which=st.lists(
        st.tuples(st.integers(0, 1), st.none() | st.integers(9, 999), st.booleans()), min_size=1, max_size=5
    ),
    cuts=st.lists(st.floats(0, 1), max_size=12),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_answers_do_not_hang_on_where_the_bytes_are_cut(url: str, which: Any, cuts: list[float]) -> None:
    requests = [
        b"\r\n" * before + one_request(PATH, TWO_FILES[file][0], chunk) for file, chunk, before in which
    ]
    data = b"".join(requests)
    places = [0, *sorted(int(cut * len(data)) for cut in cuts), len(data)]
    with connect(url) as connection, connection.makefile("rb") as answers:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for start, end in itertools.pairwise(places):
            connection.sendall(data[start:end])
            time.sleep(0.0005)
        for file, *_ in which:
            check(read_answer(answers), TWO_FILES[file][1])
