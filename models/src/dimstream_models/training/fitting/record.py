"""The identity and state of a run: `record.json`, next to the settings in `recipe.yaml`."""

from __future__ import annotations

import platform
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, JsonValue, ValidationError

from dimstream_models.bundle import Bundle
from dimstream_models.bundle.schema import Confined
from dimstream_models.training.errors import CheckpointMismatch, Diverged
from dimstream_models.training.settings import Recipe
from dimstream_models.whole_files import write_whole

RECORD = "record.json"
PACKAGES = ("dimstream-models", "torch", "numpy", "scipy", "scikit-image")
# settings that do not change the weights, or are recorded elsewhere
_FREE = (
    "bundle",
    "calibration",
    "search",
    "fine_tuning",
    "fit.checkpoint_every_s",
    "pairs.prepared",
    "movies.stored",
)

State = Literal["training", "stopped", "failed", "finished"]


class RunRecord(Confined):
    """Everything on which a run's weights depend, and the state of the run."""

    state: State = "training"
    """A run that was killed still has the state training."""
    reason: str | None = None
    """Why the run failed."""
    seed: int
    batch: int
    """Patches per step; the number that was found if the recipe says `largest`."""
    dose_ratio: float
    """Ratio of mean truth to mean counts of the training data, which determines the truths' divisor."""
    data: dict[str, str]
    """Hashes of the training and validation data."""
    device: str
    started: str
    """ISO 8601, UTC."""
    command: str
    versions: dict[str, str]
    git_commit: str | None
    """Commit of the checkout from which the package runs; None outside a checkout."""
    git_dirty: bool | None
    """Whether files of that checkout were changed."""
    settings: dict[str, JsonValue]
    """The whole recipe."""
    start: dict[str, str] = Field(default_factory=dict)
    """Bundle from whose weights it started, id and SHA-256; empty: random weights."""


def begin_record(
    recipe: Recipe,
    *,
    batch: int,
    dose_ratio: float,
    data: Mapping[str, str],
    device: str,
    start: Mapping[str, str] | None = None,
) -> RunRecord:
    """Return the record of a new run."""
    commit, dirty = git_state()
    return RunRecord(
        seed=recipe.seed,
        batch=batch,
        dose_ratio=dose_ratio,
        data=dict(data),
        device=device,
        started=datetime.now(UTC).isoformat(timespec="seconds"),
        command=shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        versions=package_versions(),
        git_commit=commit,
        git_dirty=dirty,
        settings=recipe.model_dump(mode="json"),
        start=dict(start or {}),
    )


def start_of(bundle: Bundle) -> dict[str, str]:
    """Return a bundle as the record of a run names it: id and SHA-256."""
    return {bundle.id: bundle.sha256}


def write_record(record: RunRecord, run: Path) -> None:
    """Write the record into the run's folder."""
    write_whole(run / RECORD, record.model_dump_json(indent=2).encode() + b"\n")


def read_record(run: Path) -> RunRecord:
    """Return the record of a run.

    Raises
    ------
    CheckpointMismatch
        When the folder does not hold a record of a fit.
    """
    try:
        return RunRecord.model_validate_json((run / RECORD).read_bytes())
    except (OSError, ValidationError) as error:
        raise CheckpointMismatch(
            f"expected a run that `dimstream-train fit` wrote at {run}: {error}"
        ) from error


def check_goes_on(
    record: RunRecord, recipe: Recipe, run: Path, *, start: Mapping[str, str] | None = None
) -> None:
    """Check that a run can continue with a recipe and, if one is given, with the same initial bundle.

    Raises
    ------
    Diverged
        When the run has failed.
    CheckpointMismatch
        When the recipe is different; the message names each setting that differs.
    """
    before, now = dict(_flat(record.settings)), dict(_flat(recipe.model_dump(mode="json")))
    differing = [
        f"{name} is {before.get(name)!r} in the run and {now.get(name)!r} in the recipe"
        for name in sorted(before.keys() | now.keys())
        if before.get(name) != now.get(name) and not name.startswith(_FREE)
    ]
    if differing:
        raise CheckpointMismatch(
            f"{run} holds a run of another recipe ({'; '.join(differing)}): choose an empty folder or"
            " restore the settings"
        )
    if start is not None and dict(start) != record.start:
        raise CheckpointMismatch(
            f"expected the initial bundle of {run}, {_stated(record.start)}, got {_stated(start)}: choose "
            "an empty folder, or"
            " give the same bundle"
        )
    if record.state == "failed":
        raise Diverged(f"{run} has failed: {record.reason}; choose other settings and an empty folder")


def package_versions() -> dict[str, str]:
    """Return the versions of Python and of the packages on which the weights depend."""
    return {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}


def git_state() -> tuple[str | None, bool | None]:
    """Return the commit of the checkout from which this package runs, and whether its files were changed.

    Both are None for an installed package, even if it is inside another checkout.
    """
    here = Path(__file__)
    if _git("ls-files", "--error-unmatch", here.name) is None:
        return None, None
    changed = _git("status", "--porcelain", "--untracked-files=no")
    return _git("rev-parse", "HEAD"), None if changed is None else bool(changed)


def _git(*arguments: str) -> str | None:
    command = ["git", "-C", str(Path(__file__).parent), *arguments]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def _stated(start: Mapping[str, str]) -> str:
    return ", ".join(f"{name} ({sha256[:12]})" for name, sha256 in start.items()) or "random weights"


def _flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield each setting with its dotted name."""
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
