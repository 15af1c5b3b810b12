"""Trials on a Ray cluster: the same function as on this machine, one task per trial.

Only the driver keeps the record of the study. The study's folder and the prepared data must have the same
path on every machine of the cluster, and dimstream-models must be installed there with its training extra. If
a worker dies, its trial is tried again from its checkpoint.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any, Final, Self

import ray
from ray.exceptions import RayError, RayTaskError

from dimstream_models.training.errors import SearchError, TrainingError
from dimstream_models.training.search.outcomes import Outcome
from dimstream_models.training.search.workers import Job

TRIES_AFTER_DEATH: Final = 3


class RayCluster:
    """A cluster's workers: each trial uses one GPU if the device is a GPU, else one CPU core."""

    def __init__(self, address: str, *, device: str = "cpu") -> None:
        """Join the cluster at `address` (host:port, ray://host:port, auto), or start one on this machine
        (local).

        Raises
        ------
        SearchError
            When there is no cluster at the address, or it lacks the resources for a trial.
        """
        self._device = "cpu" if device == "cpu" else "cuda"  # Ray shows each worker only its own GPU
        self._at_work: dict[Any, Job] = {}
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # of a cluster that is started on this machine
        try:
            ray.init(
                address=address,
                log_to_driver=False,
                logging_level=logging.WARNING,
                include_dashboard=False if address == "local" else None,
            )
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise SearchError(f"expected a Ray cluster at {address}: {error}") from error
        kind = "CPU" if self._device == "cpu" else "GPU"
        self._size = int(ray.cluster_resources().get(kind, 0))
        if not self._size:
            ray.shutdown()
            raise SearchError(f"expected a Ray cluster with a {kind} for each trial, but {address} has none")
        gpus = 0 if kind == "CPU" else 1
        self._task = ray.remote(num_cpus=1, num_gpus=gpus, max_retries=TRIES_AFTER_DEATH)(_run)

    def free(self) -> bool:
        """Return whether a worker is idle."""
        return len(self._at_work) < self._size

    def start(self, job: Job) -> None:
        """Send the job to the cluster."""
        task = self._task.remote(job.recipe.model_dump_json(), str(job.run.absolute()), self._device)
        self._at_work[task] = job

    def wait(self) -> tuple[Job, Outcome] | None:
        """Return the next finished job; None when no job is running.

        Raises
        ------
        SearchError
            When a job's worker died repeatedly.
        """
        if not self._at_work:
            return None
        [task], _ = ray.wait(list(self._at_work), num_returns=1)
        job = self._at_work.pop(task)
        return job, Outcome.model_validate_json(_answer(task, job))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        for task in self._at_work:
            ray.cancel(task, force=True)
        ray.shutdown()


def _answer(task: Any, job: Job) -> str:
    try:
        return str(ray.get(task))
    except RayTaskError as error:
        if isinstance(error.cause, TrainingError):
            raise error.cause from None
        raise
    except RayError as error:
        raise SearchError(
            f"the worker of {job.name} died {TRIES_AFTER_DEATH + 1} times, perhaps because of too little "
            f"memory; give the same command to continue from its checkpoint: {error}"
        ) from error


def _run(recipe: str, run: str, device: str) -> str:
    """Return the outcome of a trial as JSON, given its recipe as JSON."""
    os.environ["TQDM_DISABLE"] = (
        "1"  # before tqdm is imported, because a worker's progress bars are invisible
    )
    from dimstream_models.training.search.trial import run_trial
    from dimstream_models.training.settings import Recipe

    folder = Path(run).parents[1]
    if not (folder / "recipe.yaml").is_file():
        raise SearchError(f"expected the study's folder {folder} on every machine of the cluster: share it")
    return run_trial(Recipe.model_validate_json(recipe), Path(run), device=device).model_dump_json()
