"""Simulated movies have the truth that they claim, and both worlds their own physics."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from dimstream_models.training.audit.conditions import CONDITIONS, Condition, conditions
from dimstream_models.training.audit.independent_simulator import (
    MARGIN,
    OtherScene,
    count_with_dead_time,
    dark_map,
)
from dimstream_models.training.audit.simulated_movies import (
    AFTER_PULSES,
    HOT_SHARE,
    PHYSICS,
    RAMP,
    Extent,
    Physics,
    blemished,
    simulate,
)
from dimstream_models.training.settings import SimulationSettings
from dimstream_models.training.simulation.training_samples import draw_scene, scene_generator

pytestmark = pytest.mark.slow

SMALL = Extent(side_px=(72, 90), frames=(9, 12))
NAMED = {condition.name: condition for condition in CONDITIONS}


def _scene(seed: int, *, half_empty: bool = False, side_px: int = 128) -> OtherScene:
    return OtherScene.random(np.random.default_rng(seed), side_px, half_empty=half_empty)


def _anything(name: str, physics: Physics = "simulator", number: int = 0) -> NDArray[np.uint16]:
    return simulate(NAMED[name], physics, number, seed=1, extent=SMALL).counts


def test_conditions_have_names_of_their_own() -> None:
    assert len(NAMED) == len(CONDITIONS)
    assert set(conditions(quick=True)) < set(CONDITIONS)
    assert {each.kind for each in conditions(quick=True)} == {"signal", "empty", "dying", "saturated"}


@pytest.mark.parametrize("physics", PHYSICS)
def test_a_movie_is_the_same_for_the_same_seed(physics: Physics) -> None:
    first, again = (simulate(NAMED["1 photon, dark"], physics, 3, seed=5, extent=SMALL) for _ in range(2))
    assert np.array_equal(first.counts, again.counts)
    assert np.array_equal(first.truth, again.truth)
    assert first.counts.dtype == np.uint16
    assert first.counts.shape == first.truth.shape
    other = simulate(NAMED["1 photon, dark"], physics, 4, seed=5, extent=SMALL)
    assert other.counts.shape != first.counts.shape or not np.array_equal(other.counts, first.counts)


def test_no_scene_is_one_of_training() -> None:
    movie = simulate(NAMED["10 photons, background 0.1"], "simulator", 0, seed=0, extent=SMALL)
    side = movie.truth.shape[-1]
    for index in range(20):
        rng = scene_generator(0, "training", index)
        structure = draw_scene(rng, SimulationSettings(), side).structure()
        assert np.corrcoef(structure.ravel(), movie.truth[0].ravel())[0, 1] < 0.9


@pytest.mark.parametrize("physics", PHYSICS)
@pytest.mark.parametrize("name", ["3 photons, background 0.5", "3 photons, background 2"])
def test_counts_have_the_truths_expectation(name: str, physics: Physics) -> None:
    movie = simulate(NAMED[name], physics, 1, seed=2, extent=Extent(side_px=(96, 96), frames=(16, 16)))
    expected = movie.truth.mean() + NAMED[name].background
    assert movie.counts.mean() == pytest.approx(expected, rel=0.06)  # dead time takes up to 6 %
    bright = movie.truth > 2
    assert movie.counts[bright].mean() == pytest.approx(
        movie.truth[bright].mean() + NAMED[name].background, rel=0.15
    )


@pytest.mark.parametrize("physics", PHYSICS)
def test_a_typical_structures_peak_is_the_dose(physics: Physics) -> None:
    peaks = []
    for number in range(12):
        movie = simulate(NAMED["10 photons, background 0.1"], physics, number, seed=0, extent=SMALL)
        truth = movie.truth[0]
        local = (ndimage.maximum_filter(truth, 9) == truth) & (truth > 2)
        peaks.append(np.median(truth[local]))
    assert 7 < np.median(peaks) < 20


@pytest.mark.parametrize("physics", PHYSICS)
def test_a_dying_sample_leaves_its_background(physics: Physics) -> None:
    movie = simulate(NAMED["3 photons, dies"], physics, 0, seed=1, extent=SMALL)
    assert movie.changes_at is not None
    assert movie.died_at == movie.changes_at
    assert len(movie.counts) - movie.changes_at >= 4
    assert movie.doses == (3.0,) * movie.changes_at + (0.0,) * (len(movie.counts) - movie.changes_at)
    assert movie.truth[: movie.changes_at].max(axis=(1, 2)).min() > 1
    assert movie.truth[movie.changes_at :].max() == 0
    assert movie.counts[movie.changes_at :].mean() == pytest.approx(0.1, rel=0.1)


def test_bleaching_halves_the_light() -> None:
    movie = simulate(NAMED["10 photons, bleaching"], "simulator", 0, seed=1, extent=SMALL)
    assert movie.doses[5] == pytest.approx(movie.doses[0] / 2)
    assert movie.truth[5].mean() == pytest.approx(movie.truth[0].mean() / 2, rel=0.1)


@pytest.mark.parametrize("physics", PHYSICS)
def test_a_jump_shows_another_field(physics: Physics) -> None:
    movie = simulate(NAMED["1 photon, stage jump"], physics, 0, seed=1, extent=SMALL)
    alike = [
        np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(movie.truth, movie.truth[1:], strict=False)
    ]
    assert movie.changes_at is not None
    assert movie.died_at is None
    assert int(np.argmin(alike)) == movie.changes_at - 1
    assert min(alike) < 0.5 < np.median(alike)


@pytest.mark.parametrize("physics", PHYSICS)
def test_a_drifting_field_moves_by_as_much(physics: Physics) -> None:
    movie = simulate(NAMED["3 photons, drift 10 px"], physics, 0, seed=1, extent=SMALL)
    for before, after in zip(movie.truth, movie.truth[1:], strict=False):
        spectrum = np.fft.rfft2(after - after.mean()) * np.fft.rfft2(before - before.mean()).conj()
        correlation = np.fft.irfft2(spectrum, before.shape)
        peak = np.unravel_index(correlation.argmax(), correlation.shape)
        sides = before.shape
        moved = [min(place, side - place) for place, side in zip(peak, sides, strict=True)]
        assert np.hypot(*moved) == pytest.approx(10, abs=3)


@pytest.mark.parametrize("physics", PHYSICS)
def test_half_of_a_half_empty_field_is_dark(physics: Physics) -> None:
    movie = simulate(NAMED["3 photons, half empty"], physics, 0, seed=1, extent=SMALL)
    dark = movie.truth[0] < 0.1 * 3
    assert dark.mean() > 0.3
    assert ndimage.binary_opening(dark, iterations=12).any()  # a large piece, not the gaps of a network


def test_what_saturates_stays_at_the_ceiling() -> None:
    for physics in PHYSICS:
        counts = _anything("60 photons, ceiling 20", physics)
        assert counts.max() == 20
        assert (counts == 20).mean() > 0.005


def test_empty_fields_hold_nothing() -> None:
    movie = simulate(NAMED["empty, 2"], "other", 0, seed=1, extent=SMALL)
    assert movie.truth.max() == 0
    assert set(movie.doses) == {0.0}
    assert movie.counts.mean() == pytest.approx(2, rel=0.1)


def test_after_pulsing_ties_neighbours_along_the_fast_axis() -> None:
    counts = _anything("empty, 1, after-pulsing").astype(float)
    centred = counts - counts.mean()
    along = (centred[:, :, 1:] * centred[:, :, :-1]).mean() / centred.var()
    across = (centred[:, 1:] * centred[:, :-1]).mean() / centred.var()
    assert along == pytest.approx(AFTER_PULSES, abs=0.03)
    assert abs(across) < 0.02


def test_blemishes_are_what_their_names_say() -> None:
    flat = np.ones((200, 200))
    ramp, vignette, hot, pattern = (
        blemished(name, flat, np.random.default_rng(0)).background
        for name in ("ramp", "vignette", "hot pixels", "fixed pattern")  # type: ignore[arg-type]
    )
    assert (ramp.min(), ramp.max()) == pytest.approx(RAMP, abs=0.01)
    assert vignette[100, 100] > 0.99
    assert vignette[0, 0] == pytest.approx(0.2)
    assert (hot > 1).mean() == pytest.approx(HOT_SHARE, rel=0.4)
    assert np.log(pattern).std() == pytest.approx(0.5, rel=0.03)
    flicker = blemished("row flicker", flat, np.random.default_rng(0))
    frame = flicker.expected(np.zeros((200, 200)), np.random.default_rng(1))
    assert (frame == frame[:, :1]).all()
    assert frame[:, 0].std() > 0.2


def test_a_dead_detector_counts_as_renewal_theory_says() -> None:
    """A renewal process has the rate r / (1 + r d) and the Fano factor 1 / (1 + r d)^2 in the long run."""
    rate, dead_time = 40.0, 0.02
    counts = count_with_dead_time(np.full((150, 150), rate), dead_time, np.random.default_rng(0))
    assert counts.mean() == pytest.approx(rate / (1 + rate * dead_time), rel=0.02)
    assert counts.var() / counts.mean() == pytest.approx(1 / (1 + rate * dead_time) ** 2, rel=0.06)
    alive = count_with_dead_time(np.full((150, 150), 3.0), 0.0, np.random.default_rng(0))
    assert alive.mean() == pytest.approx(3, rel=0.02)
    assert alive.var() / alive.mean() == pytest.approx(1, rel=0.03)


def test_the_dark_rate_is_uneven_and_one_in_the_mean() -> None:
    rates = dark_map(np.random.default_rng(0), (150, 150))
    assert rates.mean() == pytest.approx(1)
    smooth = ndimage.uniform_filter(rates, 15)
    assert smooth.max() / smooth.min() > 1.3
    assert (rates - smooth).std() == pytest.approx(0.1, rel=0.2)


def test_the_other_worlds_samples_differ_and_move() -> None:
    shares = []
    for seed in range(8):
        scene = _scene(seed)
        first, later = scene.structure(0), scene.structure(20)
        assert first.shape == (128, 128)
        assert first.min() >= 0
        assert np.median(first[first > 0.5]) == pytest.approx(1, abs=0.6)
        shares.append((first > 0.5).mean())
        if scene.matter:
            assert not np.allclose(first, later)
    assert max(shares) > 2 * min(shares)


def test_the_other_worlds_point_spread_has_wings() -> None:
    point = np.zeros((128 + 2 * MARGIN,) * 2)
    point[64, 64] = 1
    image = np.fft.irfft2(np.fft.rfft2(point) * _scene(3).transfer, point.shape)
    assert image.sum() == pytest.approx(1)
    profile = image[64, 64:100] / image[64, 64]
    below_half = int(np.argmax(profile < 0.5))
    assert 1 <= below_half <= 5
    assert profile[20] > 1e-4  # a Gaussian of 3.5 px has 1e-7 there


def test_conditions_are_told_by_what_they_hold() -> None:
    assert Condition(name="a", background=1).kind == "empty"
    assert Condition(name="b", background=1, dose=1).kind == "signal"
    assert Condition(name="c", background=1, dose=1, dies=True).kind == "dying"
    assert Condition(name="d", background=1, dose=1, ceiling=5).kind == "saturated"
