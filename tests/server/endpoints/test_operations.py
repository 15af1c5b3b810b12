"""What a real server says of itself: readiness with its reasons, and the figures of each stream."""

import json
import re
import shutil
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bfloat16 import needs_bfloat16

from dimstream_client.messages import Close, Closed, Credit, Frame, Open, Skip
from dimstream_models.openvino_network import is_native
from dimstream_server.monitoring.device_health import FAILURES

MARKED = 999


def marked(make_counts: Any) -> Any:
    pixels = make_counts()
    pixels[:2, :2] = MARKED  # on which "raising" raises
    return pixels


def readyz(request_of: Any, server: Any) -> tuple[int, dict[str, Any]]:
    answer = request_of("GET", "/readyz", server=server)
    assert answer.headers["Content-Type"] == "application/json"
    return answer.status, json.loads(answer.body)


def figures(request_of: Any, server: Any, stream: str) -> dict[str, float]:
    """Figures of a stream, without the buckets."""
    text = request_of("GET", "/metrics", server=server).body.decode()
    lines = [line for line in text.splitlines() if f'stream="{stream}"' in line and "_bucket" not in line]
    found = {}
    for line in lines:
        name, _, value = line.rpartition(" ")
        name, _, labels = name.partition("{")
        flag = labels.partition('flag="')[2].partition('"')[0]
        found[name.removeprefix("dimstream_stream_") + flag] = float(value)
    return found


def test_what_the_server_is_stands_on_every_surface(
    start_server: Any, request_of: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO"):
        server = start_server("blur")
    _, body = readyz(request_of, server)
    expected = {
        "version": version("dimstream-server"),
        "device": "cpu",
        "precision": "float32",
        "runtime": f"onnxruntime {version('onnxruntime')}",
    }
    assert body["server"] == expected
    assert json.loads(request_of("GET", "/v1/models", server=server).body)["server"] == expected
    metrics = request_of("GET", "/metrics", server=server).body.decode()
    labels = ",".join(f'{name}="{expected[name]}"' for name in sorted(expected))
    assert f"dimstream_server_info{{{labels}}} 1.0" in metrics
    assert re.search(r'dimstream_model_info\{model="blur",sha256="[0-9a-f]{64}"\} 1\.0', metrics)
    (ready,) = [record.getMessage() for record in caplog.records if "event=ready" in record.getMessage()]
    assert ready.endswith("device=cpu precision=float32 runtime={runtime!r}".format(**expected))


@needs_bfloat16
def test_the_log_says_where_a_precision_is_only_emulated(
    start_server: Any, caplog: pytest.LogCaptureFixture
) -> None:
    start_server(server={"device": ["openvino:cpu@bf16"]})
    said = [line for line in caplog.messages if "event=precision_emulated" in line]
    assert len(said) == (0 if is_native("bfloat16") else 1)
    assert all("device=openvino:cpu@bf16 runtime='openvino" in line for line in said)


def test_a_model_that_only_fails_makes_the_server_not_ready(
    start_server: Any, connect: Any, request_of: Any, make_counts: Any
) -> None:
    server = start_server("raising")
    peer = connect(server)
    stream = peer.open(model="raising").stream
    for seq in range(FAILURES):
        peer.denoise(stream, seq, marked(make_counts))
    status, body = readyz(request_of, server)
    assert status == 503
    assert body["ready"] is False
    assert body["checks"]["device"].startswith(f"model raising failed on the last {FAILURES} frames: ")
    assert body["checks"]["journal"] == body["checks"]["draining"] == "ok"
    metrics = request_of("GET", "/metrics", server=server).body.decode()
    assert "dimstream_ready 0.0" in metrics
    assert 'dimstream_check_ok{check="device"} 0.0' in metrics
    assert 'dimstream_check_ok{check="draining"} 1.0' in metrics
    assert request_of("GET", "/livez", server=server).status == 200
    assert peer.denoise(stream, FAILURES, make_counts()).status == "done"  # whoever is at work goes on
    assert readyz(request_of, server)[0] == 200


@pytest.mark.slow
def test_a_draining_server_is_not_ready_and_says_so(
    start_server: Any, connect: Any, request_of: Any, make_counts: Any
) -> None:
    server = start_server("blur", server={"drain_s": 20})
    peer = connect(server, receive_queue=1)
    stream = peer.open((512, 512), window=64).stream
    for seq in range(48):  # more than the sockets hold, so that the drain waits for the reader
        peer.send(Frame(stream=stream, seq=seq, pixels=make_counts((512, 512))))
    server.begin_stop()
    while (told := readyz(request_of, server))[0] == 200:
        pass
    assert told[0] == 503
    assert told[1]["checks"] == {"device": "ok", "journal": "ok", "draining": "the server is stopping"}


def test_each_stream_has_its_figures(
    start_server: Any, connect: Any, request_of: Any, make_counts: Any
) -> None:
    server = start_server("raising")
    peer = connect(server)
    stream = peer.open(model="raising", client="scope 3").stream
    other = peer.open(model="raising", client="scope 4").stream
    for seq in range(3):
        peer.denoise(stream, seq, make_counts(seed=seq))
    peer.denoise(stream, 3, marked(make_counts))
    assert isinstance(peer.ask(Skip(stream=stream, seq_from=4, seq_to=8, reason="dropped")), Credit)
    found = figures(request_of, server, stream)
    assert {name.removesuffix("_total"): found[name] for name in found if name.startswith("frames_")} == {
        "frames_received": 4,
        "frames_denoised": 3,
        "frames_failed": 1,
        "frames_analysed": 0,
        "frames_skipped": 5,
        "frames_resent": 0,
    }
    assert found["flags_totalunjudged"] >= 1
    assert sum(value for name, value in found.items() if name.startswith("flags_total")) == 4
    assert (found["open"], found["queue_frames"], found["frame_seconds_count"]) == (1, 0, 4)
    assert np.isfinite(found["last_frame_timestamp_seconds"])
    assert figures(request_of, server, other)["frames_received_total"] == 0
    text = request_of("GET", "/metrics", server=server).body.decode()
    assert all('client="scope 3"' in line for line in text.splitlines() if stream in line)
    assert isinstance(peer.ask(Close(stream=stream)), Closed)
    found = figures(request_of, server, stream)
    assert (found["open"], found["frames_received_total"]) == (0, 4)
    assert "queue_frames" not in found


def test_a_stream_that_turns_suspect_and_comes_back_is_reported(
    start_server: Any, connect: Any, request_of: Any, make_counts: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    server = start_server("blur", server={"suspect_after": 2})
    peer = connect(server)
    stream = peer.open(client="scope 3").stream

    def events() -> list[str]:
        told = (record.getMessage() for record in caplog.records)
        return [line for line in told if "event=stream_" in line]

    def listed() -> bool:
        (one,) = json.loads(request_of("GET", "/v1/streams", server=server).body)["streams"]
        return bool(one["is_suspect"])

    def send_until(events_now: int, first: int, make: Any) -> int:
        for seq in range(first, first + 20):
            peer.denoise(stream, seq, make(seq))
            listed()  # asked of the loop, which has then done all about this result
            if len(events()) == events_now:
                return seq
        raise AssertionError(events())

    def suspect() -> tuple[float, float]:
        found = figures(request_of, server, stream)
        return found["suspect"], found["turned_suspect_total"]

    assert (listed(), suspect()) == (False, (0, 0))
    turned = send_until(1, 0, lambda seq: make_counts(seed=seq))  # each frame is another sample
    assert (listed(), suspect()) == (True, (1, 1))
    back = send_until(2, turned + 1, lambda seq: make_counts(seed=1))
    assert (listed(), suspect()) == (False, (0, 1))
    first, second = events()
    assert f"event=stream_suspect stream={stream} client='scope 3' model=blur seq={turned} " in first
    assert "suspect_planes=1 planes=1 reason='" in first
    assert f"event=stream_well stream={stream} client='scope 3' model=blur seq={back} " in second


def test_frames_that_come_again_after_a_resumption_are_counted(
    start_server: Any, connect: Any, request_of: Any, make_counts: Any
) -> None:
    server = start_server("blur")
    first = connect(server)
    opened = first.open()
    for seq in range(4):
        first.denoise(opened.stream, seq, make_counts(seed=seq))
    first.close()
    again = connect(server)
    resumed = again.open(stream=opened.stream, resume_token=opened.resume_token, next_result=2)
    assert resumed.next_seq == 2
    for seq in range(2 - len(resumed.references), 2):
        again.send(Frame(stream=opened.stream, seq=seq, pixels=make_counts(seed=seq)))
    for seq in range(2, 5):
        again.denoise(opened.stream, seq, make_counts(seed=seq))
    found = figures(request_of, server, opened.stream)
    assert found["reconnects_total"] == 1
    assert found["frames_received_total"] == 4 + 3
    assert found["frames_resent_total"] == 2 + len(resumed.references)
    assert found["open"] == 1


def test_a_journal_that_cannot_be_written_makes_the_server_not_ready(
    start_server: Any, connect: Any, request_of: Any, make_counts: Any, tmp_path: Path
) -> None:
    state = tmp_path / "state"
    server = start_server("blur", server={"state": str(state)})
    assert readyz(request_of, server)[1]["checks"]["disk"] == "ok"
    metrics = request_of("GET", "/metrics", server=server).body.decode()
    assert re.search(r'dimstream_disk_free_bytes\{folder="state"\} [1-9]', metrics)
    shutil.rmtree(state)
    state.write_text("no folder")
    deadline = time.monotonic() + 60
    while "cannot write" not in readyz(request_of, server)[1]["checks"]["journal"]:  # within a second
        assert time.monotonic() < deadline
        time.sleep(0.05)
    status, body = readyz(request_of, server)
    assert status == 503
    assert f"cannot write {state / 'journal.sqlite'}" in body["checks"]["journal"]
    peer = connect(server)
    assert peer.ask(Open(client="t", model="blur", shape=(24, 32), dtype="uint16")).code == "server_busy"
    state.unlink()
    while readyz(request_of, server)[0] != 200:  # the journal tries again from time to time
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert peer.denoise(peer.open().stream, 0, make_counts()).status == "done"


def test_the_description_tells_both_answers_of_readyz(request_of: Any) -> None:
    document = json.loads(request_of("GET", "/openapi.json").body)
    responses = document["paths"]["/readyz"]["get"]["responses"]
    for status in ("200", "503"):
        assert responses[status]["content"]["application/json"]["schema"]["$ref"].endswith("/ReadyBody")
    assert document["components"]["schemas"]["ReadyBody"]["required"] == ["ready", "checks", "server"]
