"""The work of a search, and its workers: this process, or others."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Protocol, Self

from dimstream_models.training.search.outcomes import Outcome
from dimstream_models.training.settings import Recipe

POLL_S: Final = 1.0  # time between checks of other processes' work
RunTrial = Callable[[Recipe, Path], Outcome]


@dataclass(frozen=True)
class Job:
    """A run to train and judge."""

    name: str
    recipe: Recipe
    run: Path


class Work(Protocol):
    """Jobs that several processes share."""

    def claim(self) -> Job | None:
        """Return a job that only this process has; None when there is none now."""

    def finish(self, job: Job, outcome: Outcome) -> None:
        """Record the outcome of a job."""

    def done(self) -> bool:
        """Return whether every job has finished, in any process."""


class Workers(Protocol):
    """Workers for runs. When the context ends, unfinished runs remain and can be continued."""

    def free(self) -> bool:
        """Return whether another job would start immediately."""

    def start(self, job: Job) -> None:
        """Give the job to a worker."""

    def wait(self) -> tuple[Job, Outcome] | None:
        """Wait until a job has finished, and return it; None when none was started."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class ThisProcess:
    """Runs one job at a time in this process."""

    def __init__(self, run_trial: RunTrial) -> None:
        self._run_trial = run_trial
        self._job: Job | None = None

    def free(self) -> bool:
        """Return whether no job is waiting."""
        return self._job is None

    def start(self, job: Job) -> None:
        """Store the job; `wait` runs it."""
        self._job = job

    def wait(self) -> tuple[Job, Outcome] | None:
        """Run the job."""
        job, self._job = self._job, None
        return None if job is None else (job, self._run_trial(job.recipe, job.run))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._job = None


def do_all(work: Work, workers: Workers) -> None:
    """Run all jobs; wait for those of other processes, in case these processes die."""
    while True:
        while workers.free() and (job := work.claim()) is not None:
            workers.start(job)
        finished = workers.wait()
        if finished is not None:
            work.finish(*finished)
        elif work.done():
            return
        else:
            time.sleep(POLL_S)
