"""How right the support map is, on movies that had no part in making its rule."""

from pathlib import Path

import pytest

import dimstream_models
from dimstream_models.bundle import read_bundle
from dimstream_models.quality.support_map import support
from dimstream_models.training.audit.auditing import PixelTally, tally_pixels
from dimstream_models.training.audit.conditions import CONDITIONS
from dimstream_models.training.audit.judged_movies import MovieFollower
from dimstream_models.training.audit.simulated_movies import PHYSICS, Extent, simulate

pytestmark = pytest.mark.slow

SHIPPED = Path(dimstream_models.__file__).parent / "shipped" / "er-sted-light"
SEED = 77
FAINT = ("0.3 photons, dark", "0.3 photons, background 0.1")
FLAT = (*FAINT, "1 photon, background 0.5", "empty, 0.5", "empty, 2")
UNEVEN = ("1 photon, ramp", "empty, 0.1, ramp", "empty, 1, ramp", "empty, 1, vignette")


@pytest.fixture(scope="module")
def tallies() -> dict[str, PixelTally]:
    follower, found = MovieFollower(read_bundle(SHIPPED)), {}
    for condition in CONDITIONS:
        if condition.name not in FLAT + UNEVEN:
            continue
        found[condition.name] = PixelTally()
        for physics in PHYSICS:
            movie = simulate(condition, physics, 0, seed=SEED, extent=Extent((160, 200), (1, 1)))
            (frame,) = follower.follow(movie.counts)
            # the map itself: in a frame without structure the service calls all of it unsupported
            bits = support(movie.counts[0], frame.prediction, 10, 5, 25).classes
            found[condition.name] += tally_pixels(bits, movie.truth[0], movie.doses[0])
    return found


def _together(tallies: dict[str, PixelTally], names: tuple[str, ...]) -> PixelTally:
    return sum((tallies[name] for name in names), PixelTally())


def test_at_a_third_of_a_photon_real_structure_is_supported(tallies: dict[str, PixelTally]) -> None:
    found = _together(tallies, FAINT)
    assert found.real > 10_000
    assert found.real_unsupported < 0.1 * found.real


@pytest.mark.parametrize(("names", "least"), [(FLAT, 0.9), (UNEVEN, 0.8)], ids=["flat", "uneven"])
def test_invented_structure_is_found(
    tallies: dict[str, PixelTally], names: tuple[str, ...], least: float
) -> None:
    found = _together(tallies, names)
    assert found.invented > 5_000
    assert found.invented_unsupported >= least * found.invented
