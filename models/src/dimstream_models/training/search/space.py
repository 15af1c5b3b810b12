"""The settings that a search may try: a recipe with other values."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from typing import Any, Final, TypeAlias

import numpy as np
from pydantic import ValidationError

from dimstream_models.training.errors import InvalidRecipe
from dimstream_models.training.settings import Recipe, SearchSpace

Value: TypeAlias = float | int | str | None
Setting: TypeAlias = Mapping[str, Value]
"""One value for each field of `SearchSpace`."""

PLACES: Final[Mapping[str, tuple[str, ...]]] = {
    "activation": ("network", "activation"),
    "initializer": ("network", "initializer"),
    "clip_value": ("fit", "clip_value"),
    "l2_weight": ("fit", "loss", "l2_weight"),
    "learning_rate": ("fit", "learning_rate"),
    "patch_px": ("fit", "patch_px"),
}
"""Place of each setting in a recipe."""

_SHORT: Final[Mapping[str, str]] = {
    "activation": "",
    "initializer": "",
    "clip_value": "clip",
    "l2_weight": "l2-",
    "learning_rate": "lr",
    "patch_px": "px",
}


def all_settings(space: SearchSpace, *, seed: int) -> tuple[Setting, ...]:
    """Return every combination of the space's values once, in a seeded order.

    The first N of them are a random search without repeats, all of them the full grid.
    """
    values = space.model_dump()
    grid = [dict(zip(values, chosen, strict=True)) for chosen in itertools.product(*values.values())]
    return tuple(grid[i] for i in np.random.default_rng(seed).permutation(len(grid)))


def with_setting(recipe: Recipe, setting: Setting) -> Recipe:
    """Return the recipe with the setting's values, with its own epochs and all patches.

    Raises
    ------
    InvalidRecipe
        When the values contradict the rest of the recipe.
    """
    return _changed(recipe, {PLACES[knob]: value for knob, value in setting.items()})


def for_screening(recipe: Recipe, setting: Setting) -> Recipe:
    """Return the recipe of one trial: the setting, few epochs, few patches.

    Source: the paper's Methods, "Network training" (1,000 instances, 10 epochs).

    Raises
    ------
    InvalidRecipe
        When the values contradict the rest of the recipe.
    """
    search = recipe.search
    short = {("fit", "epochs"): search.epochs, ("pairs", "max_patches"): search.instances}
    return _changed(with_setting(recipe, setting), short)


def name_of(setting: Setting) -> str:
    """Return a folder name for the setting; equal values give the same name."""
    return "_".join(f"{_SHORT[knob]}{str(setting[knob]).lower()}" for knob in PLACES)


def in_order(values: Iterable[Value]) -> tuple[Value, ...]:
    """Return each value once: numbers by size, then None (no bound); words in alphabetical order."""

    def size(value: Value) -> tuple[float, str]:
        if isinstance(value, str):
            return 0.0, value
        return (np.inf if value is None else float(value)), ""

    return tuple(sorted(set(values), key=size))


def _changed(recipe: Recipe, changes: Mapping[Any, Value]) -> Recipe:
    values = recipe.model_dump()
    for place, value in changes.items():
        section = values
        for key in place[:-1]:
            section = section[key]
        section[place[-1]] = value
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        changed = ", ".join(f"{'.'.join(place)} {value}" for place, value in changes.items())
        why = "; ".join(each["msg"] for each in error.errors())
        raise InvalidRecipe(
            f"expected values that fit the rest of the recipe, got {changed}: {why}"
        ) from error
