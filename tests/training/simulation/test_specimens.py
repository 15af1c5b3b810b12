"""Scenes of other samples than the ER: repeatable, finite, of the doses, kinds and sizes that they claim."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from dimstream_models.training.settings import SimulationSettings
from dimstream_models.training.simulation import specimens
from dimstream_models.training.simulation.er_scenes import Scene
from dimstream_models.training.simulation.specimens import Optics, Specimen, draw_specimen, smaller_er
from dimstream_models.training.simulation.structures import (
    Points,
    broken,
    clusters,
    dashes,
    filaments,
    puncta,
)
from dimstream_models.training.simulation.training_samples import Sampler, draw_scene

GENERAL = SimulationSettings(other_share=0.6, smaller_share=0.4)


@pytest.mark.parametrize("kind", list(specimens._LAYERS))
def test_every_kind_is_repeatable_and_about_as_bright_as_its_dose(kind: str) -> None:
    draw = specimens._LAYERS[kind][1]

    def image(seed: int) -> np.ndarray:
        return Specimen.random(np.random.default_rng(seed), (128, 128), (draw,)).structure(2.0)

    images = [image(seed) for seed in range(8)]
    assert np.array_equal(images[3], image(3))
    for each in images:
        assert each.shape == (128, 128)
        assert each.dtype == np.float32
        assert np.isfinite(each).all()
        assert each.min() >= 0
    assert 0.3 < np.median([each.max() for each in images]) < 6


def test_pixels_and_resolutions_span_what_is_claimed() -> None:
    optics = [Optics.random(np.random.default_rng(seed)) for seed in range(400)]
    pixels = np.array([each.pixel_nm for each in optics])
    widths = np.array([2.355 * each.sigma_px * each.pixel_nm for each in optics])
    assert 15 <= pixels.min() < 18
    assert 50 < pixels.max() <= 60
    assert widths.min() < 60
    assert widths.max() > 200


def test_points_keep_their_light_and_their_place() -> None:
    points = Points(np.array([[200.0, 310.0], [95.0, 105.0]]), np.array([3.0, 2.0]))
    image = points.image((32, 40), 20.0)
    assert image.sum() == pytest.approx(5.0)
    assert ndimage.center_of_mass(image) == pytest.approx([(600 + 190) / 100, (930 + 210) / 100])


def test_a_spot_and_a_line_have_a_peak_of_one() -> None:
    optics = Optics(25.0, 1.8, 0.0, 5.0)
    spot = Points(np.array([[800.0, 800.0]]), np.array([optics.point_light()])).image((65, 65), 25.0)
    assert optics.image(spot).max() == pytest.approx(1, abs=0.03)
    along = np.arange(0, 1600, 5.0)
    line = Points(np.stack([np.full_like(along, 800.0), along], axis=1), np.full(len(along), 5.0))
    seen = optics.image(optics.line_light() * line.image((65, 65), 25.0))
    assert seen[32, 32] == pytest.approx(1, abs=0.03)


def test_gaps_have_the_widths_that_were_asked_for() -> None:
    rng = np.random.default_rng(1)
    shine = broken(rng, 200, 1000, every_nm=12_000, gap_nm=(120.0, 120.0 + 1e-6))
    runs = [int(n) for row in shine for n in np.bincount(ndimage.label(row < 0.5)[0])[1:]]
    assert np.median(runs) * 12 == pytest.approx(120, abs=13)
    whole = filaments(rng, (4000, 4000), 5, length_nm=3000, persistence_nm=5000, gaps=None)
    assert whole.light.min() > 0


def test_pieces_of_lines_have_the_gaps_that_were_asked_for() -> None:
    drawn = dashes(np.random.default_rng(3), (4000, 4000), 60, piece_nm=(300.0, 301.0), gap_nm=(120.0, 121.0))
    steps = np.linalg.norm(np.diff(drawn.places, axis=0), axis=1)
    within = steps[steps < 15]
    gaps = steps[(steps > 60) & (steps < 150)]
    assert np.median(within) == pytest.approx(12, abs=0.5)
    assert len(gaps) > 20
    assert np.median(gaps) == pytest.approx(120, abs=13)


def test_crowds_stand_closer_than_single_spots() -> None:
    crowd = clusters(np.random.default_rng(0), (8000, 8000), 6, spread_nm=(150.0, 200.0), radius_nm=0.0)
    nearest = np.sort(np.linalg.norm(crowd.places[::8, None] - crowd.places[None, ::8], axis=-1), axis=1)[
        :, 1
    ]
    assert np.median(nearest) < 200
    assert nearest.max() > 500


def test_rings_are_hollow_and_discs_are_not() -> None:
    def middle(hollow: bool) -> float:
        spots = puncta(np.random.default_rng(0), (1, 1), 1, radius_nm=200, hollow=hollow, variety=0)
        image = ndimage.gaussian_filter(Points(spots.places + 640, spots.light).image((64, 64), 20.0), 2.0)
        return float(image[32, 32] / image.max())

    assert middle(True) < 0.3
    assert middle(False) > 0.6


def test_scenes_move_smoothly_and_a_little() -> None:
    scene = draw_specimen(np.random.default_rng(5), (128, 128))
    first, soon, later = (scene.structure(t) for t in (0.0, 0.5, 60.0))
    assert not np.array_equal(first, soon)
    assert np.abs(first - soon).mean() < np.abs(first - later).mean()


def test_the_smaller_er_has_finer_meshes() -> None:
    def roughness(image: np.ndarray) -> float:
        return float(np.mean([np.abs(np.diff(image, axis=a)).mean() for a in (0, 1)]) / image.mean())

    half = [smaller_er(np.random.default_rng(s), (128, 128), 0.5).structure() for s in range(6)]
    full = [smaller_er(np.random.default_rng(s), (128, 128), 1.0).structure() for s in range(6)]
    assert all(each.shape == (128, 128) for each in half)
    assert np.median([roughness(i) for i in half]) > 1.2 * np.median([roughness(i) for i in full])


@pytest.mark.slow
def test_shares_are_kept_and_the_er_recipe_draws_what_it_drew() -> None:
    scenes = [draw_scene(np.random.default_rng(s), GENERAL, 64) for s in range(200)]
    other = np.mean([isinstance(each, Specimen) for each in scenes])
    er = np.mean([isinstance(each, Scene) for each in scenes])
    assert abs(other - 0.6) < 0.1
    assert abs(er - 0.24) < 0.1
    plain = draw_scene(np.random.default_rng(0), SimulationSettings(), 64)
    rng = np.random.default_rng(0)
    kind = "dense" if rng.random() < 0.33 else "er"
    assert np.array_equal(plain.structure(), Scene.random(rng, (64, 64), kind).structure())


def test_uneven_backgrounds_keep_their_mean_and_are_in_the_truth() -> None:
    settings = SimulationSettings(
        empty_share=1, background_share=1, background=(2.0, 2.001), background_unevenness=1.0
    )
    batch = Sampler(torch.zeros(1, 64, 64).half(), settings, seed=1).batch(0, size=16, patch_px=64)
    assert torch.allclose(batch.truth.mean(dim=(1, 2, 3)), torch.full((16,), 2.0), atol=0.01)
    assert float(batch.truth.std(dim=(1, 2, 3)).max()) > 0.5
    off = (batch.counts - batch.truth).mean(dim=(1, 2, 3))
    assert float(off.abs().max()) < 5 * (2.1 / 64**2) ** 0.5 + 0.05


def test_light_that_flickers_keeps_its_mean_and_is_in_the_truth() -> None:
    still = {"empty_share": 0, "background_share": 0, "dose": (4.0, 4.001)}
    settings = SimulationSettings(**still, flicker_share=0.5, flicker=1.0)
    batch = Sampler(torch.ones(1, 64, 64).half(), settings, seed=1).batch(0, size=32, patch_px=64)
    spread = batch.truth.std(dim=(1, 2, 3)) / 4
    assert 8 <= int((spread < 1e-3).sum()) <= 24
    assert float(spread.max()) > 0.8
    assert torch.allclose(batch.truth.mean(dim=(1, 2, 3)), torch.full((32,), 4.0), rtol=0.1)
    off = (batch.counts - batch.truth).mean(dim=(1, 2, 3))
    assert float(off.abs().max()) < 5 * (4.2 / 64**2) ** 0.5 + 0.05
