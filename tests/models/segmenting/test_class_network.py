"""Networks of classes on frames of any size and of other pixels; labels counted against the truth."""

from pathlib import Path

import numpy as np
import pytest
from class_bundles import class_draft, expected_labels
from scipy import ndimage
from sklearn.metrics import balanced_accuracy_score, jaccard_score

from dimstream_models.bundle import TestTensorMismatch, UnsupportedModel, write_bundle
from dimstream_models.segmenting.class_network import read_class_network
from dimstream_models.segmenting.resampling import resampled, shape_on
from dimstream_models.segmenting.scores import Confusion
from dimstream_models.segmenting.tiling import in_tiles
from dimstream_models.shipped import shipped_bundle


@pytest.mark.parametrize("shape", [(40, 56), (33, 70), (9, 8)])
def test_tiles_with_their_halo_equal_the_whole(shape: tuple[int, int]) -> None:
    def network(frame: np.ndarray) -> np.ndarray:
        return np.stack([ndimage.uniform_filter(frame[0, 0], 9, mode="constant"), frame[0, 0]])[None]

    image = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    whole = in_tiles(network, image, step=8, halo_px=4)
    parts = in_tiles(network, image, step=8, halo_px=4, tile_px=8)
    assert whole.shape == (2, *shape)
    np.testing.assert_allclose(parts, whole, atol=1e-6)
    if min(shape) > 24:
        short = in_tiles(network, image, step=8, halo_px=0, tile_px=8)
        assert np.abs(short - whole).max() > 0.01


def test_larger_pixels_are_put_onto_the_known_ones_and_back(tmp_path: Path) -> None:
    network = read_class_network(write_bundle(tmp_path / "b", class_draft()).source)
    fine = np.zeros((120, 90), np.float32)
    fine[30:60, 30:60], fine[60:90, 30:60] = 5, 20
    coarse = fine[::3, ::3]
    found = network.probabilities(coarse, pixel_nm=60.0)
    assert found.shape == (3, 40, 30)
    np.testing.assert_allclose(found.sum(axis=0), 1, atol=1e-5)
    assert (found.argmax(axis=0) == expected_labels(coarse)).mean() > 0.9
    np.testing.assert_array_equal(network.probabilities(fine).argmax(axis=0), expected_labels(fine))


def test_pixels_that_are_alike_stay_as_they_are() -> None:
    assert shape_on((40, 30), 20.5, 20.0) == (40, 30)
    assert shape_on((40, 30), None, 20.0) == (40, 30)
    assert shape_on((40, 30), 60.0, 20.0) == (120, 90)
    assert shape_on((40, 30), 10.0, 20.0) == (20, 15)
    ramp = np.arange(40.0)[:, None] + np.zeros((1, 30))
    smaller = resampled(ramp, (20, 15))
    np.testing.assert_allclose(smaller[2:-2, 0], ramp.reshape(20, 2, 30).mean(axis=(1, 2))[2:-2], atol=1e-4)


def test_a_bundle_that_denoises_is_refused() -> None:
    with pytest.raises(UnsupportedModel, match="expected a model that classifies pixels"):
        read_class_network(shipped_bundle())


def test_a_network_that_does_not_reproduce_its_test_output_is_refused(tmp_path: Path) -> None:
    from dataclasses import replace

    draft = class_draft()
    wrong = replace(draft, test_output=np.ascontiguousarray(draft.test_output[:, ::-1]))
    with pytest.raises(TestTensorMismatch):
        read_class_network(write_bundle(tmp_path / "b", wrong).source)


def test_scores_are_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(1)
    true, found = rng.integers(0, 3, (2, 50, 40))
    confusion = Confusion.of(true, found)
    assert confusion.er_overlap == pytest.approx(jaccard_score(true.ravel() > 0, found.ravel() > 0))
    assert confusion.overlaps == pytest.approx(jaccard_score(true.ravel(), found.ravel(), average=None))
    both = (true > 0) & (found > 0)
    assert confusion.split_accuracy == pytest.approx(balanced_accuracy_score(true[both], found[both]))
    shares = [(found[true == kind] == kind).mean() for kind in (1, 2)]
    assert confusion.recall == pytest.approx(np.mean(shares))
    twice = confusion + confusion
    assert (twice.er_overlap, twice.pixels.sum()) == (confusion.er_overlap, 2 * true.size)
    assert np.isnan(Confusion.of(np.zeros(4), np.zeros(4)).er_overlap)
