"""The simulator: its photons are Poisson, its network is an ER's, and a seed is a seed."""

import numpy as np
import pytest
from scipy import ndimage
from skimage.morphology import skeletonize

from dimstream_models.training.simulation.er_scenes import Scene, expose, simulate_movie

SHAPE = (160, 160)


def scene(seed: int, kind: str = "er") -> Scene:
    return Scene.random(np.random.default_rng(seed), SHAPE, kind)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["er", "dense", "sparse"])
def test_the_same_seed_gives_the_same_scene_at_any_time(kind: str) -> None:
    first, second = scene(5, kind), scene(5, kind)
    assert np.array_equal(first.structure(46.0), second.structure(46.0))
    assert first.structure().shape == SHAPE
    assert first.structure().min() >= 0
    assert not np.array_equal(first.structure(), scene(6, kind).structure())


def test_counts_are_poisson_at_the_asked_dose() -> None:
    structure = np.full((400, 400), 0.5, np.float32)
    counts = expose(structure, dose=3.0, dark_counts=0.2, rng=np.random.default_rng(0)).astype(float)
    expected = 3.0 * 0.5 + 0.2
    standard_error = np.sqrt(expected / counts.size)
    assert abs(counts.mean() - expected) < 5 * standard_error
    assert abs(counts.var() / counts.mean() - 1) < 0.02


def test_a_typical_tubule_peaks_at_one() -> None:
    peaks = [np.quantile(scene(seed).structure(), 0.98) for seed in range(12)]
    assert 0.5 < np.median(peaks) < 2.0


def test_most_junctions_are_three_way() -> None:
    degrees: list[int] = []
    for seed in range(16):
        tubules = scene(seed).tubules[0]
        degrees += np.bincount(tubules.edges.ravel()).tolist()
    junctions = [degree for degree in degrees if degree > 2]
    assert len(junctions) > 100
    assert np.mean(np.equal(junctions, 3)) > 0.95


def test_the_image_shows_the_network_that_was_drawn() -> None:
    drawn = scene(1)
    skeleton = skeletonize(drawn.structure() > 0.4)
    nodes = drawn.tubules[0].nodes_at(0.0)[drawn.tubules[0].edges].mean(axis=1)  # near edges' middles
    inside = nodes[np.all((nodes > 8) & (nodes < np.subtract(SHAPE, 8)), axis=1)]
    distance = ndimage.distance_transform_edt(~skeleton)
    assert np.median(distance[tuple(inside.astype(int).T)]) < 4


def test_scenes_move_and_stay_related() -> None:
    drawn = scene(2)
    start, soon, late = (drawn.structure(t).ravel() for t in (0.0, 4.6, 200.0))
    assert 1 > np.corrcoef(start, soon)[0, 1] > np.corrcoef(start, late)[0, 1]


def test_bleaching_halves_the_photons_after_its_half_life() -> None:
    drawn = scene(3)
    movie, truth = simulate_movie(
        drawn,
        frames=9,
        frame_interval_s=0.001,
        dose=20.0,
        dark_counts=0.0,
        bleaching_half_life_frames=8,
        rng=np.random.default_rng(0),
    )
    assert truth[8].sum() / truth[0].sum() == pytest.approx(0.5, rel=1e-3)
    assert movie[8].sum() / movie[0].sum() == pytest.approx(0.5, rel=0.05)


def test_some_scenes_have_sheets_with_holes() -> None:
    holed = 0
    for seed in range(30):
        drawn = scene(seed)
        sheets = drawn.sheet_at(0.0)
        covered = ndimage.binary_fill_holes(sheets > 0.25)
        holed += bool(drawn.sheet_cells) and bool((covered & (sheets < 0.25)).sum() > 20)
    assert holed >= 3
