"""The first half of a search: many short runs, one for each setting that is tried."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from dimstream_models.training.search.outcomes import Outcome
from dimstream_models.training.search.proposals import Tried, next_setting
from dimstream_models.training.search.ranking import Scored, rank
from dimstream_models.training.search.space import Setting, all_settings, for_screening
from dimstream_models.training.search.study import Study, Trial
from dimstream_models.training.search.workers import Job

Finished = Callable[[str], None]
"""Takes a line on a run that has finished."""


class Screening:
    """The trials of a study, as jobs."""

    def __init__(self, study: Study, finished: Finished) -> None:
        self._study, self._finished = study, finished
        self._claimed: dict[str, Trial] = {}

    def claim(self) -> Job | None:
        """Return a trial that is this process's alone; None when there is none now."""
        trial = self._study.claim(self._propose)
        if trial is None:
            return None
        self._claimed[trial.name] = trial
        return Job(trial.name, for_screening(self._study.recipe, trial.setting), self._study.run_of(trial))

    def finish(self, job: Job, outcome: Outcome) -> None:
        """Write down what came of a trial."""
        self._study.finish(self._claimed.pop(job.name), outcome)
        done = sum(trial.outcome is not None for trial in self._study.trials())
        self._finished(f"trial {done} of {planned(self._study)}, {job.name}: {outcome}")

    def done(self) -> bool:
        """Return whether every trial has finished, whoever made it."""
        trials = self._study.trials()
        return self._propose(trials) is None and all(trial.outcome for trial in trials)

    def _propose(self, trials: Sequence[Trial]) -> Setting | None:
        tried = [
            Tried(trial.setting, trial.outcome is None, trial.outcome.figures if trial.outcome else None)
            for trial in trials
        ]
        return next_setting(self._study.recipe, tried)


def planned(study: Study) -> int:
    """Return how many trials the search will make."""
    search = study.recipe.search
    size = len(all_settings(search.space, seed=0))
    return size if search.sampler == "grid" else min(search.trials, size)


def screened(study: Study) -> tuple[Scored, ...]:
    """Return the study's trials, best first."""
    return rank([(trial, study.run_of(trial), trial.outcome) for trial in study.trials()])
