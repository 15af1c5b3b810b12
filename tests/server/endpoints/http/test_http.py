"""The HTTP endpoint: what the server is, stacks in and out, flags, refusals as problems."""

import asyncio
import io
import json
import re
import socket
import threading
import time
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile

from dimstream_client.files import Scale, open_images
from dimstream_client.files.tiff_writer import StackWriter
from dimstream_client.messages import Frame
from dimstream_server.endpoints.http.denoising import Denoised, Denoiser, Order
from dimstream_server.endpoints.http.frame_options import FrameOptions
from dimstream_server.endpoints.http.image_answers import allows
from dimstream_server.engine.local_engine import LocalEngine
from dimstream_server.monitoring.metrics import Metrics
from dimstream_server.settings import Settings
from dimstream_server.streams import StreamService
from dimstream_server.streams.journal_thread import JournalThread

PATH = "/v1/models/blur/denoise"
SHAPE = (24, 32)


def npy(array: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def tiff(array: Any, axes: str = "", scale: Scale | None = None) -> bytes:
    file = io.BytesIO()
    named = axes or "TZCYX"[-array.ndim :]
    with StackWriter(file, axes=named, shape=array.shape, dtype=array.dtype.name, scale=scale) as writer:
        for frame in array.reshape(-1, *array.shape[-2:]):
            writer.write(frame)
    return file.getvalue()


def form(name: str, data: bytes, *, boundary: str = "cut") -> tuple[bytes, dict[str, str]]:
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"; filename="a.tif"\r\n\r\n'
    body = head.encode() + data + f"\r\n--{boundary}--\r\n".encode()
    return body, {"Content-Type": f"multipart/form-data; boundary={boundary}"}


def problem_of(answer: Any, status: int, code: str) -> dict[str, Any]:
    assert answer.headers["Content-Type"] == "application/problem+json"
    problem: dict[str, Any] = json.loads(answer.body)
    assert (answer.status, problem["status"], problem["code"]) == (status, status, code)
    assert problem["detail"]
    assert problem["type"] == f"urn:dimstream:error:{code}"
    return problem


def test_models_are_listed_and_described(request_of: Any) -> None:
    models = json.loads(request_of("GET", "/v1/models").body)["models"]
    assert [model["id"] for model in models] == ["blur", "raising"]
    assert json.loads(request_of("GET", "/v1/models/blur").body) == models[0]
    assert models[0]["thresholds"] == {
        "ssim": 0.6,
        "background_max": 5,
        "signal_min": 25,
        "structure_score": -1e6,
        "split": None,
    }
    assert models[0]["calibration"] is None


def test_probes_and_metrics(request_of: Any, make_counts: Any) -> None:
    assert json.loads(request_of("GET", "/livez").body) == {"status": "alive"}
    ready = json.loads(request_of("GET", "/readyz").body)
    assert ready["ready"] is True
    assert ready["checks"] == {"device": "ok", "journal": "ok", "draining": "ok"}
    request_of("POST", PATH, npy(make_counts()))
    metrics = request_of("GET", "/metrics")
    assert metrics.headers["Content-Type"].startswith("text/plain")
    text = metrics.body.decode()
    assert 'dimstream_frames_total{endpoint="http",flag="unjudged",model="blur",status="done"}' in text
    assert 'dimstream_http_requests_total{route="/v1/models/{model_id}/denoise",status="200"}' in text
    assert "dimstream_queue_frames 0.0" in text


def test_open_streams_are_listed(request_of: Any, peer: Any, make_counts: Any) -> None:
    opened = peer.open(window=3)
    peer.denoise(opened.stream, 0, make_counts())
    streams = json.loads(request_of("GET", "/v1/streams").body)["streams"]
    mine = next(stream for stream in streams if stream["id"] == opened.stream)
    assert (mine["client"], mine["model"], mine["next_seq"], mine["limit"]) == ("test", "blur", 1, 4)
    assert mine["program"] == "test"
    assert mine["counts"] == {"done": 1, "failed": 0, "skipped": 0, "ok": 0, "suspect": 0, "unjudged": 1}
    assert mine["thresholds"]["ssim"] == 0.6
    assert mine["recording"] is None


def test_a_request_is_listed_while_it_is_denoised(
    request_of: Any, start_server: Any, denoise_meanwhile: Any
) -> None:
    running = start_server()

    def requests() -> list[Any]:
        streams = json.loads(request_of("GET", "/v1/streams", server=running).body)["streams"]
        return [stream for stream in streams if stream["endpoint"] == "http"]

    with denoise_meanwhile(running):
        (mine,) = requests()
        assert (mine["client"], mine["model"], mine["shape"]) == ("127.0.0.1", "blur", [96, 96])
        assert 0 <= mine["in_flight"] <= mine["window"] == 4
        assert mine["next_seq"] - mine["in_flight"] + 4 == mine["limit"]
    deadline = time.monotonic() + 60
    while requests():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_single_npy_frame_comes_back_with_its_flag(request_of: Any, make_counts: Any) -> None:
    answer = request_of("POST", PATH, npy(make_counts()), {"Accept": "application/x-npy"})
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "application/x-npy"
    assert (answer.array().shape, answer.array().dtype) == (SHAPE, np.uint16)
    assert answer.headers["Dimstream-Flag"] == "unjudged"
    assert answer.headers["Dimstream-Reason"]
    assert answer.headers["Dimstream-Ssim-Prev"] is None
    assert answer.headers["Dimstream-Model"] == "blur"
    assert len(answer.headers["Dimstream-Model-Sha256"]) == 64
    assert answer.headers["Dimstream-T-Ms"].startswith("queue=")


def test_both_endpoints_give_the_same_pixels_and_flags(request_of: Any, peer: Any, make_counts: Any) -> None:
    movie = make_counts((4, *SHAPE))
    opened = peer.open()
    results = [peer.ask(Frame(opened.stream, seq, frame)) for seq, frame in enumerate(movie)]
    pixels = request_of("POST", PATH, npy(movie), {"Accept": "application/x-npy"}).array()
    report = json.loads(request_of("POST", PATH + "?report=json", npy(movie)).body)
    np.testing.assert_array_equal(pixels, np.stack([result.pixels for result in results]))
    assert [frame["flag"] for frame in report["frames"]] == [result.flag for result in results]
    assert [frame["ssim_prev"] for frame in report["frames"]] == [result.ssim_prev for result in results]


@pytest.mark.parametrize("axes", ["YX", "TYX", "ZYX", "CYX", "TZYX", "TCYX", "TZCYX"])
def test_stacks_keep_axes_and_scale_and_each_plane_its_own_memory(
    request_of: Any, make_counts: Any, tmp_path: Path, axes: str
) -> None:
    lengths = {"T": 3, "Z": 2, "C": 2, "Y": SHAPE[0], "X": SHAPE[1]}
    stack = make_counts(tuple(lengths[axis] for axis in axes))
    scale = Scale(pixel_size_um=(0.02, 0.02), frame_interval_s=1.5 if "T" in axes else None)
    body = tiff(stack, axes, scale)
    answer = request_of("POST", PATH, body, {"Content-Type": "image/tiff"})
    assert (answer.status, answer.headers["Content-Type"]) == (200, "image/tiff")
    with open_images(io.BytesIO(answer.body)) as denoised:
        assert (denoised.axes, denoised.shape) == (axes, stack.shape)
        assert denoised.square_pixel_um == pytest.approx(0.02)
        assert denoised.frame_interval_s == scale.frame_interval_s
        pixels = denoised.asarray()
    single = request_of("POST", PATH, npy(stack.reshape(-1, *SHAPE)[-1]), {"Accept": "application/x-npy"})
    np.testing.assert_array_equal(pixels.reshape(-1, *SHAPE)[-1], single.array())
    report = json.loads(request_of("POST", PATH, body, {"Accept": "application/json"}).body)
    first = [frame for frame in report["frames"] if frame["index"]["t"] == 0]
    later = [frame for frame in report["frames"] if frame["index"]["t"] > 0]
    assert all(frame["compared_seq"] is None and frame["flag"] == "unjudged" for frame in first)
    planes = {frame["seq"]: {**frame["index"], "t": 0} for frame in report["frames"]}
    assert all(planes[frame["compared_seq"]] == planes[frame["seq"]] for frame in later)


def test_npy_axes_can_be_named(request_of: Any, make_counts: Any) -> None:
    movie = npy(np.repeat(make_counts()[None], 3, axis=0))
    as_movie = json.loads(request_of("POST", PATH + "?report=json", movie).body)
    as_stack = json.loads(request_of("POST", PATH + "?report=json&axes=ZYX", movie).body)
    assert (as_movie["axes"], as_stack["axes"]) == ("TYX", "ZYX")
    assert (as_movie["counts"]["ok"], as_stack["counts"]["ok"]) == (2, 0)
    assert (as_movie["flag"], as_stack["flag"]) == ("unjudged", "unjudged")


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32", "int16", "float64", ">u2", ">f4"])
def test_pixel_types_and_byte_orders_give_the_same_counts(
    request_of: Any, make_counts: Any, dtype: str
) -> None:
    expected = request_of("POST", PATH, npy(make_counts()), {"Accept": "application/x-npy"}).array()
    answer = request_of("POST", PATH, npy(make_counts().astype(dtype)), {"Accept": "application/x-npy"})
    np.testing.assert_array_equal(answer.array(), expected)


def test_fortran_order_is_read(request_of: Any, make_counts: Any) -> None:
    headers = {"Accept": "application/x-npy"}
    expected = request_of("POST", PATH, npy(make_counts()), headers).array()
    answer = request_of("POST", PATH, npy(np.asfortranarray(make_counts())), headers)
    np.testing.assert_array_equal(answer.array(), expected)


def test_float_pixels_when_asked(request_of: Any, make_counts: Any) -> None:
    path = PATH + "?out_dtype=float32"
    assert (
        request_of("POST", path, npy(make_counts()), {"Accept": "application/x-npy"}).array().dtype
        == np.float32
    )
    answer = request_of("POST", path, npy(make_counts()))
    assert tifffile.imread(io.BytesIO(answer.body)).dtype == np.float32


def test_png_is_16_bit_grey_and_of_one_frame_only(request_of: Any, make_counts: Any) -> None:
    headers = {"Accept": "image/png"}
    answer = request_of("POST", PATH, npy(make_counts()), headers)
    assert answer.headers["Content-Type"] == "image/png"
    pixels = imagecodecs.png_decode(answer.body)
    expected = request_of("POST", PATH, npy(make_counts()), {"Accept": "application/x-npy"}).array()
    np.testing.assert_array_equal(pixels, expected)
    stack = npy(make_counts((2, *SHAPE)))
    assert (
        "16-bit grey" in problem_of(request_of("POST", PATH, stack, headers), 406, "not_acceptable")["detail"]
    )
    floats = request_of("POST", PATH + "?out_dtype=float32", npy(make_counts()), headers)
    problem_of(floats, 406, "not_acceptable")


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        ("*/*", "image/tiff"),
        ("image/*", "image/tiff"),
        ("image/tiff;q=0.2, image/png;q=0.9", "image/png"),
        ("text/html, application/x-npy;q=0.5", "application/x-npy"),
        ("application/json", "application/json"),
    ],
)
def test_the_answer_is_what_accept_prefers(
    request_of: Any, make_counts: Any, accept: str, media_type: str
) -> None:
    answer = request_of("POST", PATH, npy(make_counts()), {"Accept": accept})
    assert answer.headers["Content-Type"] == media_type


ALLOWED = {
    "": True,
    "*/*": True,
    "image/png": True,
    "image/*;q=0.1": True,
    "text/html, */*;q=0.8": True,
    "image/tiff": False,
    "application/json, image/tiff": False,
    "image/png;q=0, */*": False,
    "*/*;q=0": False,
    "image/*;q=0, image/png": True,
    "image/png;q=high": False,
}


@pytest.mark.parametrize(("accept", "allowed"), ALLOWED.items())
def test_the_most_specific_range_of_accept_decides(accept: str, allowed: bool) -> None:
    assert allows(accept, "image/png") == allowed


def test_an_accept_that_cannot_be_met_is_refused(request_of: Any, make_counts: Any) -> None:
    answer = request_of("POST", PATH, npy(make_counts()), {"Accept": "text/html, image/png;q=0"})
    problem_of(answer, 406, "not_acceptable")


def test_multipart_and_chunked_bodies_are_read(request_of: Any, make_counts: Any) -> None:
    data = tiff(make_counts((2, *SHAPE)))
    expected = request_of("POST", PATH, data).body
    body, headers = form("file", data)
    assert request_of("POST", PATH, body, headers).body == expected
    chunks = iter([data[:1000], data[1000:]])
    assert request_of("POST", PATH, chunks, {"Content-Type": "image/tiff"}, chunked=True).body == expected


def test_a_frame_that_fails_is_named(request_of: Any, make_counts: Any) -> None:
    movie = make_counts((3, *SHAPE))
    movie[1, :2, :2] = 999
    path = PATH.replace("blur", "raising")
    assert "frame 1" in problem_of(request_of("POST", path, npy(movie)), 500, "frame_failed")["detail"]
    report = json.loads(request_of("POST", path, npy(movie), {"Accept": "application/json"}).body)
    assert [frame["status"] for frame in report["frames"]] == ["done", "failed", "done"]


def test_the_pixels_of_an_answer_are_held_once(tiny_bundle: Any) -> None:
    engine = LocalEngine([tiny_bundle("blur")], threads=1)
    service = StreamService(engine, Settings(), Metrics(), JournalThread(None), boot_id="boot")
    denoiser = Denoiser(service, window=2, max_bytes=2**20, max_frame_bytes=2**20)
    stack = npy(np.ones((3, *SHAPE), np.uint16))
    order = Order(engine.models()["blur"], stack, "", "application/x-npy", FrameOptions())

    async def denoise() -> Denoised:
        service.start(asyncio.get_running_loop())
        try:
            return await asyncio.to_thread(denoiser.denoise, order, threading.Event())
        finally:
            await service.stop()

    denoised = asyncio.run(denoise())
    assert len(denoised.file) > 3 * 24 * 32 * 2
    assert [result.pixels for _, result in denoised.frames] == [None] * 3
    engine.drain().result(60)


def test_openapi_tells_bodies_and_answers(request_of: Any) -> None:
    document = json.loads(request_of("GET", "/openapi.json").body)
    denoise = document["paths"]["/v1/models/{model_id}/denoise"]["post"]
    assert set(denoise["requestBody"]["content"]) == {
        "image/tiff",
        "application/x-npy",
        "application/octet-stream",
        "multipart/form-data",
    }
    good = denoise["responses"]["200"]["content"]
    assert set(good) == {"image/tiff", "application/x-npy", "image/png", "application/json"}
    assert set(denoise["responses"]["422"]["content"]) == {"application/problem+json"}
    names = {parameter["name"] for parameter in denoise["parameters"]}
    assert names == {
        "model_id",
        "out_dtype",
        "output",
        "report",
        "axes",
        "split_every",
        "frame_interval_s",
        "pixel_size_um",
        "match_pixel_size",
        "priority",
        "z_step_um",
        "series",
        "incomplete",
        "offset",
        "gain",
        "view",
        "time",
        "channel",
        "position",
        "aspect",
    }
    frame = document["components"]["schemas"]["FrameBody"]["properties"]
    assert "QualityMetrics" in str(frame["quality"])
    assert "VolumeBody" in str(document["components"]["schemas"]["ReportBody"]["properties"]["volumes"])
    assert "Dimstream-View" in denoise["responses"]["200"]["headers"]
    text = json.dumps(document)
    assert "HTTPValidationError" not in text
    references = {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}
    assert references <= set(document["components"]["schemas"])


@pytest.mark.slow
def test_a_client_that_leaves_stops_the_work(start_server: Any, request_of: Any, make_counts: Any) -> None:
    server = start_server()
    frames = 400
    body = npy(make_counts((frames, 256, 256)))
    host, port = server.addresses.http.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as connection:
        head = f"POST {PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n\r\n"
        connection.sendall(head.encode() + body)
        while not server.engine.queue_length():
            time.sleep(0.001)
    counted = [-1.0]
    while len(counted) < 2 or counted[-1] != counted[-2]:
        time.sleep(0.3)
        text = request_of("GET", "/metrics", server=server).body.decode()
        found = re.search(r'dimstream_frames_total{endpoint="http".*} (.*)', text)
        counted.append(float(found[1]) if found else 0.0)
    assert counted[-1] < frames
