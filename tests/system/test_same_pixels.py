"""One movie through ZeroMQ, through HTTP and through the library in process: the same pixels and flags."""

import http.client
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import h5py
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from shipped import BUNDLE, MODEL

from dimstream_client import Client
from dimstream_models.arithmetic import (
    as_counts,
    edge_pad,
    normalise_prediction,
    rescale,
    signal_fractions,
)
from dimstream_models.bundle import read_bundle
from dimstream_models.ssim import ssim
from dimstream_models.training.export.onnx_export import OnnxRunner
from dimstream_server.engine.local_engine import LocalEngine
from dimstream_server.engine.protocol import FrameTask, StreamSpec
from dimstream_server.server_process import RunningServer

pytestmark = pytest.mark.slow

REAL = {
    "06 area 1": "06_sted_live_movies/area002_001.tif",
    "06 area 3": "06_sted_live_movies/area002_003.tif",
    "06 vesicles": "06_sted_live_movies/syt_triggered_001.tif",
    "06 vesicles, control": "06_sted_live_movies/syt_control_002.tif",
}


@dataclass(frozen=True)
class Answer:
    """A movie's pixels and, for each frame, flag, reason and SSIM."""

    pixels: NDArray[Any]
    judged: list[tuple[str, str | None, float | None]]

    def assert_equals(self, other: "Answer") -> None:
        assert np.array_equal(self.pixels, other.pixels)
        assert self.judged == other.judged


def through_zmq(endpoint: str, movie: NDArray[Any], out_dtype: str) -> Answer:
    with Client(endpoint) as client:
        results = list(client.stream(movie, out_dtype=out_dtype, window=4))
    return Answer(
        np.stack([result.pixels for result in results if result.pixels is not None]),
        [(result.flag, result.reason, result.ssim_prev) for result in results],
    )


def post(url: str, movie: NDArray[Any], accept: str, out_dtype: str) -> bytes:
    body, place = io.BytesIO(), urlsplit(url)
    np.save(body, movie)
    connection = http.client.HTTPConnection(place.hostname or "", place.port or 0, timeout=120)
    try:
        target = f"/v1/models/{MODEL}/denoise?out_dtype={out_dtype}"
        connection.request(
            "POST", target, body.getvalue(), {"Content-Type": "application/x-npy", "Accept": accept}
        )
        response = connection.getresponse()
        content = response.read()
        assert response.status == 200, content
        return content
    finally:
        connection.close()


def through_http(url: str, movie: NDArray[Any], out_dtype: str) -> Answer:
    pixels = np.load(io.BytesIO(post(url, movie, "application/x-npy", out_dtype)))
    report = json.loads(post(url, movie, "application/json", out_dtype))
    return Answer(pixels, [(f["flag"], f["reason"], f["ssim_prev"]) for f in report["frames"]])


def in_process(movie: NDArray[Any], out_dtype: Any) -> Answer:
    engine = LocalEngine([read_bundle(BUNDLE)])
    spec = StreamSpec(MODEL, movie.shape[1:], movie.dtype.name, out_dtype)  # type: ignore[arg-type]
    stream = engine.open(spec)
    results = [
        engine.submit(stream, FrameTask(seq=i, t=i, plane=(0, 0, 0), pixels=f)).result(60)
        for i, f in enumerate(movie)
    ]
    engine.close(stream)
    engine.drain().result(60)
    return Answer(np.stack([r.pixels for r in results]), [(r.flag, r.reason, r.ssim_prev) for r in results])


def read_movie(path: Path) -> NDArray[Any]:
    if path.suffix == ".hdf5":
        with h5py.File(path) as file:
            return np.asarray(file["data:APDgreen"], np.uint16)
    return np.asarray(tifffile.imread(path))


@pytest.mark.parametrize("out_dtype", ["uint16", "float32"])
def test_the_sample_through_every_endpoint(
    server: RunningServer, sample: NDArray[np.uint16], out_dtype: str
) -> None:
    movie = sample[26:34, :100, :117]  # across the border to the empty field; sides not divisible by 8
    by_zmq = through_zmq(server.zmq, movie, out_dtype)
    by_zmq.assert_equals(through_http(server.http, movie, out_dtype))
    by_zmq.assert_equals(in_process(movie, out_dtype))
    assert [flag for flag, _, _ in by_zmq.judged] == ["unjudged", "ok", "ok", "ok", *["suspect"] * 4]


@pytest.mark.parametrize("name", REAL.values(), ids=REAL)
def test_real_movies_through_both_endpoints(shared: Path, server: RunningServer, name: str) -> None:
    movie = read_movie(shared / name)[:8]
    by_zmq = through_zmq(server.zmq, movie, "float32")
    by_zmq.assert_equals(through_http(server.http, movie, "float32"))
    assert np.isfinite(by_zmq.pixels).all()
    assert [flag for flag, _, _ in by_zmq.judged] == ["unjudged"] + ["ok"] * 7


def test_a_real_dark_recording_is_suspect(shared: Path, server: RunningServer) -> None:
    field = read_movie(shared / "11_dark_noise" / "apd_late_gate.tif")
    halves = np.stack([field[:124, :248], field[125:249, :248]])  # two independent looks at nothing
    assert through_zmq(server.zmq, halves, "uint16").judged[1][0] == "suspect"


def test_the_fused_graph_equals_the_numpy_path(sample: NDArray[np.uint16]) -> None:
    bundle, movie = read_bundle(BUNDLE), sample[:3, :90, :75]
    run = OnnxRunner(bundle.onnx)
    predictions = [
        run(edge_pad(frame, bundle.step).astype(np.float32)[None, None])[0, 0, :90, :75] for frame in movie
    ]
    assert bundle.gain is not None
    assert bundle.offset is not None
    answer = in_process(movie, "uint16")
    for prediction, pixels in zip(predictions, answer.pixels, strict=True):
        counts = rescale(prediction, bundle.gain, bundle.offset, bundle.clip_min, bundle.clip_max)
        assert np.abs(as_counts(counts, "uint16").astype(int) - pixels.astype(int)).max() <= 1
    planes = [normalise_prediction(p, bundle.ssim.normalisation) for p in predictions]
    for i in (1, 2):
        expected = ssim(
            planes[i - 1], planes[i], data_range=bundle.ssim.data_range, window=bundle.ssim.window
        )
        assert answer.judged[i][2] == pytest.approx(expected, abs=1e-4)


def test_fractions_are_the_papers_classes(server: RunningServer, sample: NDArray[np.uint16]) -> None:
    with Client(server.zmq) as client:
        result = next(iter(client.stream(sample[:1])))
    assert result.fractions is not None
    found = (result.fractions.background, result.fractions.uncertain, result.fractions.signal)
    assert found == pytest.approx(signal_fractions(sample[0], 10, 5, 25), abs=1e-6)
