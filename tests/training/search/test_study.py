"""The ledger: no trial twice, none lost, no other recipe."""

from pathlib import Path

import pytest

from dimstream_models.training.errors import SearchError
from dimstream_models.training.search.outcomes import Figures, Outcome
from dimstream_models.training.search.space import Setting, all_settings, name_of
from dimstream_models.training.search.study import Propose, Study, Trial, read_trials
from dimstream_models.training.settings import Recipe

DONE = Outcome(figures=Figures(ssim=0.9, mae=1.5, resolution_px=4.25), reason=None, seconds=3)
BLURRED = Outcome(figures=Figures(ssim=0.1, mae=2.5, resolution_px=None), reason=None, seconds=3)
FAILED = Outcome(figures=None, reason="the loss reached 1e4", seconds=2)


@pytest.fixture
def propose(searched_recipe: Recipe) -> Propose:
    """Settings in the seeded order, three of them."""
    settings = all_settings(searched_recipe.search.space, seed=0)[:3]

    def next_one(trials: object) -> Setting | None:
        assert isinstance(trials, tuple)
        return settings[len(trials)] if len(trials) < len(settings) else None

    return next_one


def _claim(study: Study, propose: Propose) -> Trial:
    trial = study.claim(propose)
    assert trial is not None
    return trial


def test_a_study_is_read_as_it_was_written(tmp_path: Path, searched_recipe: Recipe, propose: Propose) -> None:
    with Study(tmp_path, searched_recipe, "data") as study:
        for outcome in (DONE, BLURRED, FAILED):
            study.finish(_claim(study, propose), outcome)
        assert study.claim(propose) is None
    settings = all_settings(searched_recipe.search.space, seed=0)
    read = read_trials(tmp_path)
    assert [trial.outcome for trial in read] == [DONE, BLURRED, FAILED]
    assert [trial.number for trial in read] == [0, 1, 2]
    assert [dict(trial.setting) for trial in read] == [dict(each) for each in settings[:3]]
    assert [trial.name for trial in read] == [name_of(each) for each in settings[:3]]


def test_two_at_one_study_never_have_the_same_trial(
    tmp_path: Path, searched_recipe: Recipe, propose: Propose
) -> None:
    with Study(tmp_path, searched_recipe, "data") as one, Study(tmp_path, searched_recipe, "data") as other:
        claimed = [_claim(study, propose).number for study in (one, other, one)]
        assert claimed == [0, 1, 2]
        assert one.claim(propose) is None
        assert other.claim(propose) is None


def test_what_a_dead_process_left_is_taken_up_first(
    tmp_path: Path, searched_recipe: Recipe, propose: Propose
) -> None:
    with Study(tmp_path, searched_recipe, "data") as living:
        with Study(tmp_path, searched_recipe, "data") as dying:
            left = _claim(dying, propose)
            assert _claim(living, propose).number == 1
        assert _claim(living, propose) == left
        living.finish(left, DONE)
        assert [trial.outcome for trial in living.trials()] == [DONE, None]


def test_an_end_that_was_half_written_is_written_again(
    tmp_path: Path, searched_recipe: Recipe, propose: Propose
) -> None:
    with Study(tmp_path, searched_recipe, "data") as study:
        study.finish(_claim(study, propose), DONE)
    lines = (tmp_path / "journal.log").read_bytes().splitlines(keepends=True)
    (tmp_path / "journal.log").write_bytes(b"".join(lines[:-1]))  # the outcome, and not the state after it
    with Study(tmp_path, searched_recipe, "data") as study:
        trial = _claim(study, propose)
        assert (trial.number, trial.outcome) == (0, None)
        study.finish(trial, DONE)
        assert [each.outcome for each in study.trials()] == [DONE]


@pytest.mark.parametrize("cut", [1, 7, 60])
def test_a_line_that_a_power_cut_tore_is_dropped(
    tmp_path: Path, searched_recipe: Recipe, propose: Propose, cut: int
) -> None:
    with Study(tmp_path, searched_recipe, "data") as study:
        study.finish(_claim(study, propose), DONE)
        study.claim(propose)
    whole = (tmp_path / "journal.log").read_bytes()
    (tmp_path / "journal.log").write_bytes(whole[:-cut])
    with Study(tmp_path, searched_recipe, "data") as study:
        assert [_claim(study, propose).number for _ in range(2)] == [1, 2]
    assert [trial.outcome for trial in read_trials(tmp_path)] == [DONE, None, None]


def test_another_recipe_is_refused_with_what_differs(tmp_path: Path, searched_recipe: Recipe) -> None:
    with Study(tmp_path, searched_recipe, "data"):
        pass
    network = searched_recipe.network.model_copy(update={"num_cab": 3})
    other = searched_recipe.model_copy(update={"seed": 4, "network": network})
    with pytest.raises(
        SearchError, match=r"network\.num_cab: 1 in the study, 3 now; seed: 3 in the study, 4 now"
    ):
        Study(tmp_path, other, "data")
    with pytest.raises(SearchError, match=r"pairs\.prepared: data in the study, other now"):
        Study(tmp_path, searched_recipe, "other")


def test_more_trials_another_sampler_and_another_name_go_on(tmp_path: Path, searched_recipe: Recipe) -> None:
    with Study(tmp_path, searched_recipe, "data"):
        pass
    search = searched_recipe.search.model_copy(update={"trials": 500, "sampler": "tpe", "best": 1})
    bundle = searched_recipe.bundle.model_copy(update={"name": "another"})
    Study(tmp_path, searched_recipe.model_copy(update={"search": search, "bundle": bundle}), "data").close()


def test_a_folder_without_a_study_and_a_damaged_journal_are_refused(
    tmp_path: Path, searched_recipe: Recipe
) -> None:
    with pytest.raises(SearchError, match=r"with its journal\.log"):
        read_trials(tmp_path)
    (tmp_path / "journal.log").write_text("no journal\nat all\n")
    with pytest.raises(SearchError, match="damaged"):
        read_trials(tmp_path)
    with pytest.raises(SearchError, match="damaged"):
        Study(tmp_path, searched_recipe, "data")
