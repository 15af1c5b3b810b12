"""What operators change by HTTP while streams run: asked by curl, of real servers, with real bundles."""

import io
import json
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from drafts import meaningless_config, png

from dimstream_client import Client
from dimstream_client.errors import StreamError
from dimstream_client.http_client import HttpClient
from dimstream_client.keys import TOKEN, read_only_entry
from dimstream_client.messages import Ack, Close, Closed, Frame, Open, Opened
from dimstream_models.bundle import Author, Bundle, BundleDraft, write_bundle
from dimstream_server.cli import main
from dimstream_server.security import access

SHAPE = (24, 32)
TIMEOUT_S = 60


@pytest.fixture
def store(tmp_path: Path, tiny_bundle: Callable[..., Bundle]) -> Callable[..., Path]:
    """`store(name, id=…, gain=…)`: a bundle that multiplies by `gain`, in the folder of bundles."""

    def make(name: str, *, id: str = "times", gain: float = 1.0) -> Path:
        counts = np.random.default_rng(0).poisson(3.0, (1, 1, 32, 32)).astype(np.float32)
        draft = BundleDraft(
            id=id,
            name="Times",
            description="Multiplies.",
            authors=(Author(name="Ada Example"),),
            licence="BSD-3-Clause",
            documentation="# Times\n\n## Validation\n\nNone.\n",
            cover=png(8, 8),
            onnx=tiny_bundle("identity").onnx,
            test_input=counts,
            test_output=gain * counts,
            gain=gain,
            config=meaningless_config(structure_score=-1e6),
        )
        folder = tmp_path / "bundles"
        folder.mkdir(exist_ok=True)
        write_bundle(folder / name, draft)
        return folder / name

    return make


class Operator:
    """Asks a server by curl."""

    def __init__(self, server: Any, token: str) -> None:
        self.server, self.token = server, token

    def ask(
        self, method: str, path: str, body: Any = None, *, token: str | None = None, data: bytes | None = None
    ) -> tuple[int, Any]:
        """Status and JSON of an answer; None where it has no body."""
        data = json.dumps(body).encode() if data is None and body is not None else data
        headers = ["-H", f"Authorization: Bearer {self.token if token is None else token}"]
        if data is not None:
            headers += ["-H", "Content-Type: application/json", "--data-binary", "@-"]
        done = subprocess.run(
            [
                "curl",
                "-sS",
                "-X",
                method,
                *headers,
                "-w",
                "\n%{http_code}",
                self.server.addresses.http + path,
            ],
            input=data or b"",
            capture_output=True,
            timeout=TIMEOUT_S,
            check=True,
        )
        content, _, status = done.stdout.rpartition(b"\n")
        return int(status), json.loads(content) if content else None

    def load(self, name: str) -> tuple[int, Any]:
        return self.ask("POST", "/v1/models", {"bundle": name})

    def models(self) -> list[str]:
        return [model["id"] for model in self.ask("GET", "/v1/models")[1]["models"]]


@pytest.fixture
def start_operated(
    start_server: Any, store: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Operator]:
    """A server with the model `blur` and one operator, ada."""
    monkeypatch.setattr(access, "LOOK_S", 0.05)
    assert main(["keygen", str(tmp_path / "keys"), "--operator", "ada"]) == 0
    token = read_only_entry(tmp_path / "keys" / "operators" / "ada.token", TOKEN).value
    (tmp_path / "bundles").mkdir(exist_ok=True)

    def make(*kinds: Any, **tables: Any) -> Operator:
        folders = {"bundle_folders": [str(tmp_path / "bundles")], **tables.pop("server", {})}
        http = {"operator_tokens": str(tmp_path / "keys" / "operators"), **tables.pop("http", {})}
        return Operator(start_server(*kinds, server=folders, http=http, **tables), token)

    return make


def frame(seq: int) -> Any:
    return np.random.default_rng(seq).poisson(9, SHAPE).astype(np.uint16)


def code_of(answer: tuple[int, Any]) -> tuple[int, str]:
    return answer[0], answer[1]["code"]


def test_a_bundle_is_loaded_used_replaced_and_unloaded(
    start_operated: Any, store: Any, connect: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    operator = start_operated()
    store("times-2", gain=2.0)
    status, model = operator.load("times-2")
    assert (status, model["id"], model["gain"]) == (201, "times", 2.0)
    assert operator.load("times-2")[0] == 200
    assert operator.models() == ["blur", "times"]
    peer = connect(operator.server)
    stream = peer.open(model="times").stream
    np.testing.assert_array_equal(peer.denoise(stream, 0, frame(0)).pixels, 2 * frame(0))
    assert isinstance(peer.ask(Close(stream=stream, last_seq=0)), Closed)
    store("times-3", gain=3.0)
    status, problem = operator.load("times-3")  # the stream could still be resumed, for its last results
    assert (status, problem["code"]) == (409, "model_in_use")
    assert stream in problem["detail"]
    assert code_of(operator.ask("DELETE", "/v1/models/times")) == (409, "model_in_use")
    assert operator.ask("DELETE", "/v1/models/times?even_if_away=true") == (204, None)
    assert operator.models() == ["blur"]
    assert operator.load("times-3")[0] == 201
    stream = peer.open(model="times").stream
    np.testing.assert_array_equal(peer.denoise(stream, 0, frame(0)).pixels, 3 * frame(0))
    told = [record.getMessage() for record in caplog.records]
    assert sum("event=model_loaded model=times" in line and "by='ada'" in line for line in told) == 2
    assert sum("event=model_unloaded model=times by='ada'" in line for line in told) == 1


@pytest.mark.slow
def test_a_stream_runs_on_unchanged_while_bundles_are_loaded_and_unloaded(
    start_operated: Any, store: Any
) -> None:
    operator = start_operated()
    for version in (1, 2):
        store(f"v{version}", gain=float(version))
    done = threading.Event()
    results: list[Any] = []

    def stream() -> None:
        with Client(operator.server.addresses.zmq) as client:
            for result in client.stream(frames()):
                results.append(result)

    def frames() -> Any:
        seq = 0
        while not done.is_set():
            yield frame(seq)
            seq += 1

    thread = threading.Thread(target=stream)
    thread.start()
    try:
        for name in ("v1", "v2", "v1"):
            assert operator.load(name)[0] == 201
        assert operator.ask("DELETE", "/v1/models/times")[0] == 204
        assert code_of(operator.ask("DELETE", "/v1/models/blur"))[0] == 409
    finally:
        done.set()
        thread.join(TIMEOUT_S)
    with Client(operator.server.addresses.zmq) as client:
        alone = list(client.stream(frame(seq) for seq in range(len(results))))
    assert [result.seq for result in results] == list(range(len(results)))
    for one, other in zip(results, alone, strict=True):
        assert (one.flag, one.reason, one.ssim_prev) == (other.flag, other.reason, other.ssim_prev)
        np.testing.assert_array_equal(one.pixels, other.pixels)


def test_thresholds_change_between_two_frames_and_outlive_the_connection(
    start_operated: Any, connect: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    operator = start_operated(recording={"folder": str(tmp_path / "recordings")})
    peer = connect(operator.server)
    opened = peer.open(save=True)
    plain = connect(operator.server)
    other = plain.open().stream
    path = f"/v1/streams/{opened.stream}"
    before = [peer.denoise(opened.stream, seq, frame(7)) for seq in range(4)]
    status, in_force = operator.ask("PATCH", path, {"thresholds": {"ssim": 1.0, "structure_score": 1e9}})
    assert (status, in_force["from_seq"], in_force["model"]) == (200, 4, "blur")
    assert in_force["thresholds"]["ssim"] == 1.0
    assert in_force["thresholds"]["signal_min"] == 25
    updated = peer.receive()
    assert (updated.by, updated.from_seq, updated.model.id, updated.thresholds.ssim) == (
        "ada",
        4,
        "blur",
        1.0,
    )
    after = [peer.denoise(opened.stream, seq, frame(7)) for seq in range(4, 8)]
    same = [plain.denoise(other, seq, frame(7)) for seq in range(8)]
    for one, untouched in zip([*before, *after], same, strict=True):
        np.testing.assert_array_equal(one.pixels, untouched.pixels)
        assert one.ssim_prev == untouched.ssim_prev
    assert before[-1].flag == "ok"
    assert {result.flag for result in after} == {"suspect"}
    listed = {one["id"]: one for one in operator.ask("GET", "/v1/streams")[1]["streams"]}
    assert listed[opened.stream]["thresholds"]["ssim"] == 1.0
    assert listed[other]["thresholds"]["ssim"] == 0.6
    (folder,) = [path for path in (tmp_path / "recordings").iterdir() if opened.stream in path.name]
    lines = [json.loads(line) for line in (folder / "frames.jsonl").read_text().splitlines()]
    (event,) = [line for line in lines if line.get("event") == "update"]
    assert (event["from_seq"], event["thresholds"]["ssim"]) == (4, 1.0)
    assert any(
        f"event=stream_changed stream={opened.stream} client='test' from_seq=4 model=blur ssim=1.0" in line
        and "by='ada'" in line
        for line in (record.getMessage() for record in caplog.records)
    )
    peer.close()
    again = connect(operator.server)
    resumed = again.open(save=True, stream=opened.stream, resume_token=opened.resume_token, next_result=8)
    assert isinstance(resumed, Opened)
    assert (resumed.next_seq, resumed.thresholds.ssim) == (8, 1.0)


def test_a_client_learns_what_an_operator_has_changed(
    start_operated: Any, caplog: pytest.LogCaptureFixture
) -> None:
    operator = start_operated()
    with Client(operator.server.addresses.zmq) as client, client.open(SHAPE, "uint16") as stream:
        assert stream.operator_change is None
        stream.send(frame(0))
        assert stream.take(timeout_s=TIMEOUT_S) is not None
        path = f"/v1/streams/{stream.id}"
        assert operator.ask("PATCH", path, {"thresholds": {"ssim": 0.125}})[0] == 200
        own = stream.update(thresholds={"signal_min": 40})  # its answer is not mistaken for the operator's
        assert (own.by, own.thresholds.ssim, own.thresholds.signal_min) == (None, 0.125, 40)
        stream.send(frame(1))
        assert stream.take(timeout_s=TIMEOUT_S) is not None
        change = stream.operator_change
        assert change is not None
        assert (change.by, change.from_seq, change.thresholds.ssim) == ("ada", 1, 0.125)
        assert change.thresholds.signal_min == 25
    assert any(f"operator ada has changed stream {stream.id}" in line for line in caplog.messages)


def test_a_client_that_was_away_learns_what_an_operator_has_changed(
    start_operated: Any, connect: Any
) -> None:
    operator = start_operated()
    peer = connect(operator.server)
    opened = peer.open()
    for seq in range(6):
        peer.send(Frame(opened.stream, seq, frame(seq)))
    assert [peer.receive().seq for _ in range(6)] == list(range(6))
    assert operator.ask("PATCH", f"/v1/streams/{opened.stream}", {"thresholds": {"ssim": 0.125}})[0] == 200
    change = peer.receive()
    peer.close()
    again = {"stream": opened.stream, "resume_token": opened.resume_token}
    for next_result in (3, 6):  # it holds from frame 6 on
        peer = connect(operator.server)
        resumed = peer.open(**again, next_result=next_result)
        assert (resumed.thresholds == change.thresholds) is (next_result == 6)
        assert peer.receive() == change
    peer = connect(operator.server)
    peer.open(**again, next_result=6)
    assert peer.receive() == change
    assert operator.ask("PATCH", f"/v1/streams/{opened.stream}", {"thresholds": {"ssim": 0.25}})[0] == 200
    assert peer.receive().thresholds.ssim == 0.25


def test_a_stream_is_moved_to_another_model_and_the_old_one_goes(
    start_operated: Any, store: Any, connect: Any
) -> None:
    operator = start_operated()
    store("times-2", gain=2.0)
    assert operator.load("times-2")[0] == 201
    peer = connect(operator.server)
    stream = peer.open().stream  # names no model: the one that was there first is meant
    for seq in range(3):
        peer.denoise(stream, seq, frame(seq))
    status, in_force = operator.ask("PATCH", f"/v1/streams/{stream}", {"model": "times"})
    assert (status, in_force["from_seq"], in_force["model"]) == (200, 3, "times")
    assert peer.receive().model.id == "times"
    result = peer.denoise(stream, 3, frame(3))
    np.testing.assert_array_equal(result.pixels, 2 * frame(3))
    assert (result.flag, result.reason) == ("unjudged", "model changed")
    for query in ("", "?even_if_away=true"):  # for frames 0 to 2
        assert code_of(operator.ask("DELETE", f"/v1/models/blur{query}")) == (409, "model_in_use")
    peer.send(Ack(stream=stream, next_result=4))
    peer.denoise(stream, 4, frame(4))
    assert operator.ask("DELETE", "/v1/models/blur") == (204, None)
    np.testing.assert_array_equal(peer.denoise(stream, 5, frame(5)).pixels, 2 * frame(5))
    assert code_of(operator.ask("DELETE", "/v1/models/times?even_if_away=true")) == (409, "model_in_use")


def test_who_names_no_model_gets_the_same_as_before(
    start_operated: Any, store: Any, connect: Any, tmp_path: Path
) -> None:
    operator = start_operated()
    tifffile.imwrite(tmp_path / "frame.tif", frame(0))

    def denoise() -> Any:
        client = HttpClient(operator.server.addresses.http, timeout_s=TIMEOUT_S)
        return tifffile.imread(io.BytesIO(client.denoise(None, tmp_path / "frame.tif", {}).file))

    before = denoise()
    store("times-2", gain=2.0)
    assert operator.load("times-2")[1]["is_default"] is False
    np.testing.assert_array_equal(denoise(), before)
    assert connect(operator.server).open(model=None).model.id == "blur"
    assert operator.ask("DELETE", "/v1/models/blur?even_if_away=true")[0] == 409  # that stream is open
    several = start_operated("blur", "raising")
    with pytest.raises(StreamError, match="2 models are served, say which"):
        HttpClient(several.server.addresses.http, timeout_s=TIMEOUT_S).denoise(
            None, tmp_path / "frame.tif", {}
        )


def test_a_stream_whose_client_is_away_keeps_its_model_unless_it_is_given_up(
    start_operated: Any, store: Any, connect: Any
) -> None:
    operator = start_operated()
    store("times-2", gain=2.0)
    operator.load("times-2")
    first = connect(operator.server)
    opened = first.open(model="times")
    first.denoise(opened.stream, 0, frame(0))
    first.close()
    again = connect(operator.server)
    back = {"model": "times", "stream": opened.stream, "resume_token": opened.resume_token, "next_result": 1}
    resumed = again.open(**back)
    again.close()
    assert code_of(operator.ask("DELETE", "/v1/models/times")) == (409, "model_in_use")
    last = connect(operator.server)
    deadline = time.monotonic() + TIMEOUT_S
    while (answer := operator.ask("DELETE", "/v1/models/times?even_if_away=true")) != (204, None):
        assert code_of(answer) == (
            409,
            "model_in_use",
        )  # until the server knows that its connection has ended
        assert time.monotonic() < deadline
    refused = last.ask(Open(client="test", shape=SHAPE, dtype="uint16", **back))
    assert refused.code == "unknown_model"
    assert operator.load("times-2")[0] == 201
    assert last.open(**back).next_seq == resumed.next_seq == 1
    np.testing.assert_array_equal(last.denoise(opened.stream, 1, frame(1)).pixels, 2 * frame(1))


NAMES = {
    "out of the folder": ("../keys", (422, "bad_field")),
    "an absolute path": ("/etc/passwd", (422, "bad_field")),
    "a path": ("inner/times", (422, "bad_field")),
    "a path of Windows": ("inner\\times", (422, "bad_field")),
    "the folder itself": (".", (422, "bad_field")),
    "hidden": (".times", (422, "bad_field")),
    "with a null": ("times\0", (422, "bad_field")),
    "nothing": ("", (422, "bad_field")),
    "missing": ("nothing-here", (404, "unknown_bundle")),
    "a link that leads out": ("outwards", (404, "unknown_bundle")),
    "a link to a file outside": ("passwords", (404, "unknown_bundle")),
    "no bundle": ("notes.txt", (422, "bad_bundle")),
    "an empty folder": ("inner", (422, "bad_bundle")),
    "a link to itself": ("circle", (404, "unknown_bundle")),
    "a bundle that was changed": ("changed", (422, "bad_bundle")),
}


def test_only_bundles_of_the_folder_are_loaded(start_operated: Any, store: Any, tmp_path: Path) -> None:
    operator = start_operated()
    folder = tmp_path / "bundles"
    outside = store("times").rename(tmp_path / "outside")
    (folder / "outwards").symlink_to(outside)
    (folder / "passwords").symlink_to("/etc/passwd")
    (folder / "circle").symlink_to("circle")
    (folder / "notes.txt").write_text("no bundle\n")
    (folder / "inner").mkdir()
    changed = store("changed")
    weights = next(changed.glob("*.onnx"))
    weights.write_bytes(weights.read_bytes() + b"\0")
    for case, (name, expected) in NAMES.items():
        status, problem = operator.load(name)
        assert (status, problem["code"]) == expected, case
        assert "root:" not in json.dumps(problem)
    (folder / "current").symlink_to(store("times-1"))  # within the folder
    assert operator.load("current")[0] == 201
    assert operator.models() == ["blur", "times"]


@pytest.mark.slow
def test_only_operators_may_change_anything(start_operated: Any, tmp_path: Path, caplog: Any) -> None:
    assert main(["keygen", str(tmp_path / "keys"), "--token", "script"]) == 0
    ordinary = read_only_entry(tmp_path / "keys" / "tokens" / "script.token", TOKEN).value
    locked = start_operated(http={"tokens": str(tmp_path / "keys" / "tokens")})
    open_one = start_operated()
    asked = [
        ("POST", "/v1/models", {"bundle": "x"}),
        ("DELETE", "/v1/models/blur", None),
        ("PATCH", "/v1/streams/x", {"model": "blur"}),
    ]
    for method, path, body in asked:
        assert code_of(locked.ask(method, path, body, token="x" * 43)) == (401, "bad_token")
        assert code_of(locked.ask(method, path, body, token=ordinary)) == (403, "not_operator")
        assert code_of(open_one.ask(method, path, body, token="x" * 43)) == (403, "not_operator")
        status, problem = locked.ask(method, path, body)
        assert status in (404, 409), problem
    assert locked.models() == ["blur"]  # an operator may do what others may
    (tmp_path / "keys" / "operators" / "ada.token").unlink()
    while locked.ask("GET", "/v1/models")[0] != 401:
        pass  # until the server has looked again
    assert code_of(locked.ask("DELETE", "/v1/models/blur"))[0] == 401


def test_promtool_has_nothing_to_say_against_the_figures(
    start_operated: Any, connect: Any, request_of: Any, tmp_path: Path
) -> None:
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("promtool is not here: it comes with Prometheus (Debian's package `prometheus`)")
    server = start_operated(recording={"folder": str(tmp_path / "recordings")}).server
    peer = connect(server)
    stream = peer.open(save=True).stream
    for seq in range(12):
        peer.denoise(stream, seq, frame(seq))
    assert isinstance(peer.ask(Close(stream=stream, last_seq=11)), Closed)
    wanted = (b"dimstream_recordings_bytes", b"dimstream_stream_suspect", b"dimstream_server_info")
    deadline = time.monotonic() + TIMEOUT_S
    while not all(name in (figures := request_of("GET", "/metrics", server=server).body) for name in wanted):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    done = subprocess.run([program, "check", "metrics"], input=figures, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


BODIES = {
    "no JSON": b"{",
    "no object": b"[]",
    "unknown key": b'{"thresholds": {}, "colour": 1}',
    "unknown threshold": b'{"thresholds": {"speed": 1}}',
    "no number": b'{"thresholds": {"ssim": "0.5"}}',
    "out of bounds": b'{"thresholds": {"ssim": 2}}',
    "not a number": b'{"thresholds": {"ssim": NaN}}',
    "infinite": b'{"thresholds": {"signal_min": Infinity}}',
    "contradiction": b'{"thresholds": {"background_max": 99}}',
    "nothing to change": b"{}",
    "nothing": b"",
}


def test_what_cannot_be_put_in_force_changes_nothing(start_operated: Any, connect: Any) -> None:
    operator = start_operated()
    peer = connect(operator.server)
    stream = peer.open().stream
    path = f"/v1/streams/{stream}"
    for case, body in BODIES.items():
        assert code_of(operator.ask("PATCH", path, data=body)) == (422, "bad_field"), case
    assert code_of(operator.ask("PATCH", path, {"model": "nothing"})) == (404, "unknown_model")
    assert code_of(operator.ask("PATCH", "/v1/streams/nothing", {"model": "blur"})) == (404, "unknown_stream")
    assert code_of(operator.ask("PATCH", path, data=b" " * 100_000)) == (413, "oversize")
    (listed,) = operator.ask("GET", "/v1/streams")[1]["streams"]
    assert listed["thresholds"]["ssim"] == 0.6
    assert peer.denoise(stream, 0, frame(0)).status == "done"


def test_an_operator_who_leaves_in_the_middle_is_no_fault(
    start_operated: Any, request_of: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    operator = start_operated()
    host, port = operator.server.addresses.http.removeprefix("http://").split(":")
    head = f"POST /v1/models HTTP/1.1\r\nHost: {host}:{port}\r\nAuthorization: Bearer {operator.token}\r\n"
    with socket.create_connection((host, int(port)), timeout=TIMEOUT_S) as connection:
        connection.sendall(f'{head}Content-Length: 99\r\n\r\n{{"bundle"'.encode())
    deadline = time.monotonic() + TIMEOUT_S
    while b'code="bad_request"' not in request_of("GET", "/metrics", server=operator.server).body:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert not any("internal_error" in record.getMessage() for record in caplog.records)


def test_there_are_bounds_and_nothing_by_default(start_operated: Any, store: Any) -> None:
    store("times")
    assert code_of(start_operated(limits={"max_models": 1}).load("times")) == (409, "too_many_models")
    assert code_of(start_operated(server={"bundle_folders": []}).load("times")) == (501, "not_supported")
