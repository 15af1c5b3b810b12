"""The total score, at figures whose scores are known."""

import pytest

from dimstream_models.training.search.outcomes import Figures, Outcome
from dimstream_models.training.search.scoring import total_scores

RUNS = [
    Figures(ssim=0.9, mae=2.0, resolution_px=5.0),
    Figures(ssim=0.7, mae=1.0, resolution_px=3.0),
    Figures(ssim=0.8, mae=3.0, resolution_px=4.0),
]
TOTALS = [(1 + 0.5 + 0) / 3, (0 + 1 + 1) / 3, (0.5 + 0 + 0.5) / 3]


def _totals(runs: list[Figures | None]) -> list[float | None]:
    return [None if score is None else score.total for score in total_scores(runs)]


def test_each_figure_runs_from_worst_to_best_and_the_total_is_their_mean() -> None:
    assert _totals([*RUNS]) == pytest.approx(TOTALS)


def test_runs_that_failed_have_no_score_and_change_none() -> None:
    assert _totals([None, RUNS[0], None, *RUNS[1:]]) == [
        None,
        pytest.approx(TOTALS[0]),
        None,
        *map(pytest.approx, TOTALS[1:]),
    ]


def test_a_run_without_a_resolution_is_worst_in_it_and_squeezes_no_other() -> None:
    blurred = Figures(ssim=0.8, mae=2.0, resolution_px=None)
    scores = total_scores([*RUNS, blurred])
    assert scores[3] is not None
    assert (scores[3].ssim, scores[3].mae, scores[3].resolution) == pytest.approx((0.5, 0.5, 0.0))
    assert _totals([*RUNS, blurred])[:3] == pytest.approx(TOTALS)


def test_figures_in_which_all_agree_are_best_for_all() -> None:
    assert _totals([RUNS[0]]) == [1.0]
    assert _totals([RUNS[0], RUNS[0]]) == [1.0, 1.0]
    assert _totals([RUNS[0].model_copy(update={"resolution_px": None})]) == pytest.approx([2 / 3])
    assert _totals([]) == []


def test_an_outcome_has_figures_or_a_reason_and_no_number_that_is_none() -> None:
    with pytest.raises(ValueError, match="either figures or the reason"):
        Outcome(figures=None, reason=None, seconds=1)
    with pytest.raises(ValueError, match="finite"):
        Figures(ssim=float("nan"), mae=1.0, resolution_px=2.0)
