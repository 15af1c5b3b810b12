"""`dimstream-train init`: every knob, explained, and a file that reads back."""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError
from training.pairs.experiments import store_fields

from dimstream_models.training.cli import main
from dimstream_models.training.settings import Recipe, read_recipe
from dimstream_models.training.settings.calibration import BundleSettings
from dimstream_models.training.settings.recipe_template import commented


def knobs(settings: BaseModel) -> Iterator[tuple[str, str | None]]:
    """Every field that holds a value, with its description."""
    for name, field in type(settings).model_fields.items():
        value = getattr(settings, name)
        if isinstance(value, BaseModel):
            yield from knobs(value)
        elif value is not None or "Settings" not in str(field.annotation):
            yield name, field.description


@pytest.mark.parametrize("arguments", [[], ["--simulated"], ["--paper"], ["--simulated", "--paper"]], ids=str)
def test_the_file_explains_every_knob_and_reads_back(tmp_path: Path, arguments: list[str]) -> None:
    path = tmp_path / "My_model.yaml"
    assert main(["init", str(path), *arguments]) == 0
    recipe = read_recipe(path)
    assert recipe.bundle.id == "my-model"
    assert (recipe.simulation is None) == ("--simulated" not in arguments)
    assert recipe.network.filters == ((64, 128, 256) if "--paper" in arguments else (8, 16, 32))
    lines = path.read_text().splitlines()
    words = " ".join(" ".join(line.strip(" #") for line in lines).split())
    for name, description in knobs(recipe):
        at = next(i for i, line in enumerate(lines) if line.strip().startswith(f"{name}: "))
        assert lines[at - 1].strip().startswith("# "), f"{name} has no comment"
        assert description, f"{name} has no description"
        assert " ".join(description.split()) in words, f"the description of {name} is missing"


def test_ranges_and_choices_are_said(tmp_path: Path) -> None:
    main(["init", str(tmp_path / "r.yaml")])
    text = " ".join((tmp_path / "r.yaml").read_text().replace("#", "").split())
    for said in (
        "patch, px (paper: 128 to 304) [whole number, at least 16, a multiple of 8] patch_px: 128",
        "[glorot_uniform | lecun_uniform | orthogonal] initializer: glorot_uniform",
        "[number, at least 0, below 1] dropout: 0.0",
        "[whole number, at least 1 or null] early_stopping_patience: 6",
    ):
        assert said in text


def test_any_recipe_survives_being_commented(tiny_recipe: Recipe, tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(commented(tiny_recipe))
    assert read_recipe(tmp_path / "r.yaml") == tiny_recipe


def test_a_file_that_exists_is_not_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text("mine")
    assert main(["init", str(path)]) == 2
    assert f"expected a new file, but {path} exists" in capsys.readouterr().err
    assert path.read_text() == "mine"


def test_prepared_is_found_from_where_the_recipe_lies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["init", "recipes/a.yaml", "--prepared", "data/prepared"]) == 0
    recipe = read_recipe(tmp_path / "recipes" / "a.yaml")
    assert recipe.pairs is not None
    assert recipe.pairs.prepared == tmp_path / "data" / "prepared"
    assert str(tmp_path) not in (tmp_path / "recipes" / "a.yaml").read_text()


def test_other_values_are_written_as_told(tmp_path: Path) -> None:
    told = ["fit.learning_rate=2e-3", "network.filters=[4, 8]", "fit.early_stopping_patience=null", "seed=7"]
    arguments = [word for each in told for word in ("--set", each)]
    assert main(["init", str(tmp_path / "r.yaml"), *arguments]) == 0
    recipe = read_recipe(tmp_path / "r.yaml")
    assert (recipe.fit.learning_rate, recipe.network.filters, recipe.seed) == (2e-3, (4, 8), 7)
    assert recipe.fit.early_stopping_patience is None


@pytest.mark.parametrize(
    "mistyped", ["fit.epoch=3", "fit.epochs", "fit.epochs=0", "seed.x=3", "fit.epochs=[", "fitt.epochs=3"]
)
def test_mistyped_values_are_refused_and_nothing_is_written(
    tmp_path: Path, mistyped: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["init", str(tmp_path / "r.yaml"), "--set", mistyped]) == 2
    assert "expected" in capsys.readouterr().err
    assert not (tmp_path / "r.yaml").exists()


NAMES = {
    "too short": (
        "bundle.name=ER",
        "bundle.name: expected 5 to 128 characters .*, got 2: say what",
    ),
    "too long": (f"bundle.name={'a' * 129}", "expected 5 to 128 characters .*, got 129"),
    "a dot": ("bundle.name=ER v1.0", "expected letters, digits, spaces, .*, got '.': leave these out"),
    "capitals in an id": ("bundle.id=ER-1", "bundle.id: expected lower-case letters and digits"),
    "no id": ("bundle.id=''", "bundle.id: expected lower-case letters"),
}


@pytest.mark.parametrize(("assignment", "reason"), NAMES.values(), ids=NAMES)
def test_names_that_no_bundle_can_have_are_refused_in_words(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], assignment: str, reason: str
) -> None:
    assert main(["init", str(tmp_path / "recipe.yaml"), "--set", assignment]) == 2
    said = capsys.readouterr().err
    assert re.search(reason, said)
    assert "pattern" not in said
    assert not (tmp_path / "recipe.yaml").exists()


@given(st.text(max_size=140))
def test_any_name_is_taken_or_refused_in_words(name: str) -> None:
    try:
        BundleSettings(id="id", name=name, description="")
    except ValidationError as error:
        (only,) = error.errors()
        assert only["msg"].startswith("Value error, expected ")
    else:
        assert re.fullmatch(r"[A-Za-z0-9_+\- ()]{5,128}", name)


@pytest.mark.parametrize(("side", "patch_px"), [(70, 64), (127, 120), (128, 128), (300, 128)])
def test_patches_are_no_larger_than_the_smallest_image(tmp_path: Path, side: int, patch_px: int) -> None:
    image = np.ones((side, 300), np.uint16)
    (tmp_path / "prepared").mkdir()
    store_fields(
        tmp_path / "prepared", [(image, image), (np.ones((400, 400), np.uint16),) * 2], ["training"] * 2
    )
    assert main(["init", str(tmp_path / "r.yaml"), "--prepared", str(tmp_path / "prepared")]) == 0
    assert read_recipe(tmp_path / "r.yaml").fit.patch_px == patch_px
