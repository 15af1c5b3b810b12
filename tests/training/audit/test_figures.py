"""The audit's figures against examples that were reckoned by hand."""

from dataclasses import replace

import numpy as np
import pytest
from shipped import BUNDLE
from training.audit.movies import make_movie, make_record

from dimstream_models.bundle import read_bundle
from dimstream_models.judging import FlagName
from dimstream_models.quality.support_map import PREDICTED, UNSUPPORTED
from dimstream_models.training.audit.alarms import (
    allowing_threshold,
    deaths,
    false_alarms,
    missed_frames,
    noticed,
)
from dimstream_models.training.audit.auditing import (
    Audit,
    AuditedMovie,
    AuditSettings,
    PixelTally,
    plan,
    served,
    tally_pixels,
)
from dimstream_models.training.audit.conditions import CONDITIONS, Condition
from dimstream_models.training.audit.error_rates import measure
from dimstream_models.training.audit.goals import goals
from dimstream_models.training.audit.scores import curve

LIT = Condition(name="lit", dose=2, background=0.1)
DIES = Condition(name="dies", dose=2, background=0.1, dies=True)
DARK = Condition(name="dark", background=0.1)
FAINT = Condition(name="faint", dose=0.3, background=0.1)


def _signal() -> list[AuditedMovie]:
    """101 frames after the firsts, two of them suspect; the decisions are 0.01, 0.02, …, 1.01."""
    flags: list[FlagName] = ["ok", "suspect", "suspect", *["ok"] * 48]
    first = [make_record(t, flag, ssim=t / 100) for t, flag in enumerate(flags)]
    second = [make_record(t, ssim=0.5 + t / 100) for t in range(52)]
    return [make_movie(LIT, first), make_movie(LIT, second, physics="other")]


def test_false_alarms_are_counted_after_the_first_frame() -> None:
    movies = [*_signal(), make_movie(LIT, [make_record(0, "suspect"), make_record(1)])]
    found = false_alarms(movies, "alone", seed=0)
    assert (found.events, found.frames, found.movies_affected) == (2, 102, 1)
    assert found.estimate.value == pytest.approx(2 / 102)
    assert found.frames_low == pytest.approx(0.00238, abs=1e-4)
    assert found.frames_high == pytest.approx(0.0690, abs=1e-4)
    assert found.estimate.by_physics == {"other": 0.0, "simulator": pytest.approx(2 / 51)}


def test_missed_frames_are_all_that_are_not_suspect() -> None:
    records = [
        make_record(0, "unjudged"),
        make_record(1, "suspect"),
        make_record(2),
        make_record(3, "suspect"),
    ]
    found = missed_frames([make_movie(DARK, records)], "with_split", seed=0)
    assert (found.events, found.frames) == (2, 4)


def test_the_delay_is_told_from_the_first_dead_frame() -> None:
    flags: list[FlagName] = ["ok", "suspect", "ok", "ok", "ok", "suspect"]  # dead from frame 3
    records = [make_record(t, flag, ssim=0.9 if t < 4 else 0.005) for t, flag in enumerate(flags)]
    never = [make_record(t, ssim=0.9) for t in range(6)]
    movies = [
        *_signal(),
        make_movie(DIES, records, changes_at=3),
        make_movie(DIES, never, changes_at=3),
    ]
    assert allowing_threshold(movies, "alone") == pytest.approx(0.02)  # one of 101 is below
    found = deaths(movies, "alone")
    assert [(each.flagged, each.at_allowed) for each in found] == [(2, 1), (None, None)]
    assert noticed(found, by="flagged", within=2, seed=0).value == 0
    assert noticed(found, by="flagged", within=3, seed=0).value == 0.5
    assert noticed(found, by="at_allowed", within=2, seed=0).value == 0.5


def test_pixels_are_invented_real_or_neither() -> None:
    truth = np.zeros((20, 40), np.float32)
    truth[10, 10], truth[10, 25] = 0.5, 0.3  # of a dose of 2: a quarter, and 0.15
    bits = np.zeros((20, 40), np.uint8)
    bits[10, 13], bits[10, 7] = PREDICTED, PREDICTED | UNSUPPORTED  # 3 px from it: real
    bits[10, 14] = PREDICTED | UNSUPPORTED  # 4 px: invented
    bits[10, 24] = PREDICTED | UNSUPPORTED  # next to the faint one: left out
    bits[2, 35], bits[3, 35], bits[4, 35] = PREDICTED, PREDICTED | UNSUPPORTED, UNSUPPORTED
    found = tally_pixels(bits, truth, 2.0)
    assert found == PixelTally(invented=3, invented_unsupported=2, real=2, real_unsupported=1)
    nothing = tally_pixels(bits, 0 * truth, 0.0)
    assert nothing == PixelTally(invented=6, invented_unsupported=4, real=0, real_unsupported=0)
    assert found + nothing == PixelTally(9, 6, 2, 1)


def test_recall_and_precision_are_over_all_pixels() -> None:
    frames = [make_record(0), make_record(1)]
    movies = [
        make_movie(LIT, frames, pixels=PixelTally(10, 9, 100, 3)),
        make_movie(LIT, frames, physics="other", pixels=PixelTally(30, 15, 100, 5)),
        make_movie(DARK, frames, pixels=PixelTally(40, 40, 0, 0)),
    ]
    audit = Audit(read_bundle(BUNDLE), AuditSettings(), tuple(movies), ())
    rows = {(row.by, row.name): row for row in measure(audit).pixels if row.way == "alone"}
    lit = rows["dose", "2"]
    assert lit.recall.value == pytest.approx(24 / 40)
    assert lit.recall.by_physics == {"simulator": 0.9, "other": 0.5}
    assert lit.precision.value == pytest.approx(24 / 32)
    assert lit.real_lost.value == pytest.approx(8 / 200)
    assert lit.invented.value == pytest.approx(40 / 240)
    assert rows["condition", "dark"].recall.value == 1
    assert rows["condition", "dark"].real_lost.value is None
    assert rows["all", "all"].recall.value == pytest.approx(64 / 80)


def test_signal_is_told_from_empty_by_frames_with_enough_photons() -> None:
    bright = [make_record(t, structure_score=10.0 + t) for t in range(4)]
    movies = [
        make_movie(LIT, bright, doses=(2.0, 1.5, 1.0, 0.5)),
        make_movie(FAINT, [make_record(t, structure_score=-99.0) for t in range(4)]),
        make_movie(DARK, [make_record(t, "suspect", structure_score=11.5, ssim=0.1) for t in range(3)]),
    ]
    found = measure(Audit(read_bundle(BUNDLE), AuditSettings(), tuple(movies), ()))
    assert found.area("structure_score").value == 0.5  # 11 and 12 against 11.5
    assert found.area("flag").value == 1
    assert found.area("split_ssim").value is None
    names = {(row.score, row.condition) for row in found.areas}
    assert {("ssim", "lit"), ("ssim", "dark")} < names
    assert ("ssim", "faint") not in names


def test_claims_are_compared_with_what_happens() -> None:
    records = [make_record(t, p=0.04 if t < 3 else 0.6) for t in range(10)]
    jumping = replace(LIT, name="jumps", jumps=True)
    movies = [make_movie(LIT, records), make_movie(jumping, [make_record(t, p=0.0) for t in range(9)])]
    found = measure(Audit(read_bundle(BUNDLE), AuditSettings(), tuple(movies), ()))
    measured = {row.claimed: row.measured.value for row in found.claims if row.probability == "p_signal"}
    assert measured[0.02] == 0
    assert measured[0.05] == pytest.approx(0.3)
    assert measured[0.7] == 1
    assert all(row.measured.value is None for row in found.claims if row.probability == "p_dark")


def test_a_goal_is_certain_only_beyond_its_intervals() -> None:
    dark = [make_movie(DARK, [make_record(t, "suspect", ssim=0.0) for t in range(5)])] * 3
    figures = measure(Audit(read_bundle(BUNDLE), AuditSettings(), (*_signal(), *dark), ()))
    found = {goal.name: goal for goal in goals(figures, with_split=False)}
    assert len(found) == 5
    area = next(goal for name, goal in found.items() if "decision" in name)
    assert (area.value, area.reached, area.certain) == (1.0, True, False)
    assert next(goal for name, goal in found.items() if "recorded" in name).reached is None
    assert len(goals(figures, with_split=True)) == 10


def test_a_curve_goes_from_corner_to_corner() -> None:
    false, true = curve([1, 2, 2, 3], [0, 0, 2, 1])
    assert (false[0], true[0], false[-1], true[-1]) == (0, 0, 1, 1)
    assert np.trapezoid(true, false) == pytest.approx(13.5 / 16)  # 12 pairs are won, 3 are ties
    assert list(zip(false, true, strict=True)) == [(0, 0), (0, 0.25), (0.25, 0.75), (0.5, 1), (1, 1)]


def test_an_audit_has_each_condition_in_both_worlds() -> None:
    jobs = list(plan(AuditSettings(movies=3)))
    assert len(jobs) == len(set(jobs))
    for condition in CONDITIONS:
        wanted = 6 if condition.dies else 3
        for physics in ("simulator", "other"):
            assert sum(job[:2] == (condition, physics) for job in jobs) == wanted


@pytest.mark.parametrize(
    ("given", "taken"),
    [("uint8", "uint8"), ("uint16", "uint16"), ("int32", "uint16"), ("float64", "float32")],
)
def test_recorded_counts_are_sent_as_the_service_takes_them(given: str, taken: str) -> None:
    assert served(np.arange(6).reshape(1, 2, 3).astype(given)).dtype == taken
    assert served(np.array([[[-1, 5]]])).dtype == np.float32
