"""The example of a reverse proxy, `docker/nginx/dimstream.conf`: a real nginx before a real server."""

import http.client
import io
import json
import os
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from live_viewers import viewing
from ports import free_port
from websockets.exceptions import InvalidStatus

from dimstream_client.cli import main as dimstream
from dimstream_client.keys import TOKEN, make_token, read_only_entry

CONF = Path(__file__).resolve().parents[4] / "docker" / "nginx" / "dimstream.conf"
PATH = "/v1/models/blur/denoise"
NAME = "microscope.example.org"
BODY_LIMIT = 2**20
NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
pytestmark = pytest.mark.skipif(
    NGINX is None or shutil.which("openssl") is None,
    reason="needs nginx and openssl (apt install nginx-light openssl)",
)
MAIN = """
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
{user}
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/dimstream.conf;
}}
"""


@dataclass
class Proxy:
    """Where nginx listens, how its certificate is known, and a token of the server behind it."""

    port: int
    certificate: Path
    token: Path

    @property
    def bearer(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {read_only_entry(self.token, TOKEN).value}"}

    def connect(self) -> http.client.HTTPSConnection:
        context = ssl.create_default_context(cafile=self.certificate)
        return http.client.HTTPSConnection("localhost", self.port, timeout=60, context=context)

    def ask(self, method: str, path: str, body: Any = None, headers: Any = None, **options: Any) -> Any:
        connection = self.connect()
        try:
            connection.request(method, path, body, headers or {}, **options)
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            connection.close()


def make_certificate(folder: Path) -> None:
    names = ["-subj", f"/CN={NAME}", "-addext", f"subjectAltName=DNS:{NAME},DNS:localhost"]
    files = ["-keyout", str(folder / "tls.key"), "-out", str(folder / "tls.crt")]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", *names, *files]
    subprocess.run(command, check=True, capture_output=True)


def configure(folder: Path, *, port: int, server: str) -> None:
    """The example with its names and paths put in, each of which must be there to be put in."""
    text = CONF.read_text(encoding="utf-8")
    for old, new in {
        "listen 443 ssl": f"listen 127.0.0.1:{port} ssl",
        "    server 127.0.0.1:8570;": f"    server {server};",
        "/etc/nginx/tls/dimstream.crt": str(folder / "tls.crt"),
        "/etc/nginx/tls/dimstream.key": str(folder / "tls.key"),
    }.items():
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    (folder / "dimstream.conf").write_text(text, encoding="utf-8")
    user = "user root;" if os.getuid() == 0 else ""
    (folder / "nginx.conf").write_text(MAIN.format(folder=folder, user=user), encoding="utf-8")


@pytest.fixture
def proxy(start_server: Any, tmp_path: Path) -> Iterator[Proxy]:
    token = make_token(tmp_path / "tokens", "script")
    http_table = {"tokens": str(token), "host_names": [NAME], "max_body_bytes": BODY_LIMIT}
    limits = {"max_frame_bytes": BODY_LIMIT}
    server = start_server("blur", http=http_table, limits=limits)
    folder, port = tmp_path / "nginx", free_port()
    folder.mkdir()
    make_certificate(folder)
    configure(folder, port=port, server=server.addresses.http.removeprefix("http://"))
    files = ["-c", str(folder / "nginx.conf"), "-e", str(folder / "error.log")]
    command = [str(NGINX), "-p", str(folder), *files, "-g", "daemon off;"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            wait_for(port, process)
            yield Proxy(port, folder / "tls.crt", token)
        finally:
            process.terminate()
            process.communicate(timeout=60)


def wait_for(port: int, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 60
    while True:
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except OSError:
            time.sleep(0.02)


def stack_file(shape: tuple[int, ...]) -> bytes:
    file = io.BytesIO()
    np.save(file, np.random.default_rng(0).poisson(3.0, shape).astype(np.uint16))
    return file.getvalue()


def test_requests_pass_with_their_token_and_their_host(proxy: Proxy) -> None:
    assert proxy.ask("GET", "/livez")[0] == 200
    status, headers, body = proxy.ask("GET", "/v1/models")
    assert (status, json.loads(body)["code"]) == (401, "bad_token")
    assert headers["WWW-Authenticate"].startswith("Bearer")
    for host, expected in ((f"{NAME}:{proxy.port}", 200), (NAME, 200), ("evil.example", 421)):
        assert proxy.ask("GET", "/v1/models", None, {**proxy.bearer, "Host": host})[0] == expected


def test_chunked_bodies_pass_as_they_come(proxy: Proxy) -> None:
    body = stack_file((4, 24, 32))
    pieces = (body[start : start + 999] for start in range(0, len(body), 999))
    headers = {**proxy.bearer, "Accept": "application/x-npy"}
    status, _, answer = proxy.ask("POST", PATH, pieces, headers, encode_chunked=True)
    assert status == 200, answer
    assert np.load(io.BytesIO(answer)).shape == (4, 24, 32)
    with closing(proxy.connect()) as held:
        held.putrequest("POST", PATH)
        for name, value in {**proxy.bearer, "Transfer-Encoding": "chunked"}.items():
            held.putheader(name, value)
        held.endheaders()
        piece = bytes(BODY_LIMIT // 4)
        with suppress(ConnectionError):
            for _ in range(6):  # the end does not come, and the server knows of the rest all the same
                held.send(b"%x\r\n%b\r\n" % (len(piece), piece))
        assert held.getresponse().status == 413


@pytest.mark.parametrize("chunked", [False, True])
def test_a_large_body_is_refused_by_the_server_in_its_own_words(proxy: Proxy, chunked: bool) -> None:
    body = bytes(3 * BODY_LIMIT)
    pieces = iter([body[:BODY_LIMIT]] * 3) if chunked else body
    status, headers, answer = proxy.ask("POST", PATH, pieces, proxy.bearer, encode_chunked=chunked)
    assert (status, json.loads(answer)["code"]) == (413, "oversize")
    assert headers["Content-Type"] == "application/problem+json"


def test_the_command_goes_through_tls(proxy: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, out = tmp_path / "in.tif", tmp_path / "out.tif"
    frame = np.random.default_rng(0).poisson(3.0, (24, 32)).astype(np.uint16)
    tifffile.imwrite(source, frame, photometric="minisblack")
    monkeypatch.setenv("SSL_CERT_FILE", str(proxy.certificate))
    address = ["--server", f"https://localhost:{proxy.port}", "--token-file", str(proxy.token)]
    assert dimstream(["denoise", str(source), str(out), *address]) == 0
    assert tifffile.imread(out).shape == (24, 32)


def test_a_viewer_passes_with_its_token_and_with_a_ticket(proxy: Proxy) -> None:
    own = f"https://localhost:{proxy.port}"
    tls = ssl.create_default_context(cafile=proxy.certificate)
    token = read_only_entry(proxy.token, TOKEN).value
    with viewing(own, token=token, tls=tls) as viewer:
        assert viewer.of_kind("status")[0]["streams"] == []
    ticket = json.loads(proxy.ask("POST", "/live/ticket", b"", {**proxy.bearer, "Origin": own})[2])["ticket"]
    with viewing(own, tickets=(ticket,), origin=own, tls=tls) as viewer:
        viewer.of_kind("status")
    with pytest.raises(InvalidStatus), viewing(own, token=token, origin="https://evil.example", tls=tls):
        pass
