"""The fused graph equals the unfused numpy path, scikit-image and scipy."""

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper
from scipy.ndimage import gaussian_filter, uniform_filter
from skimage.metrics import structural_similarity

from dimstream_models import arithmetic
from dimstream_models.bundle import (
    Bundle,
    Clip,
    EnsureDtype,
    FixedZeroMeanUnitVariance,
    ScaleLinear,
    SsimSettings,
    ZeroMeanUnitVariance,
    apply_steps,
)
from dimstream_models.judging import Measures
from dimstream_models.quality.alignment import Overview
from dimstream_models.quality.saturation import shares_at_maximum
from dimstream_models.quality.structure import structure_score
from dimstream_models.quality.support_map import support
from dimstream_server.errors import UnsupportedNetwork
from dimstream_server.pipeline.fused_graph import compose

BundleMaker = Callable[..., Bundle]
Array = NDArray[Any]

SHAPES = [(8, 8), (9, 13), (16, 24), (61, 64), (100, 37), (200, 203)]
PREPROCESSING = {
    "none": (EnsureDtype("float32"),),
    "scale": (ScaleLinear(0.5, 2.0), EnsureDtype("float32")),
    "clip": (Clip(1.0, None), EnsureDtype("float32")),
    "fixed": (FixedZeroMeanUnitVariance(1.5, 0.7), EnsureDtype("float32")),
    "own": (ZeroMeanUnitVariance(1e-6), EnsureDtype("float32")),
    "whole": (ScaleLinear(0.4, 0.0), EnsureDtype("uint8"), EnsureDtype("float32")),
}
SETTINGS = {
    "robust": SsimSettings(normalisation="mean_absolute_deviation", data_range=8.0, window=7),
    "maximum": SsimSettings(normalisation="maximum", data_range=1.0, window=7),
    "wide": SsimSettings(normalisation="maximum", data_range=1.0, window=11),
}


def _counts(shape: tuple[int, int], dtype: str = "uint16", seed: int = 0) -> Array:
    rng = np.random.default_rng(seed)
    field = gaussian_filter(np.random.default_rng(99).random(shape), 3)
    field = 6 * (field - field.min()) / np.ptp(field) + 0.05
    return rng.poisson(field).astype(dtype)


def _fused(
    bundle: Bundle, frame: Array, previous: Array | None = None, out_dtype: str = "uint16", **scalars: float
) -> Any:
    model = compose(bundle, frame.dtype.name, out_dtype).SerializeToString()
    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    feeds = {
        "frame": frame,
        "previous": np.zeros(frame.shape, np.float32) if previous is None else previous,
        "background_max": np.asarray(scalars.get("background_max", 5), np.float32),
        "signal_min": np.asarray(scalars.get("signal_min", 25), np.float32),
    }
    denoised, normalised, measures, overview, support = session.run(None, feeds)
    beside = {"overview": overview, "support": support}
    return denoised, normalised, dict(zip(Measures._fields, measures.tolist(), strict=True)) | beside


def _prediction(bundle: Bundle, frame: Array) -> Array:
    """The unfused path: numpy around the bare network."""
    values = apply_steps(bundle.preprocessing, frame.astype(np.float32))
    padded = arithmetic.edge_pad(values, bundle.step, min_side=bundle.min_side)
    session = ort.InferenceSession(bundle.onnx, providers=["CPUExecutionProvider"])
    single = tuple(place for place, axis in enumerate(bundle.input_axes) if axis in "bc")
    output = session.run(None, {"x": np.expand_dims(padded, single)})[0]
    height, width = frame.shape
    return np.asarray(np.squeeze(output, single)[:height, :width])


def _unfused(bundle: Bundle, frame: Array, out_dtype: str) -> Array:
    return arithmetic.as_counts(apply_steps(bundle.postprocessing, _prediction(bundle, frame)), out_dtype)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("in_dtype", ["uint8", "uint16", "float32"])
def test_pixels_equal_the_unfused_path_for_any_size(
    tiny_bundle: BundleMaker, shape: tuple[int, int], in_dtype: str
) -> None:
    bundle, frame = (
        tiny_bundle("blur", postprocessing=(ScaleLinear(400.0, 7.3), Clip(0.0, 300.0))),
        _counts(shape, in_dtype),
    )
    denoised, _, _ = _fused(bundle, frame)
    assert denoised.dtype == np.uint16
    assert np.abs(denoised.astype(int) - _unfused(bundle, frame, "uint16").astype(int)).max() <= 1
    assert denoised.max() > 100


@pytest.mark.parametrize("steps", PREPROCESSING.values(), ids=PREPROCESSING)
def test_declared_preprocessing_is_applied(tiny_bundle: BundleMaker, steps: tuple[Any, ...]) -> None:
    bundle, frame = tiny_bundle("identity", preprocessing=steps), _counts((33, 41))
    denoised, _, _ = _fused(bundle, frame, out_dtype="float32")
    np.testing.assert_allclose(denoised, _unfused(bundle, frame, "float32"), rtol=1e-5, atol=1e-4)


def test_float32_out_keeps_what_uint16_clips_and_rounds(tiny_bundle: BundleMaker) -> None:
    bundle, frame = tiny_bundle("identity", postprocessing=(ScaleLinear(1e4, -2e4 + 0.5),)), _counts((16, 16))
    wide, narrow = _fused(bundle, frame, out_dtype="float32")[0], _fused(bundle, frame)[0]
    assert wide.min() < 0
    assert wide.max() > 65535 or narrow.max() < 65535
    np.testing.assert_array_equal(narrow, arithmetic.as_counts(wide, "uint16"))


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
@pytest.mark.parametrize("shape", [(12, 12), (61, 64), (200, 203)])
def test_ssim_equals_scikit_image(
    tiny_bundle: BundleMaker, shape: tuple[int, int], settings: SsimSettings
) -> None:
    bundle = tiny_bundle("blur", ssim=settings)
    _, first, _ = _fused(bundle, _counts(shape, seed=1))
    _, second, measures = _fused(bundle, _counts(shape, seed=2), previous=first)
    expected = structural_similarity(
        first.astype(np.float64),
        second.astype(np.float64),
        data_range=settings.data_range,
        win_size=settings.window,
    )
    assert measures["ssim"] == pytest.approx(expected, abs=1e-4)
    assert 0.05 < expected < 0.99
    reference = arithmetic.normalise_prediction(
        _prediction(bundle, _counts(shape, seed=2)), settings.normalisation
    )
    np.testing.assert_allclose(second, reference, atol=1e-4)


def test_the_same_frame_twice_has_ssim_one(tiny_bundle: BundleMaker) -> None:
    bundle, frame = tiny_bundle("blur"), _counts((40, 50))
    _, normalised, _ = _fused(bundle, frame)
    assert _fused(bundle, frame, previous=normalised)[2]["ssim"] == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("background_max", "signal_min"), [(5, 25), (0, 100), (200, 320)])
def test_fractions_equal_scipys_window_sums(
    tiny_bundle: BundleMaker, shape: tuple[int, int], background_max: float, signal_min: float
) -> None:
    frame = np.random.default_rng(3).poisson(np.linspace(0, 6, shape[1]), shape).astype(np.uint8)
    sums = np.rint(uniform_filter(frame.astype(float), 10, mode="reflect") * 100)
    measures = _fused(tiny_bundle(), frame, background_max=background_max, signal_min=signal_min)[2]
    assert measures["background"] == pytest.approx((sums <= background_max).mean(), abs=1e-6)
    assert measures["signal"] == pytest.approx((sums > signal_min).mean(), abs=1e-6)
    assert measures["background"] + measures["uncertain"] + measures["signal"] == pytest.approx(1, abs=1e-6)


def test_a_window_wider_than_the_frame_is_reflected_more_than_once(tiny_bundle: BundleMaker) -> None:
    bundle, frame = tiny_bundle(), _counts((8, 9))
    wide = bundle.config.thresholds.model_copy(update={"window_px": 51})  # type: ignore[union-attr]
    config = bundle.config.model_copy(update={"thresholds": wide})  # type: ignore[union-attr]
    measures = _fused(tiny_bundle(config=config), frame, background_max=2000, signal_min=3000)[2]
    expected = arithmetic.signal_fractions(frame, 51, 2000, 3000)
    assert [measures[name] for name in ("background", "uncertain", "signal")] == pytest.approx(
        expected, abs=1e-6
    )


def test_extremes_of_the_raw_frame_are_measured(tiny_bundle: BundleMaker) -> None:
    frame = np.full((9, 11), 7, np.uint16)
    frame[8, 10] = 65535
    measures = _fused(tiny_bundle(), frame)[2]
    assert (measures["minimum"], measures["maximum"]) == (7, 65535)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("background_max", [5, 300])
@pytest.mark.parametrize("normalisation", ["mean_absolute_deviation", "maximum"])
def test_evidence_equals_the_numpy_reference(
    tiny_bundle: BundleMaker, shape: tuple[int, int], background_max: float, normalisation: Any
) -> None:
    settings = SsimSettings(normalisation=normalisation, data_range=8.0, window=7)
    bundle, frame = tiny_bundle("blur", ssim=settings), _counts(shape, seed=5)
    frame[0, 0] = 4000  # a hot pixel
    limits = {"background_max": background_max, "signal_min": 310}
    _, normalised, found = _fused(bundle, frame, **limits)
    assert found["structure_score"] == pytest.approx(structure_score(frame), rel=1e-3, abs=1e-3)
    expected = support(frame, _prediction(bundle, frame), 10, background_max, 310)
    assert found["unsupported_fraction"] == pytest.approx(expected.unsupported_fraction, abs=1e-4)
    assert (found["support"] != expected.classes).mean() < 1e-4
    np.testing.assert_allclose(found["overview"], Overview.of(normalised).pixels, atol=1e-5)
    shares = shares_at_maximum(frame)
    assert (found["at_maximum"], found["near_maximum"]) == pytest.approx(shares, abs=1e-7)


@pytest.mark.parametrize("shape", [(64, 72), (121, 150), (200, 203)])
def test_the_support_map_equals_the_numpy_reference(tiny_bundle: BundleMaker, shape: tuple[int, int]) -> None:
    rows, columns = np.indices(shape)
    tubules = np.exp(-(((rows + columns) % 40 - 20) ** 2) / 16)  # bright on the left, faint on the right
    light = np.linspace(3, 0.02, shape[1]) * tubules + np.linspace(0.1, 0.6, shape[0])[:, None]
    frame = np.random.default_rng(4).poisson(light).astype(np.uint16)
    frame[30, 40] = 900
    bundle = tiny_bundle("blur")
    found = _fused(bundle, frame)[2]
    expected = support(frame, _prediction(bundle, frame), 10, 5, 25)
    assert 0.1 < expected.unsupported_fraction < 0.9
    assert found["unsupported_fraction"] == pytest.approx(expected.unsupported_fraction, abs=1e-3)
    assert (found["support"] != expected.classes).mean() < 1e-3
    np.testing.assert_array_equal(_fused(bundle, frame)[2]["support"], found["support"])


@pytest.mark.parametrize("scale", [1e-6, 1e9, 1e12])
def test_the_structure_score_has_no_unit(tiny_bundle: BundleMaker, scale: float) -> None:
    frame = _counts((60, 70)).astype(np.float32)
    expected = structure_score(frame)
    assert _fused(tiny_bundle(), frame * np.float32(scale))[2]["structure_score"] == pytest.approx(
        expected, rel=1e-2
    )


def test_the_structure_score_of_a_blank_frame_is_zero(tiny_bundle: BundleMaker) -> None:
    measures = _fused(tiny_bundle(), np.full((40, 50), 7, np.uint16))[2]
    assert measures["structure_score"] == pytest.approx(0, abs=1e-3)
    assert measures["unsupported_fraction"] == 0


@pytest.mark.parametrize("opset", range(13, 22))
def test_networks_of_many_opsets_are_served(tiny_bundle: BundleMaker, opset: int) -> None:
    bundle, frame = tiny_bundle("blur", opset=opset), _counts((21, 19))
    np.testing.assert_array_equal(_fused(bundle, frame)[0], _unfused(bundle, frame, "uint16"))


@pytest.mark.parametrize("axes", ["bcyx", "byx", "cyx", "yx"])
def test_axes_of_length_one_are_put_on_and_taken_off(tiny_bundle: BundleMaker, axes: str) -> None:
    bundle, frame = tiny_bundle("identity", axes=axes), _counts((11, 19))
    np.testing.assert_array_equal(_fused(bundle, frame)[0], _unfused(bundle, frame, "uint16"))


def test_the_networks_names_may_be_those_of_the_bracket(tiny_bundle: BundleMaker) -> None:
    graph = helper.make_graph(
        [
            helper.make_node("Identity", ["frame"], ["previous"]),
            helper.make_node("Abs", ["previous"], ["denoised"]),
        ],
        "bracket/Cast_0",
        [helper.make_tensor_value_info("frame", TensorProto.FLOAT, ["b", 1, "H", "W"])],
        [helper.make_tensor_value_info("denoised", TensorProto.FLOAT, ["b", 1, "H", "W"])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    frame = _counts((10, 10))
    denoised = _fused(tiny_bundle(onnx=model.SerializeToString()), frame)[0]
    np.testing.assert_array_equal(denoised, 3 * frame + 1)


def test_source_paths_and_stack_traces_are_left_out(tiny_bundle: BundleMaker) -> None:
    bundle = tiny_bundle("identity")
    assert b"secret" in bundle.onnx
    composed = compose(bundle, "uint16", "uint16").SerializeToString()
    for stray in (b"secret", b".py", b"stack_trace"):
        assert stray not in composed


def _broken(kind: str) -> bytes:
    fixed = ["b", 1, 64, 64] if kind == "fixed" else ["b", 1, "H", "W"]
    element = TensorProto.INT32 if kind == "integers" else TensorProto.FLOAT
    inputs = [helper.make_tensor_value_info("x", element, fixed[1:] if kind == "rank" else fixed)]
    if kind == "inputs":
        inputs.append(helper.make_tensor_value_info("z", element, fixed))
    output = helper.make_tensor_value_info("y", element, fixed)
    operator = "NoSuchOperator" if kind == "operator" else "Identity"
    node = helper.make_node(operator, ["x"], ["y"], name="Identity_0")
    graph = helper.make_graph([node], "g", inputs, [output])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]).SerializeToString()


BROKEN = {
    "fixed": "fixed sides",
    "integers": "must be of floats",
    "rank": "3 dimensions",
    "inputs": "one input and one output, got 2 and 1",
    "operator": "does not fit its opset",
}


@pytest.mark.parametrize(("kind", "message"), BROKEN.items(), ids=BROKEN)
def test_networks_that_cannot_be_served_are_refused(
    tiny_bundle: BundleMaker, kind: str, message: str
) -> None:
    with pytest.raises(UnsupportedNetwork, match=message):
        compose(tiny_bundle(onnx=_broken(kind)), "uint16", "uint16")


def test_bytes_that_are_no_onnx_are_refused(tiny_bundle: BundleMaker) -> None:
    with pytest.raises(UnsupportedNetwork, match="cannot be read"):
        compose(tiny_bundle(onnx=b"no protobuf at all"), "uint16", "uint16")
    damaged = _broken("name").replace(b"Identity_0", b"Identity\xff0")
    with pytest.raises(UnsupportedNetwork, match="cannot be read"):
        compose(tiny_bundle(onnx=damaged), "uint16", "uint16")


def test_the_composed_model_is_valid_onnx(tiny_bundle: BundleMaker) -> None:
    onnx.checker.check_model(compose(tiny_bundle(), "uint8", "float32"), full_check=True)


@pytest.mark.parametrize("level", [-0.5, -3.0, -400.0])
def test_values_below_zero_are_measured_as_the_references_do(tiny_bundle: BundleMaker, level: float) -> None:
    """What an offset that was subtracted leaves: darkness below zero, in part or everywhere."""
    frame = _counts((100, 103), "float32") + np.float32(level)
    bundle = tiny_bundle("identity", postprocessing=())
    _, _, found = _fused(bundle, frame, out_dtype="float32")
    reference = support(frame, frame, 10, 5, 25)
    assert found["unsupported_fraction"] == pytest.approx(reference.unsupported_fraction, abs=1e-5)
    np.testing.assert_array_equal(found["support"], reference.classes)
    assert found["structure_score"] == pytest.approx(structure_score(frame), abs=2e-3)
    at, near = shares_at_maximum(frame)
    assert (found["at_maximum"], found["near_maximum"]) == pytest.approx((at, near), abs=1e-6)
