"""Exact labels of simulated scenes: where they are, the image is bright, and the network lies in them."""

import numpy as np
import pytest

from dimstream_models.training.simulation.er_labels import SHEET, SHEET_TUBULE, TUBULE, er_truth
from dimstream_models.training.simulation.er_scenes import Scene

SHAPE = (160, 180)


@pytest.mark.parametrize("kind", ["er", "sparse"])
@pytest.mark.parametrize("t_s", [0.0, 300.0])
def test_labels_are_where_the_image_is_bright(kind: str, t_s: float) -> None:
    inside, outside = [], []
    for seed in range(5):
        scene = Scene.random(np.random.default_rng(seed), SHAPE, kind)  # type: ignore[arg-type]
        image, labels = scene.structure(t_s), er_truth(scene, t_s).labels
        assert labels.shape == SHAPE
        inside.append(np.median(image[labels > 0]))
        outside.append(np.median(image[labels == 0]))
    assert np.median(inside) > 0.6
    assert np.median(outside) < 0.25


def test_labels_follow_the_drift() -> None:
    scene = Scene.random(np.random.default_rng(3), SHAPE, "er")
    image, labels = scene.structure(400.0), er_truth(scene, 400.0).labels > 0
    scores = {
        shift: np.corrcoef(np.roll(labels, shift, axis=(0, 1)).ravel(), image.ravel())[0, 1]
        for shift in ((0, 0), (3, 0), (-3, 0), (0, 3), (0, -3))
    }
    assert max(scores, key=lambda shift: scores[shift]) == (0, 0)


def test_sheets_are_labelled_and_their_sides_are_tubules_on_them() -> None:
    seen = set()
    for seed in range(12):
        seen |= set(np.unique(er_truth(Scene.random(np.random.default_rng(seed), SHAPE), 0.0).labels))
    assert seen == {0, TUBULE, SHEET, SHEET_TUBULE}


def test_nodes_of_the_network_lie_in_the_field_of_view_and_on_tubules() -> None:
    truth = er_truth(Scene.random(np.random.default_rng(4), SHAPE, "er"), 20.0)
    places = np.array([place for _, place in truth.network.nodes(data="place")])
    assert len(places) >= 10
    assert (places >= 0).all()
    assert (places <= np.array(SHAPE) - 1).all()
    at = tuple(np.rint(places).astype(int).T)
    assert (truth.labels[at] % 2 == TUBULE).mean() > 0.97
    assert min(length for *_, length in truth.network.edges(data="length_px")) >= 0
