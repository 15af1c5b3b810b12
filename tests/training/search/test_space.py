"""The space is the paper's; a setting lands where it belongs and nowhere else."""

import pytest

from dimstream_models.training.errors import InvalidRecipe
from dimstream_models.training.search.space import (
    PLACES,
    all_settings,
    for_screening,
    in_order,
    name_of,
    with_setting,
)
from dimstream_models.training.settings import Recipe, SearchSpace

SETTING = {
    "activation": "tanh",
    "initializer": "orthogonal",
    "clip_value": 0.01,
    "l2_weight": 0.001,
    "learning_rate": 1e-5,
    "patch_px": 304,
}


def test_every_knob_of_the_space_has_its_place() -> None:
    assert set(PLACES) == set(SearchSpace.model_fields) == set(SETTING)


def test_the_default_space_is_the_papers_whole_grid_once() -> None:
    settings = all_settings(SearchSpace(), seed=0)
    names = {name_of(setting) for setting in settings}
    assert len(settings) == len(names) == 2 * 3 * 3 * 3 * 6 * 4
    assert name_of(SETTING) in names


def test_the_order_hangs_on_the_seed_alone() -> None:
    first, again, other = (all_settings(SearchSpace(), seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert first != other
    assert {name_of(each) for each in first} == {name_of(each) for each in other}


def test_a_setting_changes_its_places_and_no_other(searched_recipe: Recipe) -> None:
    recipe = with_setting(searched_recipe, SETTING)
    assert recipe.network.activation == "tanh"
    assert recipe.network.initializer == "orthogonal"
    assert recipe.fit.clip_value == 0.01
    assert recipe.fit.loss.l2_weight == 0.001
    assert recipe.fit.learning_rate == 1e-5
    assert recipe.fit.patch_px == 304
    before = {knob: _at(searched_recipe, place) for knob, place in PLACES.items()}
    assert with_setting(recipe, before) == searched_recipe


def test_screening_takes_ten_epochs_of_a_thousand_patches_and_retraining_everything(
    searched_recipe: Recipe,
) -> None:
    trial, full = for_screening(searched_recipe, SETTING), with_setting(searched_recipe, SETTING)
    assert trial.pairs is not None
    assert full.pairs is not None
    assert (trial.fit.epochs, trial.pairs.max_patches) == (10, 1000)
    assert (full.fit.epochs, full.pairs.max_patches) == (100, None)
    assert trial.fit.loss_limit == 1000


def test_a_value_that_does_not_suit_the_network_is_refused(searched_recipe: Recipe) -> None:
    deep = with_setting(searched_recipe, SETTING).model_copy(
        update={"network": searched_recipe.network.model_copy(update={"filters": (2,) * 5})}
    )
    with pytest.raises(InvalidRecipe, match=r"fit\.patch_px 200.*divisible by 32"):
        with_setting(deep, {**SETTING, "patch_px": 200})


def test_a_value_that_stands_twice_in_the_space_is_refused() -> None:
    with pytest.raises(ValueError, match=r"each value once, got \[0.1, None, 0.1\]"):
        SearchSpace(clip_value=(0.1, None, 0.1))


def test_values_stand_in_order_and_no_bound_after_every_bound() -> None:
    assert in_order([0.1, None, 0.001, 0.1]) == (0.001, 0.1, None)
    assert in_order(["tanh", "leaky_relu"]) == ("leaky_relu", "tanh")


def _at(recipe: Recipe, place: tuple[str, ...]) -> object:
    value: object = recipe
    for key in place:
        value = getattr(value, key)
    return value
