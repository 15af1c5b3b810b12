"""Strangers at the Open Inference Protocol: each is told what is wrong, and the next one is answered."""

import gzip
import json
import subprocess
import zlib
from typing import Any

import numpy as np
import pytest
from doc_examples import example
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

PATH = "/v2/models/blur/infer"
LENGTH = "Inference-Header-Content-Length"
COUNTS = np.random.default_rng(0).poisson(3.0, (24, 32)).astype("<u2")
PIXELS = COUNTS.tobytes()


def request(*, shape: Any = (24, 32), datatype: Any = "UINT16", size: Any = 1536, **members: Any) -> bytes:
    """JSON of a request, whose values follow behind it."""
    parameters = {} if size is None else {"parameters": {"binary_data_size": size}}
    tensor = {"name": "frame", "shape": shape, "datatype": datatype, **parameters}
    return json.dumps({"inputs": [tensor], **members}).encode()


def in_json(data: Any, *, shape: Any = (24, 32), datatype: str = "UINT16") -> bytes:
    tensor = {"name": "frame", "shape": shape, "datatype": datatype, "data": data}
    return json.dumps({"inputs": [tensor]}).encode()


def behind(head: bytes, pixels: bytes = PIXELS, *, length: Any = None) -> tuple[bytes, dict[str, str]]:
    return head + pixels, {LENGTH: str(len(head) if length is None else length)}


WHOLE = request()
BOMB = zlib.compress(bytes(2**23))  # 8 MiB, where 4 are taken
CASES: dict[str, tuple[str, tuple[bytes, dict[str, str]]]] = {
    "nothing": ("bad_header", (b"", {})),
    "no JSON": ("bad_header", (b"\xff\xfe{}", {})),
    "a list": ("bad_field", (b"[]", {})),
    "a number": ("bad_field", (b"7", {})),
    "no inputs": ("bad_field", (b'{"inputs": []}', {})),
    "lists without end": ("bad_header", (b"[" * 2000, {})),
    "lists in lists without end": ("bad_header", (b'{"inputs": ' + b"[" * 10_000 + b"]" * 10_000 + b"}", {})),
    "empty lists by the million": ("bad_header", (b"[" + b"[]," * 10**6 + b"[]]", {})),
    "a number of a million digits": ("bad_header", (b'{"inputs": ' + b"9" * 10**6 + b"}", {})),
    "NaN": ("bad_header", (in_json([float("nan")] * 768, datatype="FP32"), {})),
    "a member twice": ("bad_header", (b'{"inputs": [], "inputs": []}', {})),
    "a length that is no number": ("bad_request", behind(WHOLE, length="0x10")),
    "a length of foreign digits": ("bad_request", behind(WHOLE, length="\u00b2")),
    "a length below zero": ("bad_request", behind(WHOLE, length=-1)),
    "no JSON before the tensor": ("bad_request", behind(b"", length=0)),
    "a length beyond the body": ("bad_request", behind(WHOLE, length=10**9)),
    "a length of thousands of digits": ("bad_request", behind(WHOLE, length="9" * 5000)),
    "a length that cuts the JSON": ("bad_header", behind(WHOLE, length=20)),
    "a length that takes in pixels": ("bad_header", behind(WHOLE, length=len(WHOLE) + 9)),
    "too few bytes": ("wrong_size", behind(WHOLE, PIXELS[:-1])),
    "too many bytes": ("wrong_size", behind(WHOLE, PIXELS + b"\0")),
    "a size that lies": ("wrong_size", behind(request(size=7))),
    "a size beyond all memory": ("wrong_size", behind(request(size=2**70))),
    "a size below zero": ("bad_field", behind(request(size=-1))),
    "a size that is a text": ("bad_field", behind(request(size="1536"))),
    "no size": ("wrong_size", behind(request(size=None))),
    "values twice": ("bad_field", behind(request().replace(b'"name"', b'"data": [1], "name"'))),
    "a side below zero": ("bad_field", behind(request(shape=(-24, -32)))),
    "a side of zero": ("bad_field", behind(request(shape=(0, 32)), b"")),
    "a side that is not whole": ("bad_field", behind(request(shape=(24.5, 32)))),
    "sides whose product wraps": ("wrong_size", behind(request(shape=(2**31 - 1, 2**31 - 1)))),
    "sides whose product wraps to the truth": ("oversize", behind(request(shape=(2**30, 2**30, 2**30)))),
    "a side beyond 64 bits": ("bad_field", behind(request(shape=(2**70, 32)))),
    "a thousand axes": ("bad_field", behind(request(shape=(1,) * 1000))),
    "a million frames": ("oversize", behind(request(shape=(10**6, 24, 32)))),
    "half floats that are BF16": ("wrong_dtype", behind(request(datatype="BF16"))),
    "texts whose lengths lie": ("wrong_dtype", behind(request(datatype="BYTES"), b"\xff\xff\xff\xff" * 384)),
    "a datatype that is a list": ("bad_field", behind(request(datatype=["UINT16"]))),
    "shared memory": (
        "bad_field",
        (request(size=None).replace(b'"name"', b'"parameters": {"shared_memory_region": "a"}, "name"'), {}),
    ),
    "outputs by the thousand": ("bad_field", behind(request(outputs=[{"name": "flag"}] * 1000))),
    "an output twice": ("bad_field", behind(request(outputs=[{"name": "flag"}] * 2))),
    "an id without end": ("bad_field", behind(request(id="x" * 10_000))),
    "data of texts": ("bad_field", (in_json(["1"] * 768), {})),
    "data of nothing": ("bad_field", (in_json([]), {})),
    "data of objects": ("bad_field", (in_json([{}] * 768), {})),
    "data of null": ("bad_field", (in_json([None] * 768), {})),
    "data of uneven rows": ("bad_field", (in_json([[1, 2], [3]], shape=(1, 3)), {})),
    "data too large for its type": ("bad_field", (in_json([65536] * 768), {})),
    "data below zero": ("bad_field", (in_json([-1] * 768), {})),
    "data beyond 64 bits": ("bad_field", (in_json([2**80] * 768, datatype="UINT64"), {})),
    "data that is not whole": ("bad_field", (in_json([0.5] * 768), {})),
    "data beyond float32": ("not_finite", (in_json([1e300] * 768, datatype="FP32"), {})),
    "JSON of many bytes": ("oversize", (b" " * (2**22 - 8), {"Content-Encoding": "identity"})),
    "a bomb": ("oversize", (BOMB, {"Content-Encoding": "deflate"})),
    "a bomb in a bomb": (
        "bad_header",
        (gzip.compress(gzip.compress(bytes(2**23))), {"Content-Encoding": "gzip"}),
    ),
    "half a stream": ("bad_request", (gzip.compress(WHOLE)[:-9], {"Content-Encoding": "gzip"})),
    "two streams": ("bad_request", (gzip.compress(WHOLE) * 2, {"Content-Encoding": "gzip"})),
    "no gzip": ("bad_request", (WHOLE, {"Content-Encoding": "gzip"})),
    "two encodings": ("unsupported_media_type", (WHOLE, {"Content-Encoding": "gzip, gzip"})),
    "another encoding": ("unsupported_media_type", (WHOLE, {"Content-Encoding": "br"})),
}


@pytest.fixture(scope="module")
def server(start_module_server: Any) -> Any:
    """Takes JSON of no more than the body's bound here, so that a small one reaches it."""
    return start_module_server("blur", http={"max_body_bytes": 2**22})


@pytest.mark.parametrize("case", CASES)
def test_what_is_wrong_is_said(request_of: Any, case: str) -> None:
    code, (body, headers) = CASES[case]
    if case == "JSON of many bytes":
        body, code = body + b"{}", "bad_field"
    answer = request_of("POST", PATH, body, headers)
    problem = json.loads(answer.body)
    assert problem["code"] == code, problem
    assert problem["error"] == problem["detail"]
    assert len(problem["detail"]) < 1000
    assert answer.status == problem["status"] < 500


def test_the_next_request_on_the_same_connection_is_answered(request_of: Any) -> None:
    answer = request_of("POST", PATH, *behind(WHOLE))
    assert answer.status == 200
    assert {one["name"] for one in json.loads(answer.body)["outputs"]} >= {"denoised", "flag"}


def test_json_beyond_its_bound_is_refused_before_it_is_read(start_server: Any, request_of: Any) -> None:
    server = start_server("blur")
    answer = request_of("POST", PATH, b" " * (8 * 2**20) + b"{}", server=server)
    assert (answer.status, json.loads(answer.body)["code"]) == (413, "oversize")


def test_pixels_beyond_a_bound_are_not_sent_as_json(start_server: Any, request_of: Any) -> None:
    server = start_server("blur")
    head = request(shape=(1025, 1024), datatype="UINT8", size=1025 * 1024)
    body, headers = behind(head, bytes(1025 * 1024))
    answer = request_of("POST", PATH, body, headers, server=server)
    assert answer.status == 413
    assert "ask for them with binary_data" in json.loads(answer.body)["error"]


@pytest.mark.parametrize("path", ["/v2/", "/v2/models", "/v2/models/blur/trace/setting", "/v2/models/er"])
def test_paths_that_are_not_there_have_the_clients_member(request_of: Any, path: str) -> None:
    answer = request_of("GET", path)
    assert answer.status == 404
    assert json.loads(answer.body)["error"]


def test_other_paths_have_no_such_member(request_of: Any) -> None:
    assert "error" not in json.loads(request_of("GET", "/v1/models/er").body)
    assert "error" not in json.loads(request_of("GET", "/v22").body)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    at=st.integers(0, len(WHOLE) + len(PIXELS) - 1),
    cut=st.integers(0, 40),
    put=st.binary(max_size=40),
    length=st.one_of(st.just(len(WHOLE)), st.integers(0, 2 * len(WHOLE))),
)
def test_damaged_requests_are_answered(request_of: Any, at: int, cut: int, put: bytes, length: int) -> None:
    body = WHOLE + PIXELS
    answer = request_of("POST", PATH, body[:at] + put + body[at + cut :], {LENGTH: str(length)})
    assert answer.status in (200, 400, 413, 422)
    json.loads(answer.body)


def test_curl_alone_is_enough(server: Any, tmp_path: Any) -> None:
    COUNTS.tofile(tmp_path / "frame.raw")
    in_json, behind_it = (
        example("open-inference.md", "sh", containing)
        .replace("http://127.0.0.1:8570", server.addresses.http)
        .replace("er-sted-light", "blur")
        .replace("[600, 600]", "[24, 32]")
        .replace("720000", "1536")
        for containing in ("--json", "frame.raw")
    )
    flag, denoised = json.loads(run_in(tmp_path, in_json))["outputs"]
    assert flag == {"name": "flag", "datatype": "BYTES", "shape": [1], "data": ["unjudged"]}
    assert (denoised["shape"], len(denoised["data"])) == ([8, 8], 64)
    assert json.loads(run_in(tmp_path, behind_it))["outputs"] == [flag]


def run_in(folder: Any, script: str) -> bytes:
    command = ["bash", "-c", script.replace("curl ", "curl -sS ")]
    return subprocess.run(command, cwd=folder, capture_output=True, check=True, timeout=60).stdout
