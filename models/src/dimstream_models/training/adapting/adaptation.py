"""From the user's own movies and a bundle: a bundle for this sample, or a refusal with figures.

No clean image is needed. Everything is kept in a folder next to the new bundle until the decision, so that a
stopped run can continue.
"""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import ValidationError

from dimstream_models.bundle import Bundle, check_target, open_draft, read_bundle
from dimstream_models.training.adapting.acceptance import Decision, judge
from dimstream_models.training.adapting.stored_movies import (
    INDEX,
    Stored,
    is_stored,
    read_stored,
    store_movies,
)
from dimstream_models.training.errors import CannotAdapt, NotBetter
from dimstream_models.training.export.bundling import ExportOptions, export_run
from dimstream_models.training.fitting.batches import batches
from dimstream_models.training.fitting.learner import Learner
from dimstream_models.training.fitting.record import RECORD, read_record
from dimstream_models.training.fitting.sources import open_sources
from dimstream_models.training.fitting.trainer import fit, load_best
from dimstream_models.training.normalisation import build_normaliser
from dimstream_models.training.pairs.images import ImageFile
from dimstream_models.training.prediction import Denoise, network_denoiser, onnx_denoiser
from dimstream_models.training.settings import (
    BundleSettings,
    FitSettings,
    LossSettings,
    MoviesSettings,
    NetworkSettings,
    NormalisationSettings,
    Recipe,
    read_recipe,
)
from dimstream_models.training.settings.complaints import complaints

FEWEST_STEPS: Final = 300
MOST_STEPS: Final = 1500
"""Most training steps; more never helped on one movie."""
EPOCHS: Final = 10
PATCH_PX: Final = 64
BATCH: Final = 4
LEARNING_RATE: Final = 1e-3
WARMUP_STEPS: Final = 20
TIMED_STEPS: Final = (2, 4)  # warm-up steps, and steps whose time is measured


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Duration and settings of the training."""

    minutes: float = 3.0
    """Training time; the number of steps is derived from the time of the first ones."""
    steps: int | None = None
    """Number of steps, instead of minutes."""
    stop_after: int | None = None
    """Stop at this step at the latest; the run can be resumed."""
    seed: int = 0
    """Seed of everything random."""
    learning_rate: float = LEARNING_RATE
    device: str = "cpu"
    rest: Callable[[], object] | None = None
    """Called after each step, and after each frame of the acceptance test; it may take long."""


@dataclass(frozen=True)
class Adapted:
    """The result of an adaptation."""

    bundle: Bundle
    decision: Decision
    steps: int


def adapt(source: Path, movies: Sequence[Path], out: Path, wanted: Wanted) -> Adapted:
    """Write a bundle adapted to movies of one sample, if frames that were not used for training confirm it.

    Parameters
    ----------
    source : Path
        Initial bundle, which dimstream must have trained.
    movies : sequence of Path
        Photon counts; each file is one movie with one channel.
    out : Path
        Folder of the new bundle; it must not exist. `OUT.run` next to it holds the run until the decision.
    wanted : Wanted
        Duration and settings.

    Raises
    ------
    NotBetter
        When the acceptance test refuses the network, with all figures; nothing is written.
    CannotAdapt
        When adaptation to these movies or of this bundle is impossible, or the run's folder has another use.
    NotPhotonCounts, InvalidPairs
        When a movie does not contain photon counts, or cannot be read.
    KeyboardInterrupt
        When it was stopped; the same call continues.
    """
    check_target(out, replace=False)
    bundle, run = read_bundle(source), out.with_name(f"{out.name}.run")
    trained_by = _trained_by(bundle)
    stored = _stored(movies, run, seed=wanted.seed)
    recipe = _recipe(bundle, trained_by, stored, out, wanted)
    fit(
        recipe,
        run / "fit",
        device=wanted.device,
        start=bundle,
        stop_after=wanted.stop_after,
        rest=wanted.rest,
    )
    if read_record(run / "fit").state != "finished":
        raise KeyboardInterrupt
    network = load_best(recipe, run / "fit")
    before = onnx_denoiser(bundle.onnx, step=bundle.step, min_side=bundle.min_side)
    after = network_denoiser(network, build_normaliser(recipe.normalisation), device=wanted.device)
    decision = judge(_resting(before, wanted.rest), _resting(after, wanted.rest), stored, seed=wanted.seed)
    try:
        decision.require()
    except NotBetter:
        shutil.rmtree(run)
        raise
    command = f"dimstream-train adapt {bundle.id}"
    made = export_run(run / "fit", out, command=command, options=ExportOptions(quality=decision.figures))
    shutil.rmtree(run)
    return Adapted(made, decision, recipe.fit.epochs * _movies_of(recipe).steps_per_epoch)


def bundle_id(out: Path, source: Bundle) -> str:
    """Return the id of a bundle that is written to `out` and adapted from `source`."""
    return re.sub(r"[^a-z0-9]+", "-", out.name.lower()).strip("-") or f"{source.id}-adapted"


def _resting(denoise: Denoise, rest: Callable[[], object] | None) -> Denoise:
    if rest is None:
        return denoise

    def denoise_and_rest(counts: NDArray[Any]) -> NDArray[np.float32]:
        restored = denoise(counts)
        rest()
        return restored

    return denoise_and_rest


def _stored(movies: Sequence[Path], run: Path, *, seed: int) -> Stored:
    """Store the movies, or read those of a run that continues."""
    folder = run / "movies"
    if not (folder / INDEX).exists():
        if others := [path for path in run.rglob("*") if path.is_file() and not is_stored(path)]:
            raise CannotAdapt(
                f"expected no folder {run}, got one with {others[0].name}: move it away,"
                " or give another --out"
            )
        try:
            return store_movies(movies, folder, seed=seed)
        except Exception:
            shutil.rmtree(run)
            raise
    stored = read_stored(folder)
    here = [(path.name, ImageFile(path).sha256()) for path in movies if path.is_file()]
    if [(movie.name, movie.sha256) for movie in stored.index.movies] != here or stored.index.seed != seed:
        raise CannotAdapt(
            f"{run} holds a run of other movies ({', '.join(movie.name for movie in stored.index.movies)}) or"
            " another seed: give the same, or remove it"
        )
    return stored


def _trained_by(bundle: Bundle) -> tuple[NetworkSettings, NormalisationSettings]:
    """Return the settings of a bundle's network."""
    made = None if bundle.config is None else bundle.config.provenance
    if made is None or "network" not in made.settings or "normalisation" not in made.settings:
        raise CannotAdapt(
            f"expected a bundle with the record of its training, but {bundle.id} has none, so its network's "
            "settings are unknown: write them into a recipe and use `dimstream-train fit --from`"
        )
    try:
        network = NetworkSettings.model_validate(made.settings["network"])
        normalisation = NormalisationSettings.model_validate(made.settings["normalisation"])
    except ValidationError as error:
        raise CannotAdapt(f"{bundle.id} does not record how it was trained: {complaints(error)}") from error
    if normalisation.kind != "fixed":
        raise CannotAdapt(
            "expected a network that divides counts by a constant, because photons are split, got one that "
            f"divides by the {normalisation.kind}: adapt a bundle with normalisation of kind fixed"
        )
    return network, normalisation.model_copy(update={"target_value": None})


def _recipe(
    bundle: Bundle,
    trained_by: tuple[NetworkSettings, NormalisationSettings],
    stored: Stored,
    out: Path,
    wanted: Wanted,
) -> Recipe:
    """Return the recipe of a run that continues, or a new one with as many steps as the time allows."""
    begun = stored.folder.parent / "fit"
    if (begun / RECORD).exists():
        return read_recipe(begun / "recipe.yaml")
    network, normalisation = trained_by
    step = 2 ** len(network.filters)
    smallest = min(min(stored.shown(n).shape[1:]) for n in range(len(stored.index.movies)))
    recipe = Recipe(
        seed=wanted.seed,
        movies=MoviesSettings(stored=stored.folder.resolve(), gain=bundle.gain),
        normalisation=normalisation,
        network=network,
        fit=_fit_settings(wanted, min(PATCH_PX, smallest) // step * step),
        bundle=_bundle_settings(bundle, stored, out),
    )
    steps = wanted.steps or _steps(recipe, wanted)
    movies = _movies_of(recipe).model_copy(update={"steps_per_epoch": max(1, round(steps / EPOCHS))})
    return recipe.model_copy(update={"movies": movies})


def _fit_settings(wanted: Wanted, patch_px: int) -> FitSettings:
    return FitSettings(
        epochs=EPOCHS,
        batch=BATCH,
        patch_px=patch_px,
        learning_rate=wanted.learning_rate,
        warmup_steps=WARMUP_STEPS,
        schedule="cosine",
        early_stopping_patience=None,
        # only the mean square error is unbiased for noisy targets; weights by the input keep it unbiased
        loss=LossSettings(kind="mse", edge_weight=0.0, shot_noise_weighted=True, weighted_by="counts"),
        loss_limit=1e6,
        checkpoint_every_s=30.0,
    )


def _bundle_settings(bundle: Bundle, stored: Stored, out: Path) -> BundleSettings:
    """Return the new bundle's description, with another id, so that it cannot be confused with the initial
    one."""
    assert bundle.config is not None  # its training record exists
    with open_draft(bundle.source) as draft:
        authors, licence = tuple(author.name for author in draft.authors), draft.licence
    movies = ", ".join(movie.name for movie in stored.index.movies)
    limits = bundle.thresholds
    return BundleSettings(
        id=bundle_id(out, bundle),
        name=f"{bundle.name[:110]} (adapted)",
        description=(
            f"{bundle.id} ({bundle.sha256[:12]}), adapted to the photons of {movies}: only for this sample "
            "and microscope."
        ),
        authors=authors,
        license=licence,
        pixel_size_nm=stored.pixel_size_nm,
        background_max=limits.background_max,
        signal_min=limits.signal_min,
    )


def _steps(recipe: Recipe, wanted: Wanted) -> int:
    """Return how many steps fit into the time, from the duration of the first ones."""
    device = torch.device(wanted.device)
    learner = Learner(recipe, device=device)
    warm, timed = TIMED_STEPS
    source = open_sources(recipe, batch=BATCH, device=device).training
    began = 0.0
    for number, batch in enumerate(batches(source, 0, warm + timed, device=device)):
        if number == warm:
            began = time.monotonic()
        float(learner.step(batch, number, recipe.fit.learning_rate)[0])  # also waits for a GPU
    seconds = (time.monotonic() - began) / timed
    return max(FEWEST_STEPS, min(MOST_STEPS, round(60 * wanted.minutes / seconds)))


def _movies_of(recipe: Recipe) -> MoviesSettings:
    assert recipe.movies is not None  # set by `_recipe`
    return recipe.movies
