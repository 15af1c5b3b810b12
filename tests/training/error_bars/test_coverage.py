"""Shares within the error bars, counted on errors whose distribution is known."""

import numpy as np
import pytest
from scipy import special, stats

from dimstream_models.training.error_bars.coverage import Coverage, Row, as_csv, as_record, as_text
from dimstream_models.training.error_bars.samples import STRUCTURES, Exposed, Sample, structure_of

SHAPE = (64, 64)


def sample(rng: np.random.Generator, *, dose: float, spread: float) -> Sample:
    """A frame whose errors are normal with this spread; its structures lie in stripes."""
    blank = np.zeros(SHAPE, np.float32)
    structure = np.arange(SHAPE[0] * SHAPE[1]).reshape(SHAPE) % len(STRUCTURES)
    error = np.abs(rng.normal(0, spread, SHAPE)).astype(np.float32)
    return Sample(Exposed(blank, blank, structure.astype(np.uint8), dose, 0), blank, error)


def rows(sd: float, *, frames: int = 40) -> list[Row]:
    rng, found = np.random.default_rng(1), Coverage()
    for number in range(frames):
        found.add(sample(rng, dose=(0.2, 2.0)[number % 2], spread=3.0), np.full(SHAPE, sd, np.float32))
    return found.rows()


def test_shares_are_the_normal_distributions() -> None:
    found = rows(3.0)
    assert len(found) == 2 * len(STRUCTURES)
    for row in found:
        assert row.within_one == pytest.approx(special.erf(1 / np.sqrt(2)), abs=5 * row.within_one_error)
        assert row.within_two == pytest.approx(special.erf(2 / np.sqrt(2)), abs=5 * row.within_two_error)
        binomial = np.sqrt(row.within_one * (1 - row.within_one) / row.pixels)
        assert row.within_one_error == pytest.approx(binomial, rel=0.6)
        assert (row.sd, row.rms_error) == pytest.approx((3.0, 3.0), rel=0.05)
        assert row.met
    assert [row.dose_photons for row in found[::3]] == [(0.1, 0.3), (1.0, 3.0)]


def test_bars_that_are_too_short_are_seen() -> None:
    for row in rows(1.5):
        assert row.within_one == pytest.approx(2 * stats.norm.cdf(0.5) - 1, abs=0.02)
        assert not row.met
        assert row.surely_missed


def test_a_bin_is_not_surely_missed_by_frames_that_differ_as_much_as_it_misses() -> None:
    found, rng = Coverage(), np.random.default_rng(2)
    for sd in (2.0, 12.0, 2.1, 1.9):  # one frame in four holds nearly all, the others too few
        found.add(sample(rng, dose=0.2, spread=3.0), np.full(SHAPE, sd, np.float32))
    for row in found.rows():
        assert not row.met
        assert not row.surely_missed
    assert "| missed, within two errors |" in as_text(found.rows())


def test_tables_say_the_same() -> None:
    found = rows(1.5)
    assert as_text(found).endswith(
        "0 of 6 bins within 68 ± 5 % and 95 ± 3 %; 6 outside by more than two errors"
    )
    assert as_csv(found, world="w").count("\n") == 6
    assert [each.within_one for each in as_record(found)] == [round(row.within_one, 4) for row in found]


def test_a_tubule_has_a_centre_edges_and_nothing_beside_it() -> None:
    across = np.exp(-((np.arange(41) - 20) ** 2) / (2 * 3.0**2))
    classes = structure_of(np.tile(across, (15, 1)))[7]
    assert STRUCTURES[classes[20]] == "centre"
    assert (classes[[0, 5, 35, 40]] == STRUCTURES.index("empty")).all()
    assert (classes[[14, 16, 24, 26]] == STRUCTURES.index("edge")).all()
    np.testing.assert_array_equal(classes, classes[::-1])
