"""Frames for which there is no memory: refused in words on every path, before any of their pixels is read."""

import json
from typing import Any

import numpy as np
import pytest
from shipped import BUNDLE

from dimstream_client.errors import Code
from dimstream_client.messages import Error, Open, Update
from dimstream_models.bundle import read_bundle

SHAPE = (256, 256)
TOO_LARGE = (4096, 4096)


@pytest.fixture(scope="module")
def server(start_module_server: Any) -> Any:
    return start_module_server("blur", limits={"max_network_bytes": 40 * 2**20})


def test_a_stream_is_refused_when_it_is_opened(server: Any, connect: Any, make_counts: Any) -> None:
    peer = connect(server)
    refused = peer.ask(Open(client="test", model="blur", shape=TOO_LARGE, dtype="uint16"))
    assert isinstance(refused, Error)
    assert refused.code == Code.OVERSIZE
    assert "limits.max_network_bytes" in refused.detail
    assert "send regions of at most" in refused.detail
    opened = peer.open(SHAPE)
    assert peer.denoise(opened.stream, 0, make_counts(SHAPE)).status == "done"


def test_a_request_is_refused_before_its_frames_are_denoised(server: Any, request_of: Any) -> None:
    head = {"name": "frame", "shape": TOO_LARGE, "datatype": "UINT8"}
    head["parameters"] = {"binary_data_size": 2**24}
    text = json.dumps({"inputs": [head], "outputs": [{"name": "flag"}]}).encode()
    length = {"Inference-Header-Content-Length": str(len(text))}
    answer = request_of("POST", "/v2/models/blur/infer", text + bytes(2**24), length)
    assert answer.status == 413
    assert "send regions of at most" in json.loads(answer.body)["error"]


def test_a_larger_model_is_refused_in_the_midst_of_a_stream(
    start_server: Any, tiny_bundle: Any, connect: Any, make_counts: Any
) -> None:
    """The model that ships takes more of the same frame."""
    shipped = read_bundle(BUNDLE)
    server = start_server(tiny_bundle("blur"), shipped, limits={"max_network_bytes": 20 * 2**20})
    peer = connect(server)
    opened = peer.open(SHAPE)
    refused = peer.ask(Update(stream=opened.stream, from_seq=0, model=shipped.id))
    assert isinstance(refused, Error)
    assert refused.code == Code.OVERSIZE
    assert peer.denoise(opened.stream, 0, make_counts(SHAPE)).status == "done"
    assert np.prod(SHAPE) * server.engine.models()["blur"].bytes_per_pixel < 20 * 2**20


def test_the_split_photon_check_needs_more(server: Any, connect: Any, request_of: Any) -> None:
    peer = connect(server)
    shape = (400, 400)
    peer.open(shape)
    refused = peer.ask(Open(client="test", model="blur", shape=shape, dtype="uint16", split_every=1))
    assert isinstance(refused, Error)
    assert refused.code == Code.OVERSIZE
