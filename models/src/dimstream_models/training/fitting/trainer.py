"""A seeded training run: start it, resume it after a stop, load its best network.

A run folder holds `recipe.yaml` (all settings), `record.json` (on what the weights depend, and the state of
the run), `last.pt` (from which it continues), `best.pt` (the network with the lowest validation loss),
`loss.csv` and `loss.png`. With fine-tuning, there is a second set of these in `fine-tuning/`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from dimstream_models.bundle import Bundle
from dimstream_models.training.errors import CheckpointMismatch
from dimstream_models.training.fitting.batch_size import find_largest_batch
from dimstream_models.training.fitting.checkpoints import BEST, LAST, load
from dimstream_models.training.fitting.device import require_device, require_precision
from dimstream_models.training.fitting.history import read_history
from dimstream_models.training.fitting.history import tensorboard as open_tensorboard
from dimstream_models.training.fitting.learner import Learner
from dimstream_models.training.fitting.loop import Trainer
from dimstream_models.training.fitting.record import (
    RECORD,
    RunRecord,
    begin_record,
    check_goes_on,
    read_record,
    start_of,
    write_record,
)
from dimstream_models.training.fitting.sources import Sources, open_sources
from dimstream_models.training.loading import load_bundle
from dimstream_models.training.network import UNetRCAN, build_network
from dimstream_models.training.settings import NetworkSettings, Recipe, write_recipe
from dimstream_models.training.wider_network import widen

__all__ = ["FINE_TUNING", "build_network", "fit", "load_best", "read_history", "read_record"]

FINE_TUNING = "fine-tuning"  # folder of the second fit, within the run's
REPLACED = (
    "recipe.yaml",
    BEST,
    "loss.csv",
    "loss.png",
)  # files that a run writes next to its record and checkpoint


def fit(
    recipe: Recipe,
    run: Path,
    *,
    device: str = "cpu",
    stop_after: int | None = None,
    tensorboard: bool = False,
    start: Bundle | None = None,
    rest: Callable[[], object] | None = None,
) -> None:
    """Train, or continue a run that was stopped; `load_best` returns the network.

    Ctrl-C and SIGTERM take effect after the current step: the run is saved, then KeyboardInterrupt is raised.

    Parameters
    ----------
    recipe : Recipe
        All settings.
    run : Path
        Folder of the run. If it already holds a run, that is continued; a finished run is not changed.
    device : str
        `cpu`, `cuda` or `cuda:N`.
    stop_after : int, optional
        Stop, resumable, at this step at the latest.
    tensorboard : bool
        Whether to write TensorBoard's log as well.
    start : Bundle, optional
        Bundle whose weights a new run starts from, instead of random ones; the record keeps id and SHA-256. A
        run that is continued must have started from the same bundle.
    rest : callable, optional
        Called after each step; it may take long.

    Raises
    ------
    Diverged
        When the loss exceeds its limit or is not a number, now or earlier in this run.
    CheckpointMismatch
        When the folder holds a run with other settings or data, or something other than a run.
    CannotLoad
        When the bundle's weights do not fit the recipe's network and normalisation.
    OutOfMemory
        When the batch does not fit into memory.
    NotAvailable
        When the device, the precision or TensorBoard is missing.
    InvalidRecipe, InvalidPrepared, NotPhotonCounts
        When the recipe's data cannot be used for training.
    """
    place = require_device(device)
    require_precision(recipe.fit.precision, place)
    record = _fit_stage(
        recipe, run, device=place, stop_after=stop_after, tensorboard=tensorboard, start=start, rest=rest
    )
    if recipe.fine_tuning is not None and record.state == "finished":
        _fit_stage(
            recipe.for_fine_tuning(),
            run / FINE_TUNING,
            device=place,
            stop_after=stop_after,
            tensorboard=tensorboard,
            goes_on_from=run,
            rest=rest,
        )


def load_best(recipe: Recipe, run: Path) -> UNetRCAN:
    """Return the run's best network on the CPU, ready to predict; fine-tuned if the recipe says so.

    Raises
    ------
    CheckpointMismatch
        When the run has no network yet, or one of another size.
    """
    path = (run if recipe.fine_tuning is None else run / FINE_TUNING) / BEST
    network = build_network(recipe.network)
    weights = load(path)
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise CheckpointMismatch(f"{path} is not a network of this recipe: {error}") from error
    return network.eval()


def _fit_stage(
    recipe: Recipe,
    run: Path,
    *,
    device: torch.device,
    stop_after: int | None,
    tensorboard: bool,
    goes_on_from: Path | None = None,
    start: Bundle | None = None,
    rest: Callable[[], object] | None = None,
) -> RunRecord:
    """Train one stage until its end or until it is stopped, and return its record.

    A second stage starts from the best network in the first stage's folder, with the same batch. A first
    stage may start from a bundle.
    """
    before = read_record(run) if (run / RECORD).exists() or (run / LAST).exists() else None
    if before is None:
        _check_unused(run)
    else:
        check_goes_on(before, recipe, run, start=None if start is None else start_of(start))
        write_recipe(recipe, run / "recipe.yaml")  # the bundle's own description may have changed
        if before.state == "finished":
            return before
    with open_tensorboard(run, wanted=tensorboard) as report:
        batch = _batch(recipe, device, before or (read_record(goes_on_from) if goes_on_from else None))
        sources = open_sources(recipe, batch=batch, device=device)
        learner = Learner(recipe, device=device, dose_ratio=(before or sources).dose_ratio)
        if start is not None and before is None:
            _begin_with(start, learner.network, recipe)  # before the run exists, because this may refuse
        record = _record(before, recipe, run, sources, batch, device, start)
        if goes_on_from is not None:
            learner.network.load_state_dict(load(goes_on_from / BEST, device))
        trainer = Trainer(recipe.fit, learner, sources, run=run, record=record, report=report, rest=rest)
        return trainer.train(stop_after)


def _begin_with(bundle: Bundle, network: UNetRCAN, recipe: Recipe) -> None:
    """Load a bundle's weights into the recipe's network, which may be wider than the bundle's."""
    made = None if bundle.config is None else bundle.config.provenance
    given = None if made is None else made.settings.get("network")
    own = recipe.network if given is None else NetworkSettings.model_validate(given)
    if not _is_wider(recipe.network, own):
        load_bundle(network, bundle, recipe.normalisation)
        return
    narrow = build_network(own)
    load_bundle(narrow, bundle, recipe.normalisation)
    widen(narrow, network)


def _is_wider(wide: NetworkSettings, narrow: NetworkSettings) -> bool:
    """Whether both have the same number of levels, and `wide` is at least as wide at each and wider at
    one."""
    if len(wide.filters) != len(narrow.filters) or wide.filters == narrow.filters:
        return False
    return all(w >= n for w, n in zip(wide.filters, narrow.filters, strict=True))


def _check_unused(run: Path) -> None:
    """Refuse a folder in which the run's files would replace others."""
    here = [name for name in REPLACED if (run / name).exists()]
    if here:
        raise CheckpointMismatch(
            f"expected a new folder or one that holds a run, got {run}, which holds {', '.join(here)} of"
            " something else: choose another"
        )


def _batch(recipe: Recipe, device: torch.device, before: RunRecord | None) -> int:
    if before is not None:
        return before.batch
    asked = recipe.fit.batch
    return find_largest_batch(recipe, device) if isinstance(asked, str) else asked


def _record(
    before: RunRecord | None,
    recipe: Recipe,
    run: Path,
    sources: Sources,
    batch: int,
    device: torch.device,
    start: Bundle | None,
) -> RunRecord:
    """Return the run's record: the existing one if its data are unchanged, or a new one."""
    if before is None:
        run.mkdir(parents=True, exist_ok=True)
        name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
        record = begin_record(
            recipe,
            batch=batch,
            dose_ratio=sources.dose_ratio,
            data=sources.hashes,
            device=name,
            start=None if start is None else start_of(start),
        )
        write_record(record, run)  # written first: this file marks the folder as that of a run
        write_recipe(recipe, run / "recipe.yaml")
        return record
    if before.data != dict(sources.hashes):
        raise CheckpointMismatch(f"the data of {run} have changed since it began: choose an empty folder")
    return before
