"""Streams whose pixels are matched to those that the model knows give the same by every endpoint."""

import io
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from dimstream_client.messages import Open
from dimstream_models.bundle import Bundle, DimstreamConfig, ScaleLinear, Thresholds

SHAPE = (40, 48)
PATH = "/v1/models/fine/denoise"
NPY = {"Accept": "application/x-npy"}


@pytest.fixture
def server(tiny_bundle: Callable[..., Bundle], start_server: Any) -> Any:
    """Serve a model that knows pixels of 16 to 25 nm, and makes of every count 3 times as many, plus 1."""
    limits = Thresholds(ssim=0.3, background_max=5, signal_min=25, window_px=10)
    settings = tiny_bundle("blur").ssim
    config = DimstreamConfig.model_construct(ssim=settings, thresholds=limits, pixel_sizes_nm=(16.0, 25.0))
    return start_server(
        tiny_bundle("identity", id="fine", config=config, postprocessing=(ScaleLinear(3.0, 1.0),))
    )


def _counts() -> Any:
    return np.random.default_rng(3).poisson(4.0, (2, *SHAPE)).astype(np.uint16)


def _npy(array: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def _matched(**changes: Any) -> Open:
    given = {"pixel_size_um": 0.04, "match_pixel_size": True} | changes
    return Open(client="camera", model="fine", shape=SHAPE, dtype="uint16", **given)


def test_results_have_the_pixels_and_the_total_of_the_frames(
    server: Any, connect: Any, request_of: Any
) -> None:
    peer, counts = connect(server), _counts()
    stream = peer.ask(_matched()).stream
    query = "?pixel_size_um=0.04&match_pixel_size=true&axes=TYX"
    posted = request_of("POST", PATH + query, _npy(counts), NPY, server=server).array()
    for seq, frame in enumerate(counts):
        found = peer.denoise(stream, seq, frame)
        np.testing.assert_array_equal(found.pixels, 3 * frame + 4)
        np.testing.assert_array_equal(posted[seq], 3 * frame + 4)
        assert "pixel_size" not in found.quality.notes


def test_other_pixels_are_noted_by_every_endpoint(server: Any, connect: Any, request_of: Any) -> None:
    peer, counts = connect(server), _counts()
    stream = peer.ask(_matched(match_pixel_size=None)).stream
    assert "pixel_size" in peer.denoise(stream, 0, counts[0]).quality.notes
    query = "?pixel_size_um=0.04&axes=TYX&report=json"
    report = json.loads(request_of("POST", PATH + query, _npy(counts), server=server).body)
    assert all("pixel_size" in frame["quality"]["notes"] for frame in report["frames"])


def test_what_cannot_be_matched_is_refused(server: Any, connect: Any, request_of: Any) -> None:
    peer = connect(server)
    assert peer.ask(_matched(pixel_size_um=None)).code == "bad_pixel_size"
    answer = request_of("POST", PATH + "?match_pixel_size=true&axes=TYX", _npy(_counts()), server=server)
    assert (answer.status, json.loads(answer.body)["code"]) == (422, "bad_pixel_size")
