"""The HTTP endpoint against its own description: generated requests bring the answers that it tells."""

import io
import json
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import schemathesis
import tifffile
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi import checks

from dimstream_client.keys import TOKEN, make_token, read_only_entry

pytestmark = pytest.mark.slow

DENOISE = "/v1/models/{model_id}/denoise"
INFER = "/v2/models/{model_id}/infer"
OPERATIONS = [
    ("POST", DENOISE),
    ("GET", "/v1/models"),
    ("POST", "/v1/models"),
    ("DELETE", "/v1/models/{model_id}"),
    ("PATCH", "/v1/streams/{stream_id}"),
    ("GET", "/v1/models/{model_id}"),
    ("GET", "/v1/streams"),
    ("GET", "/v1/figures"),
    ("POST", "/v1/streams/{stream_id}/figures"),
    ("GET", "/livez"),
    ("GET", "/readyz"),
    ("GET", "/metrics"),
    ("POST", "/live/ticket"),
    ("GET", "/live/frame.tif"),
    ("GET", "/v2"),
    ("GET", "/v2/health/live"),
    ("GET", "/v2/health/ready"),
    ("POST", "/v2/repository/index"),
    *(("GET", f"/v2/models/{{model_id}}{rest}") for rest in ("", "/ready", "/config")),
    *(("GET", f"/v2/models/{{model_id}}/versions/{{version}}{rest}") for rest in ("", "/ready", "/config")),
    ("POST", INFER),
    ("POST", "/v2/models/{model_id}/versions/{version}/infer"),
]
CHECKS = [
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
    checks.response_headers_conformance,
]
PHASES = (Phase.generate,)  # to shrink a request takes longer than to read it
PROBLEM = "application/problem+json"


def saved(write: Any, array: Any) -> bytes:
    file = io.BytesIO()
    write(file, array)
    return file.getvalue()


COUNTS = np.random.default_rng(0).poisson(3.0, (2, 24, 32)).astype(np.uint16)
BODIES = st.sampled_from(
    [saved(np.save, COUNTS[0]), saved(np.save, COUNTS), saved(tifffile.imwrite, COUNTS), b"", b"no image"]
)
ACCEPTS = st.sampled_from(
    ["*/*", "image/tiff", "image/png", "application/x-npy", "application/json", "text/html", "image/png;q=x"]
)


@pytest.fixture(scope="module")
def operator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of an operator's token."""
    return make_token(tmp_path_factory.mktemp("operators"), "ada")


@pytest.fixture(scope="module")
def server(start_module_server: Any, operator: Path) -> Any:
    return start_module_server(
        *("blur", "raising"),
        server={"bundle_folders": [str(operator.parent)]},
        limits={"max_frame_bytes": 2**20},
        http={"max_body_bytes": 2**22, "operator_tokens": str(operator)},
    )


@pytest.fixture(scope="module")
def description(server: Any) -> Any:
    return schemathesis.openapi.from_url(f"{server.addresses.http}/openapi.json")


def test_every_operation_is_tried(description: Any) -> None:
    found = [result.ok() for result in description.get_all_operations()]
    assert {(each.method.upper(), each.path) for each in found} == set(OPERATIONS)


@pytest.mark.parametrize(
    ("method", "path", "mode"),
    [(*operation, GenerationMode.POSITIVE) for operation in OPERATIONS]
    + [  # the others take nothing that could be wrong
        ("POST", DENOISE, GenerationMode.NEGATIVE),
        ("POST", INFER, GenerationMode.NEGATIVE),
        ("POST", "/v1/models", GenerationMode.NEGATIVE),
        ("PATCH", "/v1/streams/{stream_id}", GenerationMode.NEGATIVE),
        ("POST", "/v1/streams/{stream_id}/figures", GenerationMode.NEGATIVE),
    ],
)
def test_answers_are_those_that_are_described(
    description: Any, operator: Path, method: str, path: str, mode: GenerationMode
) -> None:
    operation = description[path][method]
    token = {"Authorization": f"Bearer {read_only_entry(operator, TOKEN).value}"}

    @settings(max_examples=25 if path == DENOISE else 6, phases=PHASES)
    @given(case=operation.as_strategy(generation_mode=mode), data=st.data())
    def ask(case: Any, data: Any) -> None:
        named = "model_id" in (case.path_parameters or {}) and method != "DELETE"
        if named and data.draw(st.integers(0, 3)):
            case.path_parameters["model_id"] = data.draw(st.sampled_from(["blur", "raising"]))
        if path == DENOISE:
            case.media_type = "application/octet-stream"
            case.body = data.draw(BODIES)
            case.headers["Accept"] = data.draw(ACCEPTS)
        answer = case.call(headers=token)
        case.validate_response(answer, checks=CHECKS)
        if answer.status_code >= 400:
            check_problem(answer)

    ask()


def check_problem(answer: Any) -> None:
    assert answer.headers["content-type"] == [PROBLEM]
    problem = answer.json()
    assert problem["status"] == answer.status_code
    assert problem["type"] == f"urn:dimstream:error:{problem['code']}"
    assert "\n" not in problem["detail"]


def test_the_description_is_one_that_its_standard_knows(server: Any) -> None:
    document = json.loads(httpx.get(f"{server.addresses.http}/openapi.json").content)
    assert document["openapi"].startswith("3.1")
