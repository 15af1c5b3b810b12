"""A small real network, and a bundle around it."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from drafts import png
from onnx import helper, numpy_helper

from dimstream_models import arithmetic
from dimstream_models.arithmetic import Array
from dimstream_models.bundle import (
    Author,
    Bundle,
    BundleDraft,
    Calibration,
    DimstreamConfig,
    InputNormalisation,
    Provenance,
    SsimSettings,
    Thresholds,
    write_bundle,
)

GAIN, OFFSET, CLIP_MIN, CLIP_MAX = 12.5, 0.25, 0.0, 400.0


def weights(shape: tuple[int, ...], name: str) -> onnx.TensorProto:
    values = np.random.default_rng(len(name)).normal(0, 0.3, shape).astype(np.float32)
    return numpy_helper.from_array(values, name)


def tiny_unet() -> bytes:
    """Normalises by the maximum, pools by 8 and adds the skip: sides must be multiples of 8."""
    node = helper.make_node
    nodes = [
        node("ReduceMax", ["input"], ["peak"], axes=[2, 3], keepdims=1),
        node("Max", ["peak", "tiny"], ["divisor"]),
        node("Div", ["input", "divisor"], ["scaled"]),
        node("Conv", ["scaled", "encode"], ["features"], pads=[1, 1, 1, 1]),
        node("Relu", ["features"], ["lit"]),
        node("MaxPool", ["lit"], ["pooled"], kernel_shape=[8, 8], strides=[8, 8]),
        node("ConvTranspose", ["pooled", "up"], ["wide"], strides=[8, 8]),
        node("Add", ["wide", "lit"], ["joined"]),
        node("Conv", ["joined", "decode"], ["output"], pads=[1, 1, 1, 1]),
    ]
    constants = [
        weights((4, 1, 3, 3), "encode"),
        weights((4, 4, 8, 8), "up"),
        weights((1, 4, 3, 3), "decode"),
        numpy_helper.from_array(np.array(1e-6, np.float32), "tiny"),
    ]
    frame: list[str | int | None] = ["batch", 1, "y", "x"]
    graph = helper.make_graph(
        nodes,
        "tiny_unet",
        [helper.make_tensor_value_info("input", onnx.TensorProto.FLOAT, frame)],
        [helper.make_tensor_value_info("output", onnx.TensorProto.FLOAT, frame)],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


class Network:
    """The bare network in ONNX Runtime."""

    def __init__(self, data: bytes) -> None:
        self.session: Any = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])

    def __call__(self, frame: Array) -> Array:
        output: Array = self.session.run(None, {"input": frame})[0]
        return output


def full_config() -> DimstreamConfig:
    return DimstreamConfig(
        ssim=SsimSettings(normalisation="mean_absolute_deviation", data_range=8.0, window=7),
        thresholds=Thresholds(ssim=0.6, background_max=5, signal_min=25, window_px=10),
        calibration=Calibration(
            method="adjacent frames of simulated movies; the threshold maximises Youden's J",
            signal_pairs=400,
            dark_pairs=200,
            signal_quantiles={"0.01": 0.71, "0.5": 0.93},
            dark_quantiles={"0.5": 0.31, "0.99": 0.48},
            false_alarm_rate=0.002,
            auc=0.999,
            doses_photons=(0.3, 1.0, 10.0),
            frame_interval_s=4.6,
            seed=1,
        ),
        input_normalisation=InputNormalisation(kind="maximum"),
        pixel_size_nm=20.0,
        dose_photons=(0.3, 10.0),
        provenance=Provenance(
            command="dimstream-train model --seed 1",
            seed=1,
            versions={"torch": "2.13.0"},
            git_commit=None,
            settings={"filters": [8, 16, 32], "learning_rate": 1e-3},
        ),
        quality={"psnr_db": 30.5},
    )


@pytest.fixture(scope="session")
def network() -> Network:
    return Network(tiny_unet())


@pytest.fixture
def draft(network: Network, tmp_path: Path) -> BundleDraft:
    movie = tmp_path / "movie-to-attach.tif"
    movie.write_bytes(b"II*\0 a sample movie")
    counts = np.random.default_rng(7).poisson(3.0, (1, 1, 32, 48)).astype(np.float32)
    denoised = arithmetic.rescale(network(counts), GAIN, OFFSET, CLIP_MIN, CLIP_MAX)
    return BundleDraft(
        id="tiny-unet",
        name="Tiny UNet",
        description="A network of four channels that tests bundles.",
        authors=(Author(name="Ada Example", affiliation="dimstream"),),
        licence="BSD-3-Clause",
        documentation="# Tiny UNet\n\n## Validation\n\nNone; it denoises nothing.\n",
        cover=png(64, 64),
        onnx=tiny_unet(),
        test_input=counts,
        test_output=denoised,
        config=full_config(),
        gain=GAIN,
        offset=OFFSET,
        clip_min=CLIP_MIN,
        clip_max=CLIP_MAX,
        attachments={"sample/movie.tif": movie},
    )


@pytest.fixture
def written(draft: BundleDraft, tmp_path: Path) -> Bundle:
    return write_bundle(tmp_path / "tiny-unet", draft)
