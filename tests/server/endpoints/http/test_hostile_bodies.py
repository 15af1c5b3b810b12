"""Strangers at the request endpoint: bodies that declare much, and requests of any kind; each is answered."""

import http.client
import json
import logging
import struct
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
from fuzz.targets import seeds
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

PATH = "/v1/models/blur/denoise"
FORM = "multipart/form-data; boundary=cut"
PART = b'--cut\r\nContent-Disposition: form-data; name="file"\r\n\r\nx\r\n'


def npy(shape: str, payload: bytes = b"", *, dtype: str = "<u2", order: str = "False") -> bytes:
    header = f"{{'descr': '{dtype}', 'fortran_order': {order}, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + payload


COUNTS = np.random.default_rng(0).poisson(3.0, (24, 32)).astype("<u2")
BODIES: dict[str, tuple[int, str, str, bytes]] = {
    "sides of thousands of digits": (422, "bad_image", "", npy(f"({'9' * 4000}, {'9' * 4000})")),
    "sides whose product wraps": (413, "oversize", "", npy("(4294967296, 4294967296)")),
    "a side of zero": (422, "bad_image", "", npy("(0, 32)")),
    "a million axes": (422, "bad_image", "", npy("(" + "1," * 2000 + ")", b"\0\0")),
    "a structure": (422, "wrong_dtype", "", npy("(1, 1)", bytes(4), dtype="<u2,<u2")),
    "a form of many parts": (400, "bad_multipart", FORM, PART * 50_000 + b"--cut--\r\n"),
    "a form of two files": (400, "bad_multipart", FORM, PART * 2 + b"--cut--\r\n"),
    "a form with an endless header": (
        400,
        "bad_multipart",
        FORM,
        b"--cut\r\nContent-Disposition: form-data; x=" + b"y" * 2**21,
    ),
    "a form with many headers": (400, "bad_multipart", FORM, b"--cut\r\n" + b"A: b\r\n" * 10_000),
    "a form in a form": (422, "bad_image", FORM, PART.replace(b"x\r\n", PART) + b"--cut--\r\n"),
    "a boundary without end": (400, "bad_multipart", "multipart/form-data; boundary=" + "c" * 9000, PART),
    "a boundary of nothing": (400, "bad_multipart", 'multipart/form-data; boundary=""', PART),
}


@pytest.mark.parametrize("case", BODIES)
def test_a_body_that_declares_too_much_is_refused(request_of: Any, case: str) -> None:
    status, code, content_type, body = BODIES[case]
    answer = request_of("POST", PATH, body, {"Content-Type": content_type} if content_type else {})
    problem = json.loads(answer.body)
    assert (answer.status, problem["code"]) == (status, code), problem
    assert len(problem["detail"]) < 1000


def test_fortran_order_is_read_as_it_is_meant(request_of: Any) -> None:
    headers = {"Accept": "application/x-npy"}
    straight = request_of("POST", PATH, npy("(24, 32)", COUNTS.tobytes()), headers)
    turned = request_of("POST", PATH, npy("(24, 32)", COUNTS.tobytes("F"), order="True"), headers)
    np.testing.assert_array_equal(turned.array(), straight.array())


def test_a_broken_form_is_told_once_and_not_in_the_log(
    request_of: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        request_of("POST", PATH, b"--cut\r\n\0: b\r\n" * 50, {"Content-Type": FORM})
    assert not [record for record in caplog.records if "multipart" in record.name]


VISIBLE = st.text(
    st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f"), max_size=30
)
TYPES = st.sampled_from(
    [
        "image/tiff",
        "application/x-npy",
        FORM,
        "multipart/form-data; boundary=\"c;u\"; =; x*=utf-8''%zz",
        'a;b="',
    ]
)
ACCEPTS = st.sampled_from(["image/*;q=0.5, */*;q=nan", "image/png;q=1e999", ",,;;", "*/*;q=-1", "*"])
NAMES = st.sampled_from(["axes", "view", "time", "aspect", "report", "out_dtype", "output", "split_every"])
CONTENTS = [path.read_bytes() for name in ("tiff", "npy", "form") for path in seeds(name)]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    body=st.sampled_from(CONTENTS) | st.binary(max_size=50),
    content_type=TYPES | VISIBLE,
    accept=ACCEPTS | VISIBLE,
    query=st.dictionaries(NAMES | VISIBLE, VISIBLE | st.sampled_from(["YX", "projection", "1"]), max_size=2),
)
def test_any_request_is_answered_and_no_fault_of_the_server(
    request_of: Any, body: bytes, content_type: str, accept: str, query: dict[str, str]
) -> None:
    asked = "&".join(f"{quote(name)}={quote(value)}" for name, value in query.items())
    headers = {"Content-Type": content_type.strip(), "Accept": accept.strip()}
    answer = request_of("POST", f"{PATH}?{asked}", body, headers)
    assert answer.status == 200 or 400 <= answer.status < 500, answer
    if answer.status >= 400:
        problem = json.loads(answer.body)
        assert problem["detail"].isprintable()


@pytest.mark.parametrize("length", ["\xb2", "9" * 400, "-1", "0x10", "1, 2", "+5"])
def test_a_length_that_is_no_number_is_refused(server: Any, length: str) -> None:
    connection = http.client.HTTPConnection(server.addresses.http.removeprefix("http://"), timeout=60)
    connection.putrequest("POST", PATH)
    connection.putheader("Content-Length", length)
    connection.endheaders(b"x")
    answer = connection.getresponse()
    assert answer.status in (400, 413)
    assert answer.headers["Content-Type"] == "application/problem+json"
    connection.close()
