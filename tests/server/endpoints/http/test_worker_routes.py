"""Operators add and take out workers of a gateway by HTTP, while requests are denoised."""

from __future__ import annotations

import http.client
import io
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dimstream_client.keys import TOKEN, read_only_entry
from dimstream_server.cli import main

SECONDS = 60
STACK = np.random.default_rng(3).poisson(3.0, (6, 24, 32)).astype(np.uint16)


class Gateway:
    """A gateway and one operator, ada."""

    def __init__(self, server: Any, token: str) -> None:
        self._address = server.addresses.http.removeprefix("http://")
        self._token = token

    def ask(self, method: str, path: str, body: Any = None, *, is_operator: bool = True) -> tuple[int, Any]:
        """Status and JSON of an answer."""
        headers = {"Authorization": f"Bearer {self._token}"} if is_operator else {}
        sent = None if body is None else json.dumps(body).encode()
        status, content = self._ask(method, path, sent, headers)
        return status, json.loads(content)

    def _ask(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(self._address, timeout=SECONDS)
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def denoise(self) -> Any:
        """What becomes of the stack."""
        file = io.BytesIO()
        np.save(file, STACK)
        headers = {"Content-Type": "application/x-npy", "Accept": "application/x-npy"}
        status, content = self._ask("POST", "/v1/models/blur/denoise", file.getvalue(), headers)
        assert status == 200, content
        return np.load(io.BytesIO(content), allow_pickle=False)

    def workers(self) -> dict[str, bool]:
        """Which there are, and whether each can be used."""
        _, answer = self.ask("GET", "/v1/workers", is_operator=False)
        return {one["address"]: one["trouble"] is None for one in answer["workers"]}

    def wait_for(self, *addresses: str) -> None:
        """Wait until these are the workers, and can be used."""
        deadline = time.monotonic() + SECONDS
        while self.workers() != dict.fromkeys(addresses, True):
            assert time.monotonic() < deadline, self.workers()
            time.sleep(0.01)


@pytest.fixture
def start_gateway(start_server: Any, tmp_path: Path) -> Callable[..., Gateway]:
    """`start_gateway(worker, …)`: a gateway in front of these servers."""

    def make(*workers: Any) -> Gateway:
        assert main(["keygen", str(tmp_path / "keys"), "--operator", "ada"]) == 0
        token = read_only_entry(tmp_path / "keys" / "operators" / "ada.token", TOKEN).value
        tables = {
            "workers": {"addresses": [worker.addresses.zmq for worker in workers]},
            "http": {"operator_tokens": tmp_path / "keys" / "operators"},
        }
        return Gateway(start_server(**tables), token)

    return make


def test_workers_are_added_and_taken_out(start_server: Any, start_gateway: Any) -> None:
    first, second = start_server(), start_server()
    gateway = start_gateway(first)
    gateway.wait_for(first.addresses.zmq)
    expected = gateway.denoise()
    status, _ = gateway.ask("POST", "/v1/workers", {"address": second.addresses.zmq})
    assert status == 202
    gateway.wait_for(first.addresses.zmq, second.addresses.zmq)
    status, _ = gateway.ask("DELETE", f"/v1/workers?address={first.addresses.zmq}")
    assert status == 202
    gateway.wait_for(second.addresses.zmq)
    np.testing.assert_array_equal(gateway.denoise(), expected)


REFUSED = {
    "no address": ("POST", "/v1/workers", {"address": "node3"}, 422, "expected tcp://HOST:PORT"),
    "no port": ("POST", "/v1/workers", {"address": "tcp://127.0.0.1:0"}, 422, "host and port of a worker"),
    "without keys": ("POST", "/v1/workers", {"address": "tcp://10.1.2.3:5580"}, 422, "got no keys"),
    "unknown member": ("POST", "/v1/workers", {"worker": "tcp://127.0.0.1:1"}, 422, "address"),
    "not there": ("DELETE", "/v1/workers?address=tcp://127.0.0.1:1", None, 404, "expected one of tcp://"),
    "no query": ("DELETE", "/v1/workers", None, 422, "address"),
}


def test_what_is_no_worker_is_refused_and_others_may_only_look(start_server: Any, start_gateway: Any) -> None:
    worker = start_server()
    gateway = start_gateway(worker)
    gateway.wait_for(worker.addresses.zmq)
    for name, (method, path, body, status, words) in REFUSED.items():
        answer = gateway.ask(method, path, body)
        assert answer[0] == status, (name, answer)
        assert words in answer[1]["detail"], (name, answer)
    for method, path, body, _, _ in REFUSED.values():
        status, problem = gateway.ask(method, path, body, is_operator=False)
        assert status in (403, 422), problem
    assert gateway.workers() == {worker.addresses.zmq: True}


def test_a_server_that_is_no_gateway_has_no_workers(request_of: Any) -> None:
    assert request_of("GET", "/v1/workers").status == 404
