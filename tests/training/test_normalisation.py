"""Normalisers against numpy, and their graphs in ONNX Runtime against both, at any size."""

import io
import warnings

import numpy as np
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray

from dimstream_models.training.normalisation import (
    Normaliser,
    build_normaliser,
    build_truth_normaliser,
    suggest_scale,
)
from dimstream_models.training.settings import NormalisationSettings

SHAPES = [(1, 1, 64, 64), (3, 1, 72, 56), (2, 1, 17, 23), (1, 1, 1, 1), (1, 1, 300, 304)]
EXACT = 1e-6  # relative: a few roundings of single precision
DIVISORS = {
    "fixed": ({"kind": "fixed", "value": 4.0}, lambda image: 4.0),
    "maximum": ({"kind": "maximum", "value": None}, np.max),
    "median": ({"kind": "quantile", "value": 0.5}, lambda image: np.quantile(image, 0.5)),
    "quantile": ({"kind": "quantile", "value": 0.998}, lambda image: np.quantile(image, 0.998)),
    "near 1": ({"kind": "quantile", "value": 0.99999}, lambda image: np.quantile(image, 0.99999)),
}


def counts(shape: tuple[int, ...], seed: int = 0) -> NDArray[np.float32]:
    """Photon counts whose images differ in brightness, with a broken gain so that no value is round."""
    rng = np.random.default_rng(seed)
    brightness = rng.uniform(1, 30, (shape[0], 1, 1, 1))
    return (rng.poisson(brightness, shape) * 1.37 + 0.2).astype(np.float32)


def expected(name: str, images: NDArray[np.float32]) -> NDArray[np.float64]:
    """Each image divided on its own, in double precision."""
    divisor = DIVISORS[name][1]
    return np.stack([image / divisor(image) for image in images.astype(np.float64)])


def exported(normaliser: Normaliser) -> onnxruntime.InferenceSession:
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the exporter without torch.dynamo
        torch.onnx.export(
            normaliser.eval(),
            (torch.zeros(1, 1, 64, 64),),
            buffer,
            opset_version=17,
            input_names=["counts"],
            output_names=["normalised"],
            dynamic_axes={name: {0: "b", 2: "y", 3: "x"} for name in ("counts", "normalised")},
            dynamo=False,
        )
    return onnxruntime.InferenceSession(buffer.getvalue(), providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("name", DIVISORS)
def test_torch_and_its_graph_divide_each_image_as_numpy_does(name: str) -> None:
    normaliser = build_normaliser(NormalisationSettings.model_validate(DIVISORS[name][0]))
    session = exported(normaliser)
    for shape in SHAPES:
        images = counts(shape)
        torchs = normaliser(torch.from_numpy(images)).numpy()
        onnxs = session.run(None, {"counts": images})[0]
        wanted = expected(name, images)
        assert torchs.shape == onnxs.shape == shape
        np.testing.assert_allclose(torchs, wanted, rtol=EXACT)
        np.testing.assert_allclose(onnxs, wanted, rtol=EXACT)


@pytest.mark.parametrize("name", DIVISORS)
def test_an_image_of_zeros_stays_zeros(name: str) -> None:
    normaliser = build_normaliser(NormalisationSettings.model_validate(DIVISORS[name][0]))
    images = counts((2, 1, 16, 16))
    images[0] = 0
    assert not normaliser(torch.from_numpy(images))[0].any()
    found = exported(normaliser).run(None, {"counts": images})[0]
    assert not found[0].any()
    assert np.isfinite(found).all()


@pytest.mark.slow
def test_a_quantile_of_more_than_sixteen_million_pixels_is_taken() -> None:
    settings = NormalisationSettings(kind="quantile", value=0.999)
    images = np.random.default_rng(0).random((1, 1, 4100, 4100), dtype=np.float32)
    found = build_normaliser(settings).divisor(torch.from_numpy(images))
    assert found.item() == pytest.approx(np.quantile(images.astype(np.float64), 0.999), rel=EXACT)


TRUTHS = [
    (NormalisationSettings(kind="fixed", value=4.0), 70.0, 280.0),
    (NormalisationSettings(kind="fixed", value=4.0, target_value=100.0), 70.0, 100.0),
    (NormalisationSettings(kind="maximum", value=None), 70.0, 9.0),
    (NormalisationSettings(kind="quantile", value=0.5), 70.0, 3.0),
]


@pytest.mark.parametrize(("settings", "dose_ratio", "divisor"), TRUTHS)
def test_truths_are_divided_by_their_own_scale(
    settings: NormalisationSettings, dose_ratio: float, divisor: float
) -> None:
    truth = torch.tensor([1.0, 2.0, 3.0, 4.0, 9.0]).reshape(1, 1, 1, 5)
    normalise = build_truth_normaliser(settings, dose_ratio=dose_ratio)
    assert torch.allclose(normalise(truth), truth / divisor)


def test_the_suggested_scale_brings_structures_near_one() -> None:
    rng = np.random.default_rng(0)
    images = [np.where(rng.random((64, 64)) < 0.05, 437, 3).astype(np.uint16) for _ in range(4)]
    assert suggest_scale(images) == 440.0
    assert suggest_scale([np.zeros((64, 64), np.uint16)]) == 1.0
