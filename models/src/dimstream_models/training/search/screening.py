"""The first half of a search: many short runs, one for each setting to try."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from dimstream_models.training.search.outcomes import Outcome
from dimstream_models.training.search.proposals import Tried, next_setting
from dimstream_models.training.search.ranking import Scored, rank
from dimstream_models.training.search.space import Setting, all_settings, for_screening
from dimstream_models.training.search.study import Study, Trial
from dimstream_models.training.search.workers import Job

Finished = Callable[[str], None]
"""Called with a line about each finished run."""


class Screening:
    """Jobs: the trials of a study."""

    def __init__(self, study: Study, finished: Finished) -> None:
        self._study, self._finished = study, finished
        self._claimed: dict[str, Trial] = {}

    def claim(self) -> Job | None:
        """Return a trial that only this process has; None when there is none now."""
        trial = self._study.claim(self._propose)
        if trial is None:
            return None
        self._claimed[trial.name] = trial
        return Job(trial.name, for_screening(self._study.recipe, trial.setting), self._study.run_of(trial))

    def finish(self, job: Job, outcome: Outcome) -> None:
        """Record the outcome of a trial."""
        self._study.finish(self._claimed.pop(job.name), outcome)
        done = sum(trial.outcome is not None for trial in self._study.trials())
        self._finished(f"trial {done} of {planned(self._study)}, {job.name}: {outcome}")

    def done(self) -> bool:
        """Return whether every trial has finished, in any process."""
        trials = self._study.trials()
        return self._propose(trials) is None and all(trial.outcome for trial in trials)

    def _propose(self, trials: Sequence[Trial]) -> Setting | None:
        tried = [
            Tried(trial.setting, trial.outcome is None, trial.outcome.figures if trial.outcome else None)
            for trial in trials
        ]
        return next_setting(self._study.recipe, tried)


def planned(study: Study) -> int:
    """Return the number of trials of the search."""
    search = study.recipe.search
    size = len(all_settings(search.space, seed=0))
    return size if search.sampler == "grid" else min(search.trials, size)


def screened(study: Study) -> tuple[Scored, ...]:
    """Return the study's trials, best first."""
    return rank([(trial, study.run_of(trial), trial.outcome) for trial in study.trials()])
