"""A seeded training run: begin it, go on with it after a kill, take its best network.

A run folder holds `recipe.yaml` (every setting), `record.json` (what the weights follow from, and how the
run stands), `last.pt` (where it goes on), `best.pt` (the network with the lowest validation loss),
`loss.csv` and `loss.png`; a recipe with fine-tuning has them once more in `fine-tuning/`.
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
REPLACED = ("recipe.yaml", BEST, "loss.csv", "loss.png")  # what a run writes next to its record and its place


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
    """Train, or go on with a run that was stopped; `load_best` gives the network.

    Ctrl-C and SIGTERM are obeyed after the step in progress: the run is kept, then KeyboardInterrupt.

    Parameters
    ----------
    recipe : Recipe
        All settings.
    run : Path
        Folder of the run; one that it already holds is continued, and left alone when it is finished.
    device : str
        `cpu`, `cuda` or `cuda:N`.
    stop_after : int, optional
        Stop, resumable, at this step at the latest.
    tensorboard : bool
        Whether to write TensorBoard's log as well.
    start : Bundle, optional
        Whose weights a new run begins with, instead of random ones; the record keeps id and SHA-256. A run
        that is gone on with must have begun with the same.
    rest : callable, optional
        Called after each step; it may take its time.

    Raises
    ------
    Diverged
        When the loss exceeds its limit or is no number, now or before in this run.
    CheckpointMismatch
        When the folder holds a run of other settings or other data, or anything but a run.
    CannotLoad
        When the bundle's weights do not fit the recipe's network and normalisation.
    OutOfMemory
        When the batch does not fit the memory.
    NotAvailable
        When device, precision or TensorBoard are not there.
    InvalidRecipe, InvalidPrepared, NotPhotonCounts
        When the recipe's data cannot be trained on.
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
    """Return the run's best network, fine-tuned where the recipe says so, on the CPU, ready to predict.

    Raises
    ------
    CheckpointMismatch
        When the run has none yet, or one of another size.
    """
    path = (run if recipe.fine_tuning is None else run / FINE_TUNING) / BEST
    network = build_network(recipe.network)
    weights = load(path)
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise CheckpointMismatch(f"{path} is no network of this recipe: {error}") from error
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
    """Train one stage to its end, or to where it is stopped, and return how it stands.

    A second stage goes on from the best network of the first's folder, with its batch; a first one may start
    from a bundle.
    """
    before = read_record(run) if (run / RECORD).exists() or (run / LAST).exists() else None
    if before is None:
        _check_unused(run)
    else:
        check_goes_on(before, recipe, run, start=None if start is None else start_of(start))
        write_recipe(recipe, run / "recipe.yaml")  # what the bundle says of itself may have changed
        if before.state == "finished":
            return before
    with open_tensorboard(run, wanted=tensorboard) as report:
        batch = _batch(recipe, device, before or (read_record(goes_on_from) if goes_on_from else None))
        sources = open_sources(recipe, batch=batch, device=device)
        learner = Learner(recipe, device=device, dose_ratio=(before or sources).dose_ratio)
        if start is not None and before is None:
            _begin_with(start, learner.network, recipe)  # before there is a run: it may refuse
        record = _record(before, recipe, run, sources, batch, device, start)
        if goes_on_from is not None:
            learner.network.load_state_dict(load(goes_on_from / BEST, device))
        trainer = Trainer(recipe.fit, learner, sources, run=run, record=record, report=report, rest=rest)
        return trainer.train(stop_after)


def _begin_with(bundle: Bundle, network: UNetRCAN, recipe: Recipe) -> None:
    """Give a bundle's weights to the recipe's network, which may be wider than the bundle's."""
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
    """Whether both have as many levels, none is narrower in the first, and one is wider."""
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
    """Return the run's record: the one that it has, when its data are still the same, or a new one."""
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
        write_record(record, run)  # first: it makes the folder a run's
        write_recipe(recipe, run / "recipe.yaml")
        return record
    if before.data != dict(sources.hashes):
        raise CheckpointMismatch(f"the data of {run} have changed since it began: choose an empty folder")
    return before
