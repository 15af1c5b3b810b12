"""The paper's protocol: many short runs, a total score, and the best are trained to convergence on all data.

Any number of processes may run it on one folder at the same time. Each returns when all work is done by any
of them, and takes over the work of processes that die.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from dimstream_models.training.errors import SearchError
from dimstream_models.training.pairs.prepared import Prepared, Role
from dimstream_models.training.search.outcomes import Outcome, read_outcome
from dimstream_models.training.search.ranking import Scored, rank
from dimstream_models.training.search.results import Results, write_results, write_trials
from dimstream_models.training.search.screening import Finished, Screening, screened
from dimstream_models.training.search.space import all_settings, for_screening, with_setting
from dimstream_models.training.search.study import Study, Trial
from dimstream_models.training.search.trial import read_searched, run_trial
from dimstream_models.training.search.workers import Job, ThisProcess, Workers, do_all
from dimstream_models.training.settings import Recipe


class Retraining:
    """Jobs: the best trials of a study, each with the recipe's own epochs and all patches."""

    def __init__(self, study: Study, best: Sequence[Trial], finished: Finished) -> None:
        self._study, self._best, self._finished = study, best, finished

    def claim(self) -> Job | None:
        """Return a run that only this process has; None when there is none now."""
        for trial in self._best:
            if self._outcome(trial) is None and self._study.hold(_lock_of(trial.name)):
                return Job(trial.name, with_setting(self._study.recipe, trial.setting), self._run_of(trial))
        return None

    def finish(self, job: Job, outcome: Outcome) -> None:
        """Release a run, whose outcome is in its folder."""
        self._study.let_go(_lock_of(job.name))
        self._finished(f"best {self._finished_runs()} of {len(self._best)}, {job.name}: {outcome}")

    def done(self) -> bool:
        """Return whether every run has finished, in any process."""
        return self._finished_runs() == len(self._best)

    def ranked(self) -> tuple[Scored, ...]:
        """Return the runs, best first, scored among themselves."""
        return rank([(trial, self._run_of(trial), self._outcome(trial)) for trial in self._best])

    def _finished_runs(self) -> int:
        return sum(self._outcome(trial) is not None for trial in self._best)

    def _run_of(self, trial: Trial) -> Path:
        return self._study.folder / "best" / trial.name

    def _outcome(self, trial: Trial) -> Outcome | None:
        return read_outcome(self._run_of(trial) / "outcome.json")


def _lock_of(name: str) -> str:
    return f"best-{name}"


ROLES: Final[tuple[Role, ...]] = ("training", "validation")


def search(
    recipe: Recipe,
    folder: Path,
    *,
    device: str = "cpu",
    workers: Workers | None = None,
    tell: Callable[[str], None] = partial(print, flush=True),  # noqa: B008 - it has no state
) -> Results:
    """Screen settings, train the best to convergence, and write tables, pictures and a report.

    Work that is already in the folder is not repeated; the test set is never opened.

    Parameters
    ----------
    recipe : Recipe
        The recipe to search; `recipe.search` is the protocol.
    folder : Path
        Folder of the study: new, or one of the same recipe, which is continued.
    device : str
        A torch device for the work in this process.
    workers : Workers, optional
        The workers for the runs; by default this process, one run after another.
    tell : callable
        Called with a line for each finished run.

    Raises
    ------
    SearchError
        When the folder holds a study of another recipe, the data are unsuitable, or no trial succeeded.
    InvalidRecipe
        When values of the space contradict the rest of the recipe.
    InvalidPrepared
        When the recipe's data have changed since they were prepared.
    """
    prepared = read_searched(recipe)
    check_space(recipe, prepared)
    with (
        workers or ThisProcess(partial(run_trial, device=device)) as crew,
        Study(folder, recipe, prepared.sha256) as study,
    ):
        found = _follow(study, crew, partial(_note, study, prepared, tell))
    write_results(found, study, prepared, device=device)
    return found


def check_space(recipe: Recipe, prepared: Prepared) -> None:
    """Refuse a search with impossible settings, before the first run.

    Raises
    ------
    InvalidRecipe
        When values of the space contradict the rest of the recipe.
    SearchError
        When there are no training or no validation fields, or one is smaller than the largest patch.
    """
    for setting in all_settings(recipe.search.space, seed=recipe.seed):
        for_screening(recipe, setting)
    largest = max(recipe.search.space.patch_px)
    for role in ROLES:
        side = min((min(field.shape) for field in prepared.of(role)), default=0)
        if side < largest:
            raise SearchError(
                f"expected {role} fields of at least search.space.patch_px {largest}, but the smallest of "
                f"{prepared.folder} has {side} px: prepare larger fields or leave that value out"
            )


def _follow(study: Study, workers: Workers, note: Callable[[str], None]) -> Results:
    do_all(Screening(study, note), workers)
    trials = screened(study)
    best = [each.trial for each in trials[: study.recipe.search.best] if each.score is not None]
    if study.recipe.search.best and not best:
        reasons = sorted({each.outcome.reason for each in trials if each.outcome and each.outcome.reason})
        raise SearchError(f"none of {len(trials)} trials succeeded: {'; '.join(reasons[:3])}")
    retraining = Retraining(study, best, note)
    do_all(retraining, workers)
    return Results(trials, retraining.ranked())


def _note(study: Study, prepared: Prepared, tell: Callable[[str], None], line: str) -> None:
    write_trials(study, pixel_size_nm=prepared.pixel_size_nm)
    tell(line)
