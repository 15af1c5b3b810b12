"""What is tried next: each setting once, and with TPE the better ones more often."""

import numpy as np
import pytest

from dimstream_models.training.search.outcomes import Figures
from dimstream_models.training.search.proposals import Tried, next_setting
from dimstream_models.training.search.space import Setting, name_of
from dimstream_models.training.settings import Recipe


def _searching(recipe: Recipe, **changes: object) -> Recipe:
    return recipe.model_copy(update={"search": recipe.search.model_copy(update=changes)})


def _quality(setting: Setting) -> float:
    """A synthetic truth: learning rate first, patch size second, the rest nothing."""
    return -abs(np.log10(float(setting["learning_rate"] or 1)) + 4) + float(setting["patch_px"] or 0) / 304


def _run(setting: Setting) -> Tried:
    if setting["clip_value"] == 0.1:
        return Tried(setting, running=False, figures=None)  # diverges
    quality = _quality(setting)
    return Tried(
        setting, running=False, figures=Figures(ssim=quality, mae=-quality, resolution_px=9 - quality)
    )


def _search(recipe: Recipe) -> list[Tried]:
    tried: list[Tried] = []
    while (setting := next_setting(recipe, tried)) is not None:
        tried.append(_run(setting))
    return tried


def test_a_random_search_tries_so_many_settings_and_none_twice(searched_recipe: Recipe) -> None:
    tried = _search(_searching(searched_recipe, trials=100))
    assert len({name_of(run.setting) for run in tried}) == len(tried) == 100


def test_more_trials_go_on_where_fewer_ended(searched_recipe: Recipe) -> None:
    fewer, more = (_search(_searching(searched_recipe, trials=n)) for n in (5, 9))
    assert more[:5] == fewer


def test_a_grid_tries_everything_whatever_the_number_of_trials(searched_recipe: Recipe) -> None:
    space = searched_recipe.search.space.model_copy(update={"learning_rate": (1e-4,), "patch_px": (128, 200)})
    tried = _search(_searching(searched_recipe, sampler="grid", trials=1, space=space))
    assert len({name_of(run.setting) for run in tried}) == len(tried) == 2 * 3 * 3 * 3 * 2


def test_trials_that_others_have_at_work_are_not_proposed_again(searched_recipe: Recipe) -> None:
    tried: list[Tried] = []
    for _ in range(12):
        setting = next_setting(_searching(searched_recipe, sampler="tpe"), tried)
        assert setting is not None
        tried.append(Tried(setting, running=True, figures=None))
    assert len({name_of(run.setting) for run in tried}) == 12


@pytest.mark.slow
def test_tpe_finds_better_settings_than_chance_and_leaves_what_fails(searched_recipe: Recipe) -> None:
    chance, guided = (
        _search(_searching(searched_recipe, sampler=sampler, trials=60))[-30:]
        for sampler in ("random", "tpe")
    )
    assert (
        np.mean([_quality(run.setting) for run in guided])
        > np.mean([_quality(run.setting) for run in chance]) + 0.3
    )  # of a range of 2.6
    assert sum(run.figures is None for run in guided) < sum(run.figures is None for run in chance)


def test_tpe_tries_a_small_space_to_its_end_without_repeats(searched_recipe: Recipe) -> None:
    one = {
        "activation": ("tanh",),
        "initializer": ("orthogonal",),
        "clip_value": (0.01,),
        "l2_weight": (0.0,),
    }
    space = searched_recipe.search.space.model_copy(update={**one, "patch_px": (128, 304)})
    tried = _search(_searching(searched_recipe, sampler="tpe", trials=99, space=space))
    assert len({name_of(run.setting) for run in tried}) == len(tried) == 12


@pytest.mark.parametrize("sampler", ["random", "grid", "tpe"])
def test_the_same_history_leads_to_the_same_proposal(searched_recipe: Recipe, sampler: str) -> None:
    recipe = _searching(searched_recipe, sampler=sampler, trials=40)
    history = _search(_searching(searched_recipe, trials=20))
    assert next_setting(recipe, history) == next_setting(recipe, history)
