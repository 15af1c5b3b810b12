"""Error bars on request, the same on both endpoints and in recordings, and refused where there are none."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from dimstream_client.errors import Code
from dimstream_client.messages import Close, Closed, Error, Frame, Open, Update
from dimstream_models.bundle import Bundle, ErrorBar

SHAPE = (24, 32)
PATH = "/v1/models/identity/denoise"
NPY = {"Accept": "application/x-npy"}


def npy(array: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def expected(frame: Any) -> Any:
    """What the tiny network says, times the tiny bundle's gain."""
    return 3 * (np.sqrt(frame) + 0.1 * frame)


@pytest.fixture
def with_sd(
    tiny_bundle: Callable[..., Bundle], tiny_error_bar: Callable[..., ErrorBar]
) -> tuple[Bundle, Bundle]:
    """A model with error bars, and one without."""
    return tiny_bundle("identity", error_bar=tiny_error_bar()), tiny_bundle("blur")


def test_both_endpoints_send_the_same(
    start_server: Any, connect: Any, request_of: Any, make_counts: Any, with_sd: tuple[Bundle, Bundle]
) -> None:
    server, frame = start_server(*with_sd), make_counts()
    peer = connect(server)
    for deliver, maps in (("result", False), ("flags", True), ("flags", False)):
        opened = peer.open(SHAPE, model="identity", deliver=deliver, maps=maps, sd=True, checksum="crc32")
        result = peer.denoise(opened.stream, 0, frame)
        assert ((result.pixels is None), (result.support is None)) == (deliver == "flags", not maps)
        assert result.sd.dtype == np.float32
        np.testing.assert_allclose(result.sd, expected(frame), rtol=1e-6)
    answer = request_of("POST", f"{PATH}?output=sd", npy(frame), NPY, server=server)
    np.testing.assert_array_equal(answer.array(), result.sd)
    tiff = request_of("POST", f"{PATH}?output=sd", npy(frame), server=server)
    np.testing.assert_array_equal(tifffile.imread(io.BytesIO(tiff.body)), result.sd)
    png = request_of("POST", f"{PATH}?output=sd", npy(frame), {"Accept": "image/png"}, server=server)
    assert png.status == 406


def test_a_stream_that_asks_for_none_pays_for_none(
    start_server: Any, connect: Any, make_counts: Any, with_sd: tuple[Bundle, Bundle]
) -> None:
    peer = connect(start_server(*with_sd))
    opened = peer.open(SHAPE, model="identity")
    peer.send(Frame(opened.stream, 0, make_counts()))
    parts = peer.socket.recv_multipart()
    assert len(parts) == 3
    assert "sd" not in json.loads(parts[1])


def test_a_model_without_error_bars_says_so(
    start_server: Any, connect: Any, request_of: Any, make_counts: Any, with_sd: tuple[Bundle, Bundle]
) -> None:
    server = start_server(*with_sd)
    peer = connect(server)
    refused = peer.ask(Open("test", SHAPE, "uint16", model="blur", sd=True))
    assert isinstance(refused, Error)
    assert (refused.code, refused.status) == (Code.NO_ERROR_BAR, 422)
    assert "blur has no error bar" in refused.detail
    answer = request_of("POST", "/v1/models/blur/denoise?output=sd", npy(make_counts()), server=server)
    assert answer.status == 422
    assert "blur has no error bar" in json.loads(answer.body)["detail"]
    opened = peer.open(SHAPE, model="identity", sd=True)
    changed = peer.ask(Update(opened.stream, 1, model="blur"))
    assert isinstance(changed, Error)
    assert changed.code == Code.NO_ERROR_BAR
    assert peer.denoise(opened.stream, 0, make_counts()).sd is not None


def test_a_view_of_them_is_refused(request_of: Any, make_counts: Any) -> None:
    answer = request_of("POST", "/v1/models/blur/denoise?output=sd&view=projection", npy(make_counts()))
    assert (answer.status, json.loads(answer.body)["code"]) == (422, "bad_query")


def test_a_failed_frame_has_none(
    start_server: Any,
    connect: Any,
    make_counts: Any,
    tiny_bundle: Callable[..., Bundle],
    tiny_error_bar: Callable[..., ErrorBar],
) -> None:
    peer = connect(start_server(tiny_bundle("raising", error_bar=tiny_error_bar())))
    opened = peer.open(SHAPE, model="raising", sd=True)
    bad = make_counts()
    bad[:2, :2] = 999
    failed, good = (peer.denoise(opened.stream, seq, frame) for seq, frame in enumerate((bad, make_counts())))
    assert (failed.status, failed.sd) == ("failed", None)
    assert good.sd.shape == SHAPE


def test_a_recording_keeps_them(
    start_server: Any, connect: Any, make_counts: Any, with_sd: tuple[Bundle, Bundle], tmp_path: Path
) -> None:
    server = start_server(*with_sd, recording={"folder": str(tmp_path)})
    peer, frames = connect(server), [make_counts() for _ in range(3)]
    opened = peer.open(SHAPE, model="identity", sd=True, save=True)
    answers = [peer.denoise(opened.stream, seq, frame) for seq, frame in enumerate(frames)]
    closed = peer.ask(Close(opened.stream, 2))
    assert isinstance(closed, Closed)
    (name,) = (file["name"] for file in closed.files if file["name"].endswith("sd.ome.tif"))
    np.testing.assert_array_equal(tifffile.imread(tmp_path / name), [answer.sd for answer in answers])
