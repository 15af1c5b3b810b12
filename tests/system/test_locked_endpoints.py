"""A locked server in a process of its own, as its users meet it, and its log, which keeps secrets."""

import base64
import http.client
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from shipped import BUNDLE

from dimstream_client import Client, NotAdmitted
from dimstream_client.cli import main as dimstream
from dimstream_client.keys import TOKEN, make_pair, make_token, read_only_entry, read_secret
from dimstream_server.cli import main as dimstream_server

pytestmark = pytest.mark.slow

FRAME = np.random.default_rng(0).poisson(9.0, (3, 64, 64)).astype(np.uint16)
LONGEST_LINE = 600


@dataclass
class Locked:
    """A locked server, its folder of keys, and its log once it has stopped."""

    folder: Path
    process: subprocess.Popen[str]
    zmq: str
    http: str

    def stop(self) -> str:
        self.process.terminate()
        _, log = self.process.communicate(timeout=60)
        assert self.process.returncode == 0, log
        return log


@pytest.fixture
def locked(tmp_path: Path, eventually: Any) -> Iterator[Locked]:
    folder, ready = tmp_path / "keys", tmp_path / "ready.json"
    assert dimstream_server(["keygen", str(folder)]) == 0
    assert dimstream_server(["keygen", str(folder), "--token", "script"]) == 0
    assert dimstream(["keygen", str(folder / "own"), "--name", "amira"]) == 0
    (folder / "own" / "amira.pub").rename(folder / "clients" / "amira.pub")
    command = [sys.executable, "-m", "dimstream_server.cli", "serve", "--bundle", str(BUNDLE)]
    endpoints = ["--zmq", "tcp://*:0", "--http", "0.0.0.0:0"]
    keys = ["--server-key", str(folder / "server.key"), "--allowed-clients", str(folder / "clients")]
    rest = ["--tokens", str(folder / "tokens"), "--log-level", "debug", "--ready-file", str(ready)]
    with subprocess.Popen([*command, *endpoints, *keys, *rest], stderr=subprocess.PIPE, text=True) as process:
        try:
            eventually(lambda: ready.exists() or process.poll() is not None)
            assert process.poll() is None, process.communicate()[1]
            said = {name: str(value) for name, value in json.loads(ready.read_text()).items()}
            at = {name: said[name].replace("0.0.0.0", "127.0.0.1") for name in ("zmq", "http")}
            yield Locked(folder, process, **at)
        finally:
            process.kill()


def post_form(server: str, source: Path, token: str) -> int:
    """The status of a form with a file, whose parser likes to tell what it does."""
    head = b'--cut\r\nContent-Disposition: form-data; name="file"; filename="in.tif"\r\n\r\n'
    body = head + source.read_bytes() + b"\r\n--cut--\r\n"
    headers = {"Content-Type": "multipart/form-data; boundary=cut", "Authorization": f"Bearer {token}"}
    connection = http.client.HTTPConnection(server.removeprefix("http://"), timeout=60)
    try:
        connection.request("POST", "/v1/models/er-sted-light/denoise", body, headers)
        return connection.getresponse().status
    finally:
        connection.close()


def test_the_commands_go_through_locked_endpoints_and_the_log_keeps_their_secrets(
    locked: Locked, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, streamed, posted = (tmp_path / name for name in ("in.tif", "streamed.ome.tif", "posted.tif"))
    tifffile.imwrite(source, FRAME, metadata={"axes": "TYX"}, photometric="minisblack")
    own, folder = locked.folder / "own", locked.folder
    keys = ["--key", str(own / "amira.key"), "--server-key", str(folder / "server.pub")]
    token = ["--token-file", str(folder / "tokens" / "script.token")]
    stranger, _ = make_pair(own, "stranger")
    wrong = make_token(own, "wrong")

    assert dimstream(["stream", str(source), str(streamed), "--server", locked.zmq, *keys]) == 0
    assert dimstream(["denoise", str(source), str(posted), "--server", locked.http, *token]) == 0
    np.testing.assert_array_equal(tifffile.imread(streamed), tifffile.imread(posted))
    assert dimstream(["models", "--server", locked.http, "--token-file", str(wrong)]) == 4
    assert dimstream(["models", "--server", locked.http]) == 4
    assert capsys.readouterr().err.count("[bad_token]") == 2
    for told in ({}, {"key": stranger, "server_key": folder / "server.pub"}):
        with Client(locked.zmq, timeout_s=60, **told) as client, pytest.raises(NotAdmitted):
            client.ping()
    right = read_only_entry(folder / "tokens" / "script.token", TOKEN).value
    assert post_form(locked.http, source, right) == 200
    files = {"key": own / "amira.key", "server_key": folder / "server.pub"}
    with Client(locked.zmq, **files) as client:
        stream = client.open((64, 64), "uint16")
        resume_token = stream.opened.resume_token
        stream.close()

    log = locked.stop()
    assert re.search(r"event=opened .*endpoint=zmq", log)
    assert re.search(r"event=opened .*key=amira", log)
    assert "code=not_admitted address=127.0.0.1" in log
    assert "code=bad_token address=127.0.0.1" in log
    assert len(resume_token) == 32
    pairs = [read_secret(path) for path in (folder / "server.key", own / "amira.key", stranger)]
    tokens = [right, read_only_entry(wrong, TOKEN).value, resume_token]
    for secret in (*(key.decode() for pair in pairs for key in pair), *tokens):
        assert secret not in log
    row = FRAME[0, 0]
    for pixels in (str(row[:8]), str(row[:8].tolist()), str(row[:8].tobytes()), row[:8].tobytes().hex()):
        assert pixels.strip("[]b'") not in log
    assert base64.b64encode(row[:9].tobytes()).decode() not in log
    assert max(map(len, log.splitlines())) < LONGEST_LINE
    assert "insecure_lan" not in log


def test_open_endpoints_are_told_at_the_start_and_with_each_stream(tmp_path: Path, eventually: Any) -> None:
    ready = tmp_path / "ready.json"
    command = [sys.executable, "-m", "dimstream_server.cli", "serve", "--bundle", str(BUNDLE)]
    endpoints = ["--zmq", "tcp://*:0", "--http", "127.0.0.1:0", "--insecure-lan", "--log-level", "error"]
    with subprocess.Popen(
        [*command, *endpoints, "--ready-file", str(ready)], stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            eventually(lambda: ready.exists() or process.poll() is not None)
            endpoint = json.loads(ready.read_text())["zmq"].replace("0.0.0.0", "127.0.0.1")
            with Client(endpoint) as client:
                client.open((64, 64), "uint16").close()
            process.terminate()
            _, log = process.communicate(timeout=60)
        finally:
            process.kill()
    warnings = [line for line in log.splitlines() if "event=insecure_lan" in line]
    assert len(warnings) == 2
    assert all("level=warning" in line for line in warnings)
