"""Who comes in by HTTP: tokens that are right, wrong, missing and revoked; names; limits of one client."""

import hmac
import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dimstream_client.errors import StreamError
from dimstream_client.http_client import HttpClient
from dimstream_client.keys import TOKEN, make_token, read_only_entry
from dimstream_client.messages import Error, Open, Opened
from dimstream_server.errors import ServerBusy
from dimstream_server.security import access
from dimstream_server.security.access import Tokens
from dimstream_server.streams.request_rate import RateLimit

PATH = "/v1/models/blur/denoise"
LOCKED = [
    "/v1/models",
    "/v1/models/blur",
    "/v1/streams",
    "/metrics",
    "/openapi.json",
    "/nothing/there",
    "/v2",
    "/v2/models/blur",
]


@pytest.fixture
def make_bearer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Maker of tokens in the folder `tmp_path / "tokens"`."""
    monkeypatch.setattr(access, "LOOK_S", 0.05)
    return lambda name: read_only_entry(make_token(tmp_path / "tokens", name), TOKEN).value


def bearer(token: str, scheme: str = "Bearer") -> dict[str, str]:
    return {"Authorization": f"{scheme} {token}"}


def test_everything_but_the_probes_wants_a_token(
    start_server: Any, request_of: Any, make_bearer: Any, tmp_path: Path
) -> None:
    token = make_bearer("script")
    server = start_server("blur", http={"tokens": str(tmp_path / "tokens")})
    for path in ("/livez", "/readyz", "/v2/health/live", "/v2/health/ready"):
        assert request_of("GET", path, server=server).status == 200
    for path in LOCKED:
        refused = request_of("GET", path, server=server)
        problem = json.loads(refused.body)
        assert (refused.status, problem["code"]) == (401, "bad_token"), path
        assert refused.headers["Content-Type"] == "application/problem+json"
        assert refused.headers["WWW-Authenticate"] == 'Bearer realm="dimstream"'
        assert request_of("GET", path, headers=bearer(token), server=server).status in (200, 404)
    assert request_of("POST", PATH, b"", server=server).status == 401
    document = json.loads(request_of("GET", "/openapi.json", headers=bearer(token), server=server).body)
    assert document["security"] == [{"token": []}]
    assert document["paths"]["/livez"]["get"]["security"] == []


def test_a_request_is_known_by_the_name_of_its_token(
    start_server: Any, request_of: Any, make_bearer: Any, denoise_meanwhile: Any, tmp_path: Path
) -> None:
    headers = bearer(make_bearer("analysis-pc"))
    server = start_server("blur", http={"tokens": str(tmp_path / "tokens")})
    with denoise_meanwhile(server, headers):
        body = json.loads(request_of("GET", "/v1/streams", headers=headers, server=server).body)
    assert [stream["client"] for stream in body["streams"]] == ["analysis-pc"]


@pytest.mark.parametrize(
    "headers",
    [
        bearer("x" * 43),
        bearer(""),
        {"Authorization": "Bearer"},
        {"Authorization": ""},
        bearer("TOKEN", scheme="Basic"),
        {"Authorization": "TOKEN"},
        bearer("TOKENx"),
        bearer("TOKEN, Bearer TOKEN"),
        {"Cookie": "TOKEN"},
        bearer("\xff" * 43),
    ],
)
def test_what_is_no_token_of_this_server_is_refused(
    start_server: Any, request_of: Any, make_bearer: Any, tmp_path: Path, headers: dict[str, str]
) -> None:
    token = make_bearer("script")
    server = start_server("blur", http={"tokens": str(tmp_path / "tokens")})
    told = {name: value.replace("TOKEN", token) for name, value in headers.items()}
    refused = request_of("GET", "/v1/models", headers=told, server=server)
    assert refused.status == 401
    assert token not in refused.body.decode()
    assert request_of("GET", "/v1/models", headers=bearer(token, "bearer"), server=server).status == 200


def test_tokens_come_and_go_without_a_restart(
    start_server: Any, request_of: Any, make_bearer: Any, tmp_path: Path
) -> None:
    first = make_bearer("first")
    server = start_server("blur", http={"tokens": str(tmp_path / "tokens")})

    def status(token: str) -> int:
        return int(request_of("GET", "/v1/models", headers=bearer(token), server=server).status)

    def wait_for(token: str, expected: int) -> None:
        deadline = time.monotonic() + 60
        while status(token) != expected:
            assert time.monotonic() < deadline
            time.sleep(0.02)

    second = make_bearer("second")
    wait_for(second, 200)
    assert status(first) == 200
    (tmp_path / "tokens" / "first.token").unlink()
    wait_for(first, 401)
    assert status(second) == 200


def test_the_command_shows_its_token(start_server: Any, make_bearer: Any, tmp_path: Path) -> None:
    token = make_bearer("script")
    server = start_server("blur", http={"tokens": str(tmp_path / "tokens")})
    endpoint = HttpClient(server.addresses.http, timeout_s=60, token=token)
    assert [model["id"] for model in endpoint.models()] == ["blur"]
    with pytest.raises(StreamError, match="ask the people who run the server for one") as caught:
        HttpClient(server.addresses.http, timeout_s=60).models()
    assert caught.value.code == "bad_token"


def test_every_token_is_compared_in_constant_time(
    make_bearer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = [make_bearer(name) for name in ("a", "b", "c")]
    tokens = Tokens(tmp_path / "tokens")
    compared: list[bytes] = []

    def note(one: bytes, other: bytes) -> bool:
        compared.append(one)
        return compare(one, other)

    compare = hmac.compare_digest
    monkeypatch.setattr(hmac, "compare_digest", note)
    for said in (*made, "wrong"):
        compared.clear()
        holder = tokens.holder_of(f"Bearer {said}".encode())
        assert (holder.name if holder else None) == {**dict(zip(made, "abc", strict=True))}.get(said)
        assert len(compared) == 3


def test_an_empty_folder_of_tokens_lets_nobody_in(
    start_server: Any, request_of: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server = start_server("blur", http={"tokens": str(tmp_path)})
    assert request_of("GET", "/v1/models", server=server).status == 401
    assert "no client is admitted" in caplog.text


def test_the_server_answers_to_its_names_only(start_server: Any, request_of: Any) -> None:
    server = start_server("blur", http={"host_names": ["Microscope.example"]})

    def status(host: str) -> int:
        return int(request_of("GET", "/v1/models", headers={"Host": host}, server=server).status)

    assert status("microscope.EXAMPLE:8570") == status("127.0.0.1") == 200
    assert status("other.example") == status("192.168.1.4") == status("x.microscope.example") == 421


def test_a_public_endpoint_may_be_asked_by_its_address(
    start_server: Any, request_of: Any, make_bearer: Any, tmp_path: Path
) -> None:
    headers = bearer(make_bearer("script"))
    table = {"address": "0.0.0.0:0", "tokens": str(tmp_path / "tokens")}
    server = start_server("blur", http=table)
    server.addresses = type(server.addresses)(
        zmq="", http=server.addresses.http.replace("0.0.0.0", "127.0.0.1"), pid=0
    )
    for host, status in (("192.168.1.4:8570", 200), ("[fe80::1]:8570", 200), ("evil.example", 421)):
        told = {**headers, "Host": host}
        assert request_of("GET", "/v1/models", headers=told, server=server).status == status


def test_a_pace_lets_through_so_many_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    pace = RateLimit(2)

    def taken(client: str) -> int:
        for count in range(5):
            try:
                pace.take(client)
            except ServerBusy:
                return count
        return 5

    assert (taken("amira"), taken("bela")) == (2, 2)
    now[0] += 0.5
    assert taken("amira") == 1
    now[0] += 1000
    assert taken("amira") == 2


def test_who_asks_too_often_is_told_to_wait(
    start_server: Any, request_of: Any, connect: Callable[..., Any]
) -> None:
    server = start_server("blur", limits={"max_requests_per_s_per_client": 1})
    peer = connect(server)
    ask = Open(client="test", shape=(24, 32), dtype="uint16")
    for _ in range(30):
        peer.send(ask)
    answers = [peer.receive() for _ in range(30)]
    (busy, *_) = [one for one in answers if isinstance(one, Error)]
    assert (busy.code, busy.retryable) == ("server_busy", True)
    assert "max_requests_per_s_per_client" in busy.detail
    assert isinstance(answers[0], Opened)
    told = [request_of("GET", "/v1/models", server=server) for _ in range(4)]
    assert told[0].status == 200
    (refused, *_) = [answer for answer in told if answer.status == 503]
    assert refused.headers["Retry-After"] == "1"
    assert all(request_of("GET", "/livez", server=server).status == 200 for _ in range(5))
    deadline = time.monotonic() + 60
    while not isinstance(peer.ask(ask), Opened):
        assert time.monotonic() < deadline


def test_one_client_takes_no_more_than_its_requests(
    start_server: Any, request_of: Any, denoise_meanwhile: Any, make_bearer: Any, tmp_path: Path
) -> None:
    amira, bela = make_bearer("amira"), make_bearer("bela")
    server = start_server(
        "blur", http={"tokens": str(tmp_path / "tokens")}, limits={"max_requests_per_client": 1}
    )

    def denoise(token: str) -> Any:
        return request_of("POST", PATH, b"", bearer(token), server=server)

    with denoise_meanwhile(server, bearer(amira)):
        refused = denoise(amira)
        assert refused.status == 503
        problem = json.loads(refused.body)
        assert problem["code"] == "server_busy"
        assert "limits.max_requests_per_client" in problem["detail"]
        assert denoise(bela).status == 422  # its empty body was read
    deadline = time.monotonic() + 60
    while denoise(amira).status != 422:
        assert time.monotonic() < deadline
        threading.Event().wait(0.02)
