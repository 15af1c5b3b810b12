"""Half precision: what is rounded, what is not, and networks that it is not for."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, numpy_helper
from onnx.reference import ReferenceEvaluator

from dimstream_models.training.errors import ParityError
from dimstream_models.training.export.onnx_export import (
    Denoiser,
    OnnxRunner,
    export_onnx,
    half_error,
    half_precision,
)
from dimstream_models.training.fitting.trainer import load_best
from dimstream_models.training.network import UNetRCAN
from dimstream_models.training.normalisation import build_normaliser
from dimstream_models.training.settings import NormalisationSettings, Recipe

pytestmark = pytest.mark.slow

FIXED = NormalisationSettings()
KINDS = [("fixed", 4.0), ("maximum", None), ("quantile", 0.99)]


@pytest.fixture
def network(tiny_recipe: Recipe, tiny_run: Path) -> UNetRCAN:
    return load_best(tiny_recipe, tiny_run)


def counts(side: int = 16) -> np.ndarray:
    return np.random.default_rng(0).poisson(3.0, (1, 1, side, side + 4)).astype(np.float32)


@pytest.mark.parametrize(("kind", "value"), KINDS)
def test_half_arithmetic_of_an_independent_runtime_stays_near_float32(
    network: UNetRCAN, kind: str, value: float | None
) -> None:
    """onnx's own reference evaluator computes float16 nodes in numpy's float16.

    Three digits and a bit (2^-11) are kept in each of some 20 layers: 0.5 % of the largest value is safe.
    """
    settings = NormalisationSettings.model_validate({"kind": kind, "value": value})
    content = export_onnx(Denoiser(network, build_normaliser(settings)))
    (found,) = ReferenceEvaluator(half_precision(content)).run(None, {"counts": counts()})
    expected = OnnxRunner(content)(counts())
    assert found.dtype == np.float32
    assert 0 < np.abs(found - expected).max() < 0.005 * np.abs(expected).max()


def test_weights_are_halves_and_doors_and_means_are_not(network: UNetRCAN) -> None:
    content = export_onnx(Denoiser(network, build_normaliser(FIXED)))
    half = onnx.load_model_from_string(half_precision(content))
    assert {tensor.data_type for tensor in half.graph.initializer} == {TensorProto.FLOAT16}
    for door in (*half.graph.input, *half.graph.output):
        assert door.type.tensor_type.elem_type == TensorProto.FLOAT
    types = {
        v.name: v.type.tensor_type.elem_type for v in onnx.shape_inference.infer_shapes(half).graph.value_info
    }
    taken = {
        op: {types.get(n.input[0]) for n in half.graph.node if n.op_type == op}
        for op in ("ReduceMean", "Conv")
    }
    assert taken == {"ReduceMean": {TensorProto.FLOAT}, "Conv": {TensorProto.FLOAT16}}
    rounded = {
        tensor.name.removesuffix("/half"): numpy_helper.to_array(tensor) for tensor in half.graph.initializer
    }
    for tensor in onnx.load_model_from_string(content).graph.initializer:
        np.testing.assert_array_equal(rounded[tensor.name], numpy_helper.to_array(tensor).astype(np.float16))


def test_counts_beyond_float16_survive_the_door(network: UNetRCAN) -> None:
    settings = NormalisationSettings(kind="maximum", value=None)
    content = export_onnx(Denoiser(network, build_normaliser(settings)))
    bright = counts() * 30_000  # a camera's sum of frames: up to 240,000
    found, expected = OnnxRunner(half_precision(content))(bright), OnnxRunner(content)(bright)
    assert np.abs(found - expected).max() < 0.005 * np.abs(expected).max()


@pytest.mark.slow
def test_the_error_is_that_of_rounding_every_layer(network: UNetRCAN) -> None:
    denoiser = Denoiser(network, build_normaliser(FIXED))
    half = half_precision(export_onnx(denoiser))
    error = half_error(denoiser, half, [counts(48)])
    assert 2**-14 < error < 0.005
    shown = np.abs(OnnxRunner(half)(counts(48)) - OnnxRunner(export_onnx(denoiser))(counts(48))).max()
    assert error >= shown / np.abs(OnnxRunner(half)(counts(48))).max() * 0.99


def test_a_weight_that_float16_cannot_hold_is_refused(network: UNetRCAN) -> None:
    with torch.no_grad():
        network.unet.encoder[0].conv1.weight[0, 0, 0, 0] = 70_000.0
    content = export_onnx(Denoiser(network, build_normaliser(FIXED)))
    with pytest.raises(
        ParityError, match="at most 65504, the range of float16, got 70000: serve the float32 bundle"
    ):
        half_precision(content)


def test_a_network_whose_features_overflow_is_refused_with_its_error(network: UNetRCAN) -> None:
    with torch.no_grad():
        first = network.unet.encoder[0]
        first.conv1.weight *= 3e4
        first.conv1.bias *= 3e4
        first.conv2.weight /= 3e4  # the same function in float32
    denoiser = Denoiser(network, build_normaliser(NormalisationSettings(value=0.1)))
    half = half_precision(export_onnx(denoiser))
    with pytest.raises(ParityError, match=r"expected float16 within 0\.005 of the largest .*, got (nan|inf)"):
        half_error(denoiser, half, [counts(48)])


def test_an_export_that_is_no_number_fails_its_parity_check(network: UNetRCAN) -> None:
    with torch.no_grad():
        network.rcan.last.weight[0, 0, 0, 0] = float("nan")
    with pytest.raises(ParityError, match="within 1e-05 of torch, got nan"):
        export_onnx(Denoiser(network, build_normaliser(FIXED)))
