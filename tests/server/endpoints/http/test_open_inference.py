"""The Open Inference Protocol, by NVIDIA's own client: `tritonclient` as PyPI has it."""

import io
import json
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from doc_examples import DOCS, example

from dimstream_client.keys import TOKEN, make_token, read_only_entry
from dimstream_client.quality import FrameResult, QualityMetrics, flat_figures

triton = pytest.importorskip("tritonclient.http", reason="tritonclient is not installed")
from tritonclient.utils import InferenceServerException  # noqa: E402

SHAPE = (24, 32)
JSON = {"Accept": "application/json"}


def client_of(server: Any, **options: Any) -> Any:
    return triton.InferenceServerClient(server.addresses.http.removeprefix("http://"), **options)


@pytest.fixture(scope="module")
def client(server: Any) -> Iterator[Any]:
    with client_of(server, concurrency=4) as made:
        yield made


def frame(counts: Any, *, datatype: str = "UINT16", binary: bool = True) -> list[Any]:
    tensor = triton.InferInput("frame", list(counts.shape), datatype)
    tensor.set_data_from_numpy(counts, binary_data=binary)
    return [tensor]


def wanted(*names: str, binary: bool = True) -> list[Any]:
    return [triton.InferRequestedOutput(name, binary_data=binary) for name in names]


def denoised_of(request_of: Any, counts: Any, query: str = "") -> Any:
    file = io.BytesIO()
    np.save(file, counts)
    path = f"/v1/models/blur/denoise{query}"
    return request_of("POST", path, file.getvalue(), {"Accept": "application/x-npy"}).array()


def report_of(request_of: Any, counts: Any) -> Any:
    file = io.BytesIO()
    np.save(file, counts)
    return json.loads(request_of("POST", "/v1/models/blur/denoise", file.getvalue(), JSON).body)


def test_health_and_metadata(client: Any, request_of: Any) -> None:
    models = {one["id"]: one for one in json.loads(request_of("GET", "/v1/models").body)["models"]}
    version = models["blur"]["sha256"]
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("blur")
    assert client.is_model_ready("blur", version)
    assert not client.is_model_ready("blur", "1")
    assert not client.is_model_ready("other")
    server = client.get_server_metadata()
    assert server["name"] == "dimstream"
    assert "binary_tensor_data" in server["extensions"]
    found = client.get_model_metadata("blur", version)
    assert (found["name"], found["versions"]) == ("blur", [version])
    assert found["inputs"] == [{"name": "frame", "datatype": "UINT16", "shape": [-1, -1, -1]}]
    config = client.get_model_config("blur")
    assert config["max_batch_size"] == 0
    assert [one["name"] for one in config["output"]] == [one["name"] for one in found["outputs"]]
    index = client.get_model_repository_index()
    assert index[0] == {"name": "blur", "version": version, "state": "READY", "reason": ""}


def test_the_declared_outputs_are_those_that_come(client: Any, make_counts: Any) -> None:
    declared = {one["name"]: one for one in client.get_model_metadata("blur")["outputs"]}
    movie = make_counts((3, *SHAPE))
    names = list(declared)
    assert "sd" not in names  # this model has no error bars
    answer = client.infer("blur", frame(movie), outputs=wanted(*names))
    for name, one in declared.items():
        assert answer.get_output(name)["datatype"] == one["datatype"], name
        found = answer.as_numpy(name)
        assert len(found.shape) == len(one["shape"]), name
        assert all(side in (-1, there) for side, there in zip(one["shape"], found.shape, strict=True)), name


def test_every_figure_that_is_declared_is_an_output(client: Any) -> None:
    names = {one["name"] for one in client.get_model_metadata("blur")["outputs"]}
    bare = {name.removeprefix("quality_") for name in flat_figures(FrameResult)}
    assert names == {"denoised", "support"} | {name.removeprefix("fractions_") for name in bare}
    assert set(flat_figures(QualityMetrics)) <= names


@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("binary_out", [True, False, None])
def test_pixels_and_figures_are_those_of_the_other_paths(
    client: Any, request_of: Any, make_counts: Any, binary_in: bool, binary_out: bool | None
) -> None:
    movie = make_counts((3, *SHAPE))
    names = ("flag", "ssim_prev", "structure_score", "shift_px", "suspect_since", "denoised", "reason")
    outputs = None if binary_out is None else wanted(*names, binary=binary_out)
    answer = client.infer("blur", frame(movie, binary=binary_in), outputs=outputs, request_id="movie 1")
    assert answer.get_response()["id"] == "movie 1"
    np.testing.assert_array_equal(answer.as_numpy("denoised"), denoised_of(request_of, movie))
    frames = report_of(request_of, movie)["frames"]
    as_text = (lambda text: text) if binary_out is False else bytes.decode
    assert [as_text(flag) for flag in answer.as_numpy("flag")] == [one["flag"] for one in frames]
    assert [as_text(text) or None for text in answer.as_numpy("reason")] == [one["reason"] for one in frames]
    expected = [np.nan if one["ssim_prev"] is None else one["ssim_prev"] for one in frames]
    np.testing.assert_array_equal(answer.as_numpy("ssim_prev"), np.float32(expected))
    scores = [one["quality"]["structure_score"] for one in frames]
    np.testing.assert_array_equal(answer.as_numpy("structure_score"), np.float32(scores))
    shifts = [one["quality"]["shift_px"] or [np.nan] * 2 for one in frames]
    np.testing.assert_array_equal(answer.as_numpy("shift_px"), np.float32(shifts))
    since = [one["quality"]["suspect_since"] for one in frames]
    assert answer.as_numpy("suspect_since").tolist() == [-1 if one is None else one for one in since]


def test_outputs_come_in_the_order_and_the_form_that_each_was_asked_in(client: Any, make_counts: Any) -> None:
    counts = make_counts(SHAPE)
    outputs = [*wanted("support"), *wanted("flag", binary=False), *wanted("t_ms_total", "denoised")]
    answer = client.infer("blur", frame(counts), outputs=outputs)
    found = answer.get_response()["outputs"]
    assert [one["name"] for one in found] == ["support", "flag", "t_ms_total", "denoised"]
    assert [one.get("data") is None for one in found] == [True, False, True, True]
    assert answer.as_numpy("denoised").shape == SHAPE
    assert answer.as_numpy("support").max() < 16
    assert answer.as_numpy("t_ms_total").shape == (1,)


@pytest.mark.parametrize(
    ("datatype", "dtype", "binary"),
    [
        *(("UINT8", "uint8", True), ("UINT16", "uint16", True), ("UINT32", "uint32", True)),
        *(("UINT64", "uint64", True), ("INT8", "int8", True), ("INT16", "int16", True)),
        *(("INT32", "int32", True), ("INT64", "int64", True), ("FP16", "float16", True)),
        *(("FP32", "float32", True), ("FP64", "float64", True), ("FP32", "float32", False)),
        *(("UINT8", "uint8", False), ("INT64", "int64", False), ("FP64", "float64", False)),
    ],
)
def test_counts_of_every_datatype_give_the_same(
    client: Any, request_of: Any, make_counts: Any, datatype: str, dtype: str, binary: bool
) -> None:
    counts = make_counts(SHAPE, dtype=dtype)
    answer = client.infer("blur", frame(counts, datatype=datatype, binary=binary), outputs=wanted("denoised"))
    np.testing.assert_array_equal(answer.as_numpy("denoised"), denoised_of(request_of, counts))


def test_options_are_those_of_the_other_paths(client: Any, request_of: Any, make_counts: Any) -> None:
    counts = make_counts(SHAPE) * 2 + 100
    parameters = {"out_dtype": "float32", "offset": 100, "gain": 2.0, "split_every": 1}
    options = {"parameters": parameters, "priority": "batch"}
    answer = client.infer("blur", frame(counts), outputs=wanted("denoised", "split_t_ms"), **options)
    expected = denoised_of(request_of, counts, "?out_dtype=float32&offset=100&gain=2")
    np.testing.assert_array_equal(answer.as_numpy("denoised"), expected)
    assert answer.get_output("denoised")["datatype"] == "FP32"
    assert answer.as_numpy("split_t_ms")[0] > 0


def test_planes_are_no_time_points(client: Any, make_counts: Any) -> None:
    stack = make_counts((3, *SHAPE))
    outputs = wanted("compared_seq")
    movie = client.infer("blur", frame(stack), outputs=outputs).as_numpy("compared_seq")
    planes = client.infer("blur", frame(stack), outputs=outputs, parameters={"axes": "ZYX"})
    assert movie.tolist() == [-1, 0, 1]
    assert planes.as_numpy("compared_seq").tolist() == [-1, -1, -1]


@pytest.mark.parametrize("there", ["gzip", "deflate", None])
@pytest.mark.parametrize("back", ["gzip", "deflate", None])
def test_bodies_are_compressed_as_asked(
    client: Any, request_of: Any, make_counts: Any, there: str | None, back: str | None
) -> None:
    counts = make_counts(SHAPE)
    answer = client.infer(
        *("blur", frame(counts)),
        request_compression_algorithm=there,
        response_compression_algorithm=back,
    )
    np.testing.assert_array_equal(answer.as_numpy("denoised"), denoised_of(request_of, counts))


def test_error_bars_are_an_output_of_models_that_have_them(
    start_server: Any, tiny_bundle: Any, tiny_error_bar: Any, make_counts: Any
) -> None:
    server = start_server(tiny_bundle("blur", error_bar=tiny_error_bar()))
    with client_of(server) as client:
        outputs = {one["name"]: one for one in client.get_model_metadata("blur")["outputs"]}
        assert outputs["sd"] == {"name": "sd", "datatype": "FP32", "shape": [-1, -1, -1]}
        answer = client.infer("blur", frame(make_counts(SHAPE)), outputs=wanted("sd"))
        assert (answer.as_numpy("sd") > 0).all()


def test_the_example_of_the_page_runs(server: Any, make_counts: Any) -> None:
    script = example("open-inference.md", "python", "tritonclient")
    script = script.replace("127.0.0.1:8570", server.addresses.http.removeprefix("http://"))
    found: dict[str, Any] = {"counts": make_counts((2, *SHAPE))}
    exec(script.replace("er-sted-light", "blur"), found)
    assert found["denoised"].shape == (2, *SHAPE)
    found["client"].close()


def test_the_page_names_figures_that_there_are(client: Any) -> None:
    declared = {one["name"]: one for one in client.get_model_metadata("blur")["outputs"]}
    page = (DOCS / "open-inference.md").read_text(encoding="utf-8")
    rows = [line.split("|") for line in page.splitlines() if line.startswith("| `") and "(N" in line]
    assert len(rows) == 4
    for row in rows:
        for name in re.findall("`([a-z_]+)`", row[1]):
            assert declared[name]["datatype"] == row[2].strip()
            assert len(declared[name]["shape"]) == 1 + row[3].count(",")


def test_many_requests_at_once(client: Any, server: Any, request_of: Any, make_counts: Any) -> None:
    frames = [make_counts(SHAPE, seed=seed) for seed in range(4)]
    expected = [denoised_of(request_of, one) for one in frames]

    def ask(thread: int) -> None:
        with client_of(server) as mine:  # a client belongs to one thread
            for n in range(12):
                which = (thread + n) % len(frames)
                answer = mine.infer("blur", frame(frames[which]), request_id=str(n))
                np.testing.assert_array_equal(answer.as_numpy("denoised"), expected[which])
                assert answer.get_response()["id"] == str(n)

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(ask, range(4)))
    asynchronous = [client.async_infer("blur", frame(one), outputs=wanted("denoised")) for one in frames]
    for one, right in zip(asynchronous, expected, strict=True):
        np.testing.assert_array_equal(one.get_result().as_numpy("denoised"), right)


def ask_for_two_inputs(client: Any, counts: Any) -> Any:
    return client.infer("blur", [*frame(counts), *frame(counts)])


REFUSALS: dict[str, tuple[Callable[[Any, Any], Any], str, str]] = {
    "no such model": (lambda c, x: c.infer("er", frame(x)), "404", "expected one of blur, raising"),
    "no such version": (lambda c, x: c.infer("blur", frame(x), "7"), "404", "sha256 of its weights"),
    "two inputs": (ask_for_two_inputs, "422", "expected one input, 'frame', got 2"),
    "another output": (
        lambda c, x: c.infer("blur", frame(x), outputs=wanted("mask")),
        "422",
        "expected outputs among denoised, support, sd, seq",
    ),
    "error bars of a model without": (
        lambda c, x: c.infer("blur", frame(x), outputs=wanted("sd")),
        "422",
        "model blur has no error bar",
    ),
    "a sequence": (lambda c, x: c.infer("blur", frame(x), sequence_id=7), "422", "in one request"),
    "a priority": (lambda c, x: c.infer("blur", frame(x), priority=1), "422", "'live' or 'batch', got 1"),
    "a timeout": (lambda c, x: c.infer("blur", frame(x), timeout=9), "422", "end the connection"),
    "another parameter": (
        lambda c, x: c.infer("blur", frame(x), parameters={"tile": 256}),
        "422",
        "parameters.tile: it is not known here",
    ),
    "classes": (
        lambda c, x: c.infer("blur", frame(x), outputs=[triton.InferRequestedOutput("flag", class_count=2)]),
        "422",
        "outputs are no classes",
    ),
    "four axes": (lambda c, x: c.infer("blur", frame(x[None, None])), "422", "(H, W) or (N, H, W)"),
    "too small a frame": (lambda c, x: c.infer("blur", frame(x[:4].copy())), "422", "at least 8 px"),
    "texts": (
        lambda c, x: c.infer("blur", frame(x.astype(str).astype(object), datatype="BYTES")),
        "422",
        "got 'BYTES'",
    ),
    "values below zero": (
        lambda c, x: c.infer("blur", frame(x.astype(np.int32) - 50, datatype="INT32")),
        "422",
        "say the detector's offset",
    ),
    "a frame that is too large": (
        lambda c, x: c.infer("blur", frame(np.zeros((1024, 1024), np.uint16))),
        "413",
        "frames of at most 1048576 bytes",
    ),
    "a frame on which the model fails": (
        lambda c, x: c.infer("raising", frame(np.where(x > -1, 999, x).astype(np.uint16))),
        "500",
        "frame 0 failed",
    ),
    "to load a model": (lambda c, x: c.load_model("blur"), "404", "see /openapi.json"),
    "statistics": (lambda c, x: c.get_inference_statistics("blur"), "404", "see /openapi.json"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_refusals_are_the_clients_own_exceptions(client: Any, make_counts: Any, name: str) -> None:
    ask, status, said = REFUSALS[name]
    with pytest.raises(InferenceServerException) as caught:
        ask(client, make_counts(SHAPE))
    assert caught.value.status() == status
    assert said in caught.value.message()


def test_a_failed_frame_among_others_has_its_figures(client: Any, make_counts: Any) -> None:
    movie = make_counts((3, *SHAPE))
    movie[1] = 999
    answer = client.infer("raising", frame(movie), outputs=wanted("status", "structure_score"))
    assert answer.as_numpy("status").tolist() == [b"done", b"failed", b"done"]
    assert np.isnan(answer.as_numpy("structure_score")).tolist() == [False, True, False]


def test_tokens_are_those_of_other_requests(start_server: Any, make_counts: Any, tmp_path: Path) -> None:
    token = read_only_entry(make_token(tmp_path / "tokens", "script"), TOKEN).value
    viewer = read_only_entry(make_token(tmp_path / "viewers", "screen"), TOKEN).value
    tables = {"tokens": str(tmp_path / "tokens"), "viewer_tokens": str(tmp_path / "viewers")}
    server = start_server("blur", http=tables)
    bearer = {"Authorization": f"Bearer {token}"}
    looking = {"Authorization": f"Bearer {viewer}"}
    with client_of(server) as client:
        assert client.is_server_live()
        assert client.is_server_ready()
        with pytest.raises(InferenceServerException, match="one of this server's tokens"):
            client.get_model_metadata("blur")
        with pytest.raises(InferenceServerException, match="one of this server's tokens"):
            client.infer("blur", frame(make_counts(SHAPE)))
        assert client.get_model_metadata("blur", headers=looking)["name"] == "blur"
        with pytest.raises(InferenceServerException, match="only look"):
            client.infer("blur", frame(make_counts(SHAPE)), headers=looking)
        answer = client.infer("blur", frame(make_counts(SHAPE)), headers=bearer)
        assert answer.as_numpy("denoised").shape == SHAPE
        with pytest.raises(InferenceServerException, match="no Origin") as caught:
            client.infer(
                "blur", frame(make_counts(SHAPE)), headers={**bearer, "Origin": "http://elsewhere.example"}
            )
        assert caught.value.status() == "403"
