"""The work of a search, and who does it: this process, or others."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Protocol, Self

from dimstream_models.training.search.outcomes import Outcome
from dimstream_models.training.settings import Recipe

POLL_S: Final = 1.0  # between looks at what other processes have done
RunTrial = Callable[[Recipe, Path], Outcome]


@dataclass(frozen=True)
class Job:
    """A run to be made and judged."""

    name: str
    recipe: Recipe
    run: Path


class Work(Protocol):
    """Jobs that several processes share."""

    def claim(self) -> Job | None:
        """Return a job that is this process's alone; None when there is none now."""

    def finish(self, job: Job, outcome: Outcome) -> None:
        """Write down what came of a job."""

    def done(self) -> bool:
        """Return whether every job has finished, whoever did it."""


class Workers(Protocol):
    """Those who make runs. Ended by its context, what is at work is left to be taken up again."""

    def free(self) -> bool:
        """Return whether another job would be begun at once."""

    def start(self, job: Job) -> None:
        """Give the job to someone."""

    def wait(self) -> tuple[Job, Outcome] | None:
        """Return a job that has finished, once one has; None when none was started."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class ThisProcess:
    """One job at a time, here."""

    def __init__(self, run_trial: RunTrial) -> None:
        self._run_trial = run_trial
        self._job: Job | None = None

    def free(self) -> bool:
        """Return whether no job waits."""
        return self._job is None

    def start(self, job: Job) -> None:
        """Keep the job; `wait` does it."""
        self._job = job

    def wait(self) -> tuple[Job, Outcome] | None:
        """Do the job."""
        job, self._job = self._job, None
        return None if job is None else (job, self._run_trial(job.recipe, job.run))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._job = None


def do_all(work: Work, workers: Workers) -> None:
    """Return when every job is done; wait for those that others have, in case they die."""
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
