"""Importances of a synthetic study, of which it is known what matters and by how much."""

import csv
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from dimstream_models.training.errors import SearchError
from dimstream_models.training.search.importance import Importance, measure_importance, write_importance
from dimstream_models.training.search.outcomes import Figures, Outcome
from dimstream_models.training.search.space import Setting, all_settings
from dimstream_models.training.search.study import Trial
from dimstream_models.training.settings import SearchSpace

pytestmark = pytest.mark.slow

RATES = (1e-6, 1e-5, 5e-5, 1e-4, 5e-4, 1e-3)
RATE_EFFECT = dict(zip(RATES, (0.0, 0.3, 1.2, 1.8, 2.0, 1.1), strict=True))
KIND_EFFECT = {"glorot_uniform": 0.0, "lecun_uniform": 0.9, "orthogonal": 0.45}
RUNS = 240


def _quality(setting: Setting) -> float:
    return RATE_EFFECT[setting["learning_rate"]] + KIND_EFFECT[setting["initializer"]]  # type: ignore[index]


def _study(quality: Callable[[Setting], float | None], *, runs: int = RUNS) -> list[Trial]:
    """Trials whose total score is a straight line in their quality; None: failed."""

    def outcome(setting: Setting) -> Outcome:
        found = quality(setting)
        if found is None:
            return Outcome(figures=None, reason="diverged", seconds=1)
        return Outcome(
            figures=Figures(ssim=found, mae=-found, resolution_px=9 - found), reason=None, seconds=1
        )

    settings = all_settings(SearchSpace(learning_rate=RATES), seed=5)[:runs]
    return [Trial(number, setting, outcome(setting)) for number, setting in enumerate(settings)]


@pytest.fixture(scope="module")
def known() -> Importance:
    return measure_importance(_study(_quality))


def _variance_shares() -> tuple[float, float]:
    rate, kind = (float(np.var(list(effect.values()))) for effect in (RATE_EFFECT, KIND_EFFECT))
    return rate / (rate + kind), kind / (rate + kind)


def test_impurity_is_the_share_of_the_variance(known: Importance) -> None:
    found = {knob.knob: knob.impurity for knob in known.knobs}
    rate, kind = _variance_shares()
    # a random choice of a fifth of the grid is not quite balanced, hence some hundredths
    assert found["learning_rate"] == pytest.approx(rate, abs=0.05)
    assert found["initializer"] == pytest.approx(kind, abs=0.05)
    assert sum(found.values()) == pytest.approx(1)
    assert max(found[knob] for knob in ("activation", "clip_value", "l2_weight", "patch_px")) < 0.01


def test_shuffling_a_knob_costs_twice_its_share_of_the_variance(known: Importance) -> None:
    # of an additive score E[(f(x') - f(x))^2] is 2 Var(f): Breiman 2001, doi 10.1023/A:1010933404324
    found = {knob.knob: knob for knob in known.knobs}
    for knob, share in zip(("learning_rate", "initializer"), _variance_shares(), strict=True):
        standard_error = found[knob].permutation_spread / np.sqrt(5)  # shuffles of a fold share its runs
        assert found[knob].permutation == pytest.approx(2 * share, abs=3 * standard_error)
        assert 0 < found[knob].permutation_spread < share
    assert all(abs(found[knob].permutation) < 0.01 for knob in ("activation", "clip_value", "patch_px"))
    assert [knob.knob for knob in known.knobs][:2] == ["learning_rate", "initializer"]


def test_suitability_follows_the_effect_of_each_value(known: Importance) -> None:
    knobs = {knob.knob: knob for knob in known.knobs}
    for knob, effect in (("learning_rate", RATE_EFFECT), ("initializer", KIND_EFFECT)):
        top = max(effect.values())
        found = {value.value: value.suitability for value in knobs[knob].values}
        expected = {value: each / top for value, each in effect.items()}
        assert found == pytest.approx(expected, abs=0.05)
        assert list(found) == sorted(found, key=str if knob == "initializer" else float)  # type: ignore[arg-type]


def test_the_forest_says_how_much_it_explains(known: Importance) -> None:
    assert known.r_squared > 0.98
    assert known.r_squared_out_of_bag > 0.98
    assert "explains" in known.verdict
    assert "too little" not in known.verdict


def test_of_noise_the_forest_says_that_it_means_nothing() -> None:
    rng = np.random.default_rng(0)
    found = measure_importance(_study(lambda _: float(rng.normal()), runs=60))
    assert found.r_squared < 0.1
    assert "too little for meaningful importances" in found.verdict
    assert all(knob.permutation < 0.3 for knob in found.knobs)


def test_an_unbalanced_choice_does_not_lend_a_value_its_neighbours_merits() -> None:
    """Only runs with a good learning rate have tanh: its mean is high, its suitability is not."""

    def seen(setting: Setting) -> float:
        return RATE_EFFECT[setting["learning_rate"]]  # type: ignore[index]

    good = [t for t in _study(seen) if t.setting["learning_rate"] in (1e-4, 5e-4) or t.number % 4 == 0]
    chosen = [
        t for t in good if (t.setting["activation"] == "tanh") <= (t.setting["learning_rate"] in (1e-4, 5e-4))
    ]
    found = {knob.knob: knob for knob in measure_importance(chosen).knobs}["activation"]
    leaky, tanh = found.values
    assert tanh.mean_score is not None
    assert leaky.mean_score is not None
    assert tanh.mean_score - leaky.mean_score > 0.1
    assert abs((tanh.expected_score or 0) - (leaky.expected_score or 0)) < 0.02


def test_failed_runs_are_counted_and_a_value_that_always_fails_suits_least() -> None:
    def diverging(setting: Setting) -> float | None:
        return None if setting["learning_rate"] == 1e-3 else _quality(setting)

    found = measure_importance(_study(diverging, runs=100))
    rates = {knob.knob: knob for knob in found.knobs}["learning_rate"].values
    assert found.runs + found.failed == 100
    assert (rates[-1].value, rates[-1].succeeded, rates[-1].suitability) == (1e-3, 0, 0.0)
    assert rates[-1].failed == found.failed > 0
    assert rates[-1].expected_score is rates[-1].mean_score is None


def test_too_few_runs_are_refused_with_their_number() -> None:
    def half(setting: Setting) -> float | None:
        return _quality(setting) if setting["activation"] == "tanh" else None

    trials = _study(half, runs=14)
    succeeded = sum(trial.outcome is not None and trial.outcome.figures is not None for trial in trials)
    with pytest.raises(
        SearchError, match=rf"at least 10 successful runs, got {succeeded} \(and {14 - succeeded}"
    ):
        measure_importance(trials)
    with pytest.raises(SearchError, match="the same total score"):
        measure_importance(_study(lambda _: 1.0, runs=12))


def test_ten_runs_are_enough_and_the_same_runs_say_the_same() -> None:
    trials = _study(_quality, runs=10)
    assert measure_importance(trials) == measure_importance(trials)


def test_tables_and_chart_are_written(known: Importance, tmp_path: Path) -> None:
    write_importance(known, tmp_path / "new")
    knobs, values = (_rows(tmp_path / "new" / name) for name in ("importance.csv", "suitability.csv"))
    assert [row["knob"] for row in knobs] == [knob.knob for knob in known.knobs]
    assert float(knobs[0]["permutation"]) == known.knobs[0].permutation
    assert {row["r_squared"] for row in knobs} == {str(known.r_squared)}
    assert len(values) == 2 + 3 + 3 + 3 + 6 + 4
    assert [row["suitability"] for row in values][:6].count("1.0") == 1
    assert (tmp_path / "new" / "importance.png").read_bytes().startswith(b"\x89PNG")


def _rows(path: Path) -> Sequence[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))
