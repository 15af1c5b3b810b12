"""The bundle's arithmetic here is the service's: what it states of itself, and step by step."""

from dataclasses import replace

import numpy as np
import onnxruntime
import pytest
from scipy import ndimage
from shipped import BUNDLE

from dimstream_models.bundle import Clip, ScaleLinear, TestTensorMismatch, read_bundle
from dimstream_models.training.errors import CannotEvaluate
from dimstream_models.training.evaluation.restoring import (
    has_own_scale,
    on_known_pixels,
    restorer,
    with_raw_share,
)


def test_it_computes_padding_network_crop_gain_offset_and_clip() -> None:
    bundle = read_bundle(BUNDLE)
    counts = np.random.default_rng(0).poisson(0.7, (45, 67)).astype(np.uint16)
    padded = np.pad(counts, ((0, 3), (0, 5)), mode="edge").astype(np.float32)
    session = onnxruntime.InferenceSession(bundle.onnx, providers=["CPUExecutionProvider"])
    network = session.run(None, {session.get_inputs()[0].name: padded[None, None]})[0][0, 0, :45, :67]
    assert bundle.gain is not None
    assert bundle.offset is not None
    expected = np.clip(bundle.gain * network + bundle.offset, bundle.clip_min, bundle.clip_max)
    restored = restorer(bundle)(counts)
    assert restored.dtype == np.float32
    np.testing.assert_allclose(restored, expected, rtol=1e-5, atol=1e-4)  # float32 in another order


def test_a_bundle_that_does_not_reproduce_its_test_output_is_refused() -> None:
    bundle = read_bundle(BUNDLE)
    doubled = replace(bundle, test_output=2 * bundle.test_output)
    with pytest.raises(TestTensorMismatch):
        restorer(doubled)


def test_a_network_with_other_axes_is_refused() -> None:
    with pytest.raises(CannotEvaluate, match="input and output axes bcyx, but er-sted-light has yx"):
        restorer(replace(read_bundle(BUNDLE), input_axes="yx"))


def test_larger_pixels_are_divided_as_the_service_does_it_and_none_without_need() -> None:
    bundle = read_bundle(BUNDLE)
    restore = restorer(bundle)
    counts = np.random.default_rng(0).poisson(2.0, (40, 48)).astype(np.uint16)
    matched = on_known_pixels(restore, bundle, 40.0)(counts)
    assert matched.shape == counts.shape
    np.testing.assert_array_equal(on_known_pixels(restore, bundle, 20.0)(counts), restore(counts))
    assert not np.allclose(matched, restore(counts))
    with pytest.raises(CannotEvaluate, match="expected photon counts"):
        on_known_pixels(restore, bundle, 40.0)(counts + 0.5)
    assert bundle.config is not None
    silent = replace(bundle, config=bundle.config.model_copy(update={"pixel_sizes_nm": None}))
    with pytest.raises(CannotEvaluate, match="states its pixel sizes"):
        on_known_pixels(restore, silent, 40.0)


def test_a_share_of_the_raw_frame_is_mixed_in_on_its_own_scale() -> None:
    counts = np.random.default_rng(0).poisson(3.0, (20, 24)).astype(np.uint16)

    def doubled(frame: np.ndarray) -> np.ndarray:
        return np.asarray(7 + 2 * ndimage.gaussian_filter(frame.astype(np.float64), 2), np.float32)

    line = np.polyfit(doubled(counts).ravel(), counts.ravel(), 1)
    expected = 0.75 * np.polyval(line, doubled(counts)) + 0.25 * counts
    np.testing.assert_allclose(with_raw_share(doubled, 0.25)(counts), expected, rtol=1e-5)
    np.testing.assert_allclose(with_raw_share(doubled, 1)(counts), counts)
    with pytest.raises(CannotEvaluate, match="from 0 to 1"):
        with_raw_share(doubled, 1.5)


def test_a_scale_is_a_step_or_a_record_of_one() -> None:
    bundle = read_bundle(BUNDLE)
    assert has_own_scale(bundle)
    assert has_own_scale(replace(bundle, postprocessing=(ScaleLinear(2.0, 0.0),), config=None))
    assert has_own_scale(replace(bundle, postprocessing=(Clip(0.0, None),)))
    assert not has_own_scale(replace(bundle, postprocessing=(Clip(0.0, None),), config=None))
