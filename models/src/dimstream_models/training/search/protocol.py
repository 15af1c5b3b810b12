"""The paper's protocol: many short runs, a total score, the best trained to convergence on everything.

Any number of processes may run it on one folder at once; each returns when all work is done, whoever did
it, and takes over the work of those that die.

The second half of a search: the best settings, trained to convergence on everything.
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
    """The best trials of a study, each with the recipe's own epochs and all patches, as jobs."""

    def __init__(self, study: Study, best: Sequence[Trial], finished: Finished) -> None:
        self._study, self._best, self._finished = study, best, finished

    def claim(self) -> Job | None:
        """Return a run that is this process's alone; None when there is none now."""
        for trial in self._best:
            if self._outcome(trial) is None and self._study.hold(_lock_of(trial.name)):
                return Job(trial.name, with_setting(self._study.recipe, trial.setting), self._run_of(trial))
        return None

    def finish(self, job: Job, outcome: Outcome) -> None:
        """Let go of a run, whose outcome lies in its folder."""
        self._study.let_go(_lock_of(job.name))
        self._finished(f"best {self._finished_runs()} of {len(self._best)}, {job.name}: {outcome}")

    def done(self) -> bool:
        """Return whether every run has finished, whoever made it."""
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
    tell: Callable[[str], None] = partial(print, flush=True),  # noqa: B008 - it holds nothing
) -> Results:
    """Screen settings, train the best to convergence, and write tables, pictures and a report.

    What the folder holds already is not done again; the test set is never opened.

    Parameters
    ----------
    recipe : Recipe
        What is searched; `recipe.search` says by which protocol.
    folder : Path
        Of the study: new, or one of the same recipe, which is gone on with.
    device : str
        A torch device for what is done in this process.
    workers : Workers, optional
        Who makes the runs; by default this process, one after another.
    tell : callable
        Takes a line for each run that has finished.

    Raises
    ------
    SearchError
        When the folder holds a study of another recipe, the data do not suit, or no trial succeeded.
    InvalidRecipe
        When values of the space do not go together with the rest of the recipe.
    InvalidPrepared
        When the recipe's data are not as they were prepared.
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
    """Refuse a search some of whose settings could never run, before the first one does.

    Raises
    ------
    InvalidRecipe
        When values of the space do not go together with the rest of the recipe.
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
                f"expected {role} fields that hold search.space.patch_px {largest}, the smallest of"
                f" {prepared.folder} has {side} px: prepare such fields or leave that value out"
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
