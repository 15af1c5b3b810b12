"""Other people's HTTP clients, each sending bodies in its own way: all have the shape of `Send`."""

import asyncio
import http.client
import io
import json
import shutil
import socket
import subprocess
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import httpx
import requests

Answer = tuple[int, bytes]
Send = Callable[[str, list[bytes], bool], list[Answer]]  # url, bodies, all on one connection → answers
TIMEOUT_S = 60
NPY = {"Accept": "application/x-npy"}


def chunks(body: bytes, size: int) -> Iterator[bytes]:
    """The body in pieces of `size` bytes."""
    return (body[start : start + size] for start in range(0, len(body), size))


def curl(*options: str, form: bool = False) -> Send:
    """curl with these options for every request."""

    def send(url: str, bodies: list[bytes], kept: bool) -> list[Answer]:
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            commands = [_curl_arguments(folder, url, n, body, form) for n, body in enumerate(bodies)]
            told = [[*command, *options] for command in commands]
            if kept:
                joined = [part for one in told for part in ["--next", *one]][1:]
                status = _run_curl(joined)
            else:
                status = [code for one in told for code in _run_curl(one)]
            return [(code, (folder / f"{n}.out").read_bytes()) for n, code in enumerate(status)]

    return send


def _curl_arguments(folder: Path, url: str, number: int, body: bytes, form: bool) -> list[str]:
    (folder / f"{number}.in").write_bytes(body)
    source = f"{folder}/{number}.in"
    sent = ["-F", f"file=@{source}"] if form else ["--data-binary", f"@{source}"]
    answer = ["-o", f"{folder}/{number}.out", "-w", "%{json}\\n", "-H", f"Accept: {NPY['Accept']}"]
    return ["-s", "-S", url, *sent, *answer]


def _run_curl(arguments: list[str]) -> list[int]:
    done = subprocess.run(["curl", *arguments], capture_output=True, timeout=TIMEOUT_S, check=True, text=True)
    return [int(json.loads(line)["http_code"]) for line in done.stdout.splitlines()]


def http_client(piece: int | None = None) -> Send:
    """The standard library's; chunked where a size of pieces is given."""

    def send(url: str, bodies: list[bytes], kept: bool) -> list[Answer]:
        parts, answers = urlsplit(url), []
        connection = http.client.HTTPConnection(parts.netloc, timeout=TIMEOUT_S)
        for body in bodies:
            sent: Any = body if piece is None else chunks(body, piece)
            connection.request("POST", parts.path, sent, NPY, encode_chunked=piece is not None)
            response = connection.getresponse()
            answers.append((response.status, response.read()))
            if not kept:
                connection.close()
        connection.close()
        return answers

    return send


def urllib_request(url: str, bodies: list[bytes], kept: bool) -> list[Answer]:
    """urllib, which never keeps a connection."""
    answers = []
    for body in bodies:
        request = urllib.request.Request(url, body, NPY)
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:
                answers.append((response.status, response.read()))
        except urllib.error.HTTPError as error:
            with error:
                answers.append((error.code, error.read()))
    return answers


def requests_session(make: Callable[[bytes], dict[str, Any]]) -> Send:
    """Session of requests; `make` says how a body is given."""

    def send(url: str, bodies: list[bytes], kept: bool) -> list[Answer]:
        answers = []
        with requests.Session() as session:
            for body in bodies:
                headers = NPY if kept else {**NPY, "Connection": "close"}
                response = session.post(url, headers=headers, timeout=TIMEOUT_S, **make(body))
                answers.append((response.status_code, response.content))
        return answers

    return send


def httpx_client(make: Callable[[bytes], dict[str, Any]]) -> Send:
    """Client of httpx; `make` says how a body is given."""

    def send(url: str, bodies: list[bytes], kept: bool) -> list[Answer]:
        answers = []
        limits = httpx.Limits(max_keepalive_connections=1 if kept else 0)
        with httpx.Client(limits=limits, timeout=TIMEOUT_S) as client:
            for body in bodies:
                response = client.post(url, headers=NPY, **make(body))
                answers.append((response.status_code, response.content))
        return answers

    return send


def aiohttp_session(url: str, bodies: list[bytes], kept: bool) -> list[Answer]:
    """Session of aiohttp."""

    async def work() -> list[Answer]:
        answers = []
        connector = aiohttp.TCPConnector(force_close=not kept)
        async with aiohttp.ClientSession(connector=connector) as session:
            for body in bodies:
                async with session.post(url, data=io.BytesIO(body), headers=NPY) as response:
                    answers.append((response.status, await response.read()))
        return answers

    return asyncio.run(work())


def raw_head(url: str, *more: str) -> bytes:
    """Head of a POST."""
    parts = urlsplit(url)
    lines = [f"POST {parts.path} HTTP/1.1", f"Host: {parts.netloc}", f"Accept: {NPY['Accept']}", *more]
    return "\r\n".join([*lines, "", ""]).encode()


def read_answer(file: Any) -> Answer:
    """The next answer from a connection's file; one that has a length."""
    status = int(file.readline().split()[1])
    length = 0
    while (line := file.readline()) not in (b"\r\n", b""):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
    return status, file.read(length)


def raw(piece: int | None, *, chunk: int | None = None) -> Send:
    """A socket on which head and body go out together, in pieces of so many bytes (None: all at once)."""

    def sends(url: str, body: bytes) -> Iterable[bytes]:
        if chunk is None:
            data = raw_head(url, f"Content-Length: {len(body)}") + body
        else:
            framed = [b"%x\r\n%b\r\n" % (len(one), one) for one in chunks(body, chunk)]
            data = raw_head(url, "Transfer-Encoding: chunked") + b"".join(framed) + b"0\r\n\r\n"
        return chunks(data, piece or len(data))

    def send_on(connection: socket.socket, url: str, bodies: list[bytes]) -> list[Answer]:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        answers = []
        with connection.makefile("rb") as file:
            for body in bodies:
                for data in sends(url, body):
                    connection.sendall(data)
                answers.append(read_answer(file))
        return answers

    def send(url: str, bodies: list[bytes], kept: bool) -> list[Answer]:
        answers = []
        for group in [bodies] if kept else [[body] for body in bodies]:
            with connect(url) as connection:
                answers += send_on(connection, url, group)
        return answers

    return send


def pipelined(url: str, bodies: list[bytes], kept: bool) -> list[Answer]:
    """All requests at once, then all answers."""
    data = b"".join(raw_head(url, f"Content-Length: {len(body)}") + body for body in bodies)
    with connect(url) as connection, connection.makefile("rb") as file:
        connection.sendall(data)  # the server goes on reading when it has answered
        return [read_answer(file) for _ in bodies]


def connect(url: str, source: str = "127.0.0.1") -> socket.socket:
    """A connection from a loopback address."""
    parts = urlsplit(url)
    address = (parts.hostname or "", parts.port or 80)
    return socket.create_connection(address, timeout=TIMEOUT_S, source_address=(source, 0))


CLIENTS: dict[str, Send] = {
    "http.client": http_client(),
    "http.client chunked": http_client(1000),
    "urllib": urllib_request,
    "requests": requests_session(lambda body: {"data": body}),
    "requests form": requests_session(lambda body: {"files": {"file": ("a.npy", body)}}),
    "requests chunked": requests_session(lambda body: {"data": chunks(body, 5000)}),
    "httpx": httpx_client(lambda body: {"content": body}),
    "httpx form": httpx_client(lambda body: {"files": {"file": ("a.npy", body)}}),
    "httpx chunked": httpx_client(lambda body: {"content": chunks(body, 5000)}),
    "aiohttp": aiohttp_session,
    "one sendall": raw(None),
    "1460-byte pieces": raw(1460),
    "byte by byte": raw(1),
    "chunks in one sendall": raw(None, chunk=1460),
    "chunks of a byte": raw(None, chunk=1),
    "chunks, byte by byte": raw(1, chunk=300),
    "pipelined": pipelined,
}
if shutil.which("curl"):
    CLIENTS |= {
        "curl": curl(),
        "curl form": curl(form=True),
        "curl chunked": curl("-H", "Transfer-Encoding: chunked"),
        "curl expect": curl("-H", "Expect: 100-continue"),
        "curl form expect": curl("-H", "Expect: 100-continue", form=True),
        "curl upgrade": curl("--http2"),
        "curl 1.0": curl("--http1.0"),
    }
SLOW = {"byte by byte", "chunks of a byte", "chunks, byte by byte"}
