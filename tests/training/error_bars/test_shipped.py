"""The error bars of the model that ships: its pixels are those of before, and the bars hold what they say."""

import hashlib

import numpy as np
import pytest
from shipped import BUNDLE

from dimstream_client.quality import Thresholds
from dimstream_models.bundle import read_bundle
from dimstream_models.training.error_bars.adding import deviation_of
from dimstream_models.training.error_bars.samples import Judged, our_world
from dimstream_server.pipeline.device_name import Device
from dimstream_server.pipeline.fused_model import FusedModel

WEIGHTS = "62cfa00f5300693a29bca618639d83603a34e80d95d492cb6970c010df6c0229"
TEST_OUTPUT = "753c6477aeeaffb99d17a21d94bd778adb61c00a9f5927e2ac91c5806aea3cd1"
"""sha256 of both files as they shipped before there were error bars."""


@pytest.mark.slow
def test_its_pixels_are_those_of_before() -> None:
    found = [
        hashlib.sha256((BUNDLE / name).read_bytes()).hexdigest()
        for name in ("weights.onnx", "test_output.npy")
    ]
    assert found == [WEIGHTS, TEST_OUTPUT]
    bundle = read_bundle(BUNDLE)
    assert (bundle.gain, bundle.offset) == (280.2427234605297, -0.16933267373141803)
    frame = np.random.default_rng(0).poisson(1.0, (77, 90)).astype(np.uint16)
    outputs = [
        FusedModel(
            bundle,
            device=Device(cuda=None),
            in_dtype="uint16",
            out_dtype="float32",
            threads=1,
            with_sd=wanted,
        ).run(frame, None, Thresholds(None))
        for wanted in (False, True)
    ]
    np.testing.assert_array_equal(outputs[0].denoised, outputs[1].denoised)
    assert outputs[1].sd.shape == frame.shape
    assert (outputs[1].sd > 0).all()


@pytest.mark.slow
def test_its_bars_hold_two_thirds_and_nineteen_in_twenty() -> None:
    """On frames of a seed that nothing was fitted to; docs/results.md has the bins."""
    bundle = read_bundle(BUNDLE)
    assert bundle.error_bar is not None
    judged, deviation = Judged.of(bundle), deviation_of(bundle.error_bar.onnx, bundle)
    inside = []
    for sample in judged.samples(our_world, seed=77, purpose="error bars held back", number=24, side_px=128):
        bar = deviation(sample.exposed.counts, sample.prediction)
        inside.append([(sample.error <= times * bar).mean() for times in (1, 2)])
    one, two = np.mean(inside, axis=0)
    assert one == pytest.approx(0.683, abs=0.1)
    assert two == pytest.approx(0.954, abs=0.05)
