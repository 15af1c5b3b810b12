"""`dimstream-train init`: writes a commented recipe to start from."""

from __future__ import annotations

import argparse
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dimstream_models.training.commands import Commands

if TYPE_CHECKING:
    from dimstream_models.training.pairs.prepared import Prepared
    from dimstream_models.training.settings import Recipe

# the published network, and the training that the paper's Methods describe
_PAPER: dict[str, dict[str, Any]] = {
    "normalisation": {"kind": "maximum", "value": None},
    "network": {"filters": (64, 128, 256), "num_rg": 3, "num_cab": 8, "kernel": 7, "dropout": 0.2},
    "fit": {
        "batch": "largest",
        "patch_px": 304,
        "learning_rate": 1e-4,
        "clip_value": 0.01,
        "clip_norm": None,
    },
    "calibration": {"rescaling": "clipped_quantiles"},
}


def add(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser("init", help="write a commented recipe to start from")
    parser.add_argument("out", type=Path, help="YAML file, which must not exist yet")
    data = parser.add_mutually_exclusive_group()
    data.add_argument(
        "--prepared",
        type=Path,
        default=Path("prepared"),
        help="folder of `dimstream-train prepare`; if it exists, scales are taken from it",
    )
    data.add_argument("--simulated", action="store_true", help="train on simulated scenes instead of pairs")
    parser.add_argument(
        "--paper", action="store_true", help="use the published sizes and settings, which need a large GPU"
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="set a value that differs from the default, such as fit.epochs=40; may be repeated",
    )
    parser.set_defaults(run_command=_run)


def _run(arguments: argparse.Namespace) -> None:
    from dimstream_models.training.errors import InvalidRecipe
    from dimstream_models.training.settings.recipe_template import commented

    out: Path = arguments.out
    text = commented(_recipe(arguments))
    out.parent.mkdir(parents=True, exist_ok=True)
    try:
        with out.open("x") as file:
            file.write(text)
    except FileExistsError as error:
        raise InvalidRecipe(
            f"expected a new file, but {out} exists: choose another name or remove it"
        ) from error
    print(f"{out}: check its settings, then run `dimstream-train fit {out} --run RUN`")


def _recipe(arguments: argparse.Namespace) -> Recipe:
    from pydantic import ValidationError

    from dimstream_models.training.errors import InvalidRecipe
    from dimstream_models.training.settings import Recipe
    from dimstream_models.training.settings.complaints import complaints

    settings = _beginning(arguments)
    for assignment in arguments.set:
        _set(settings, assignment)
    try:
        return Recipe.model_validate(settings)
    except ValidationError as error:
        raise InvalidRecipe(f"expected valid settings of a recipe, got: {complaints(error)}") from error


def _set(settings: dict[str, Any], assignment: str) -> None:
    """Set the value of `a.b=VALUE`, read as YAML, at its key."""
    import yaml

    from dimstream_models.bundle.yaml_text import WRONG_YAML
    from dimstream_models.training.errors import InvalidRecipe

    key, separator, value = assignment.partition("=")
    *sections, name = key.split(".")
    try:
        for section in sections:
            settings = settings.setdefault(section, {})
        settings[name] = yaml.safe_load(value)
    except WRONG_YAML:
        separator = ""
    if not separator:
        raise InvalidRecipe(f"expected --set SECTION.KEY=VALUE, such as fit.epochs=40, got {assignment!r}")


def _beginning(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the settings that differ from the defaults before --set is applied."""
    from dimstream_models.training.settings.calibration import (
        PLACEHOLDER_DESCRIPTION,
        PLACEHOLDER_ID,
        PLACEHOLDER_NAME,
    )

    name = arguments.out.stem.lower().replace("_", "-")
    settings: dict[str, Any] = {part: dict(values) for part, values in _PAPER.items()}
    if not arguments.paper:
        settings = {}
    settings["bundle"] = {
        "id": name if re.fullmatch(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?", name) else PLACEHOLDER_ID,
        "name": name if re.fullmatch(r"[\w -]{5,128}", name, re.ASCII) else PLACEHOLDER_NAME,
        "description": PLACEHOLDER_DESCRIPTION,
    }
    if arguments.simulated:
        return settings | {"simulation": {}, "fine_tuning": {}}
    here = arguments.out.resolve().parent
    settings["pairs"] = {"prepared": os.path.relpath(arguments.prepared.resolve(), here)}
    return _measured(settings, arguments.prepared, paper=arguments.paper)


def _fitting_patch(settings: dict[str, dict[str, Any]], prepared: Prepared) -> dict[str, dict[str, Any]]:
    """Return the fit's settings with a patch that fits into every image; none if the usual patch fits."""
    from dimstream_models.training.settings.fit import FitSettings

    fit = settings.get("fit", {})
    usual = int(fit.get("patch_px", FitSettings.model_fields["patch_px"].default))
    smallest = min(min(field.shape) for field in prepared.fields)
    return {} if usual <= smallest else {"fit": {**fit, "patch_px": smallest // 8 * 8}}


def _measured(settings: dict[str, dict[str, Any]], folder: Path, *, paper: bool) -> dict[str, dict[str, Any]]:
    """Return the settings with values from the prepared images, if these exist."""
    from dimstream_models.training.normalisation import suggest_scale
    from dimstream_models.training.pairs.prepared import is_prepared, read_prepared

    if not is_prepared(folder):
        return settings
    prepared = read_prepared(folder)
    bundle = settings["bundle"] | {"pixel_size_nm": prepared.pixel_size_nm}
    if paper:  # the paper normalises by each image's own maximum
        return settings | {"bundle": bundle} | _fitting_patch(settings, prepared)
    settings = settings | _fitting_patch(settings, prepared)
    scale = suggest_scale(prepared.open(field)[0] for field in prepared.of("training"))
    return settings | {"bundle": bundle, "normalisation": {"value": scale}}
