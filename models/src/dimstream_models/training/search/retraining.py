"""The second half of a search: the best settings, trained to convergence on everything."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dimstream_models.training.search.outcomes import Outcome, read_outcome
from dimstream_models.training.search.ranking import Scored, rank
from dimstream_models.training.search.screening import Finished
from dimstream_models.training.search.space import with_setting
from dimstream_models.training.search.study import Study, Trial
from dimstream_models.training.search.workers import Job


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
