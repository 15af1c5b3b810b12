"""Recipes: what cannot be obeyed is refused by name, what can survives its file."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from dimstream_models.training.errors import InvalidRecipe
from dimstream_models.training.settings import Recipe, read_recipe, write_recipe

BUNDLE = {"id": "a", "name": "a name", "description": "c"}
PAIRS = {"prepared": "prepared"}
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "unknown key": ({"fit": {"step": 3}}, "fit.step"),
    "unknown part": ({"training": {}}, "training"),
    "out of range": ({"fit": {"epochs": 0}}, "fit.epochs"),
    "no multiple of 8": ({"fit": {"patch_px": 100}}, "multiple of 8"),
    "patch too small for the levels": (
        {"fit": {"patch_px": 24}, "network": {"filters": [2, 2, 2, 2]}},
        "patch_px must be divisible by 16",
    ),
    "unknown batch": ({"fit": {"batch": "huge"}}, "fit.batch"),
    "not a number": ({"fit": {"learning_rate": float("nan")}}, "fit.learning_rate"),
    "infinite": ({"fit": {"loss_limit": float("inf")}}, "fit.loss_limit"),
    "dropout of all": ({"network": {"dropout": 1.0}}, "network.dropout"),
    "unknown activation": ({"network": {"activation": "relu"}}, "network.activation"),
    "even kernel": ({"network": {"kernel": 4}}, "network.kernel"),
    "negative seed": ({"seed": -1}, "seed"),
    "no data": ({"pairs": None}, "expected exactly one of simulation, pairs and movies"),
    "two kinds of data": ({"simulation": {}}, "expected exactly one of simulation, pairs and movies"),
    "fine-tuning of pairs": ({"fine_tuning": {}}, "expected simulation with fine_tuning"),
    "cosine that stops early": ({"fit": {"schedule": "cosine"}}, "early_stopping_patience null"),
    "maximum of what": ({"normalisation": {"kind": "maximum"}}, "maximum has none"),
    "fixed without a value": ({"normalisation": {"value": None}}, "value is the divisor"),
    "quantile over 1": ({"normalisation": {"kind": "quantile", "value": 99}}, "between 0 and 1"),
    "truth's own scale": (
        {"normalisation": {"kind": "quantile", "value": 0.9, "target_value": 3}},
        "target_value is for kind fixed only",
    ),
    "split photons on two scales": (
        {"pairs": {**PAIRS, "split_photons": True}, "normalisation": {"kind": "maximum", "value": None}},
        "splitting photons needs normalisation kind fixed",
    ),
    "bad id": ({"bundle": {**BUNDLE, "id": "A model"}}, "bundle.id"),
}


@pytest.mark.parametrize(("parts", "said"), REFUSED.values(), ids=REFUSED)
def test_recipes_that_cannot_be_obeyed_are_refused(tmp_path: Path, parts: dict[str, Any], said: str) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump({"pairs": PAIRS, "bundle": BUNDLE, **parts}))
    with pytest.raises(InvalidRecipe, match=r"expected a recipe at .*recipe\.yaml") as refusal:
        read_recipe(path)
    assert said in str(refusal.value)


NO_RECIPES: dict[str, bytes] = {
    "words": b"just words",
    "no YAML": b"bundle: [",
    "no text": b"\xff\xfe\x00",
    "nothing": b"",
    "no day of any month": b"seed: 2020-13-45",
    "no integer": b"seed: !!int x",
    "too deep": b"[" * 1500,
    "stands for billions": b"a: &a [x,x]\n"
    + b"".join(
        b"k%d: &k%d [%s]\n" % (i, i, b",".join([b"*k%d" % (i - 1) if i else b"*a"] * 9)) for i in range(9)
    ),
    "too large": b"# " + b"x" * 300_000,
}


@pytest.mark.parametrize("content", NO_RECIPES.values(), ids=NO_RECIPES)
def test_files_that_are_no_recipe_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "recipe.yaml").write_bytes(content)
    with pytest.raises(InvalidRecipe, match="expected a recipe at"):
        read_recipe(tmp_path / "recipe.yaml")


def test_a_key_that_stands_twice_is_refused(tmp_path: Path) -> None:
    text = yaml.safe_dump({"pairs": PAIRS, "bundle": BUNDLE})
    (tmp_path / "recipe.yaml").write_text(f"{text}seed: 3\nseed: 4\n")
    with pytest.raises(InvalidRecipe, match="'seed' appears twice"):
        read_recipe(tmp_path / "recipe.yaml")


def test_each_refused_setting_is_named_with_what_came(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("fit: {lr: 3, epochs: many}\npairs: {prepared: prepared}\n")
    with pytest.raises(InvalidRecipe) as refusal:
        read_recipe(tmp_path / "recipe.yaml")
    assert "fit.lr: unknown key, got 3; " in str(refusal.value)
    assert "got 'many'" in str(refusal.value)
    assert "bundle: missing" in str(refusal.value)


def test_a_recipe_survives_its_file(tiny_recipe: Recipe, tmp_path: Path) -> None:
    write_recipe(tiny_recipe, tmp_path / "r.yaml")
    assert read_recipe(tmp_path / "r.yaml") == tiny_recipe


def test_prepared_is_relative_to_the_recipe(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(yaml.safe_dump({"pairs": {"prepared": "../data"}, "bundle": BUNDLE}))
    recipe = read_recipe(tmp_path / "r.yaml")
    assert recipe.pairs is not None
    assert recipe.pairs.prepared == (tmp_path.parent / "data").resolve()
    write_recipe(recipe, tmp_path / "again.yaml")
    assert read_recipe(tmp_path / "again.yaml") == recipe


def test_splitting_photons_is_validated_like_the_rest() -> None:
    recipe = Recipe.model_validate({"pairs": PAIRS, "bundle": BUNDLE})
    split = recipe.with_split_photons()
    assert split.pairs is not None
    assert split.pairs.split_photons
    maximum = recipe.model_copy(
        update={"normalisation": recipe.normalisation.model_copy(update={"kind": "maximum", "value": None})}
    )
    with pytest.raises(InvalidRecipe, match="needs normalisation kind fixed"):
        maximum.with_split_photons()


@pytest.mark.parametrize("wrong", [{"name": "b"}, {"name": "ER/light"}, {"id": "er-"}, {"id": "ER"}], ids=str)
def test_names_that_a_bundle_cannot_have_are_refused_before_any_training(wrong: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        Recipe.model_validate({"simulation": {}, "bundle": BUNDLE | wrong})
