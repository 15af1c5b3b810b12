"""The record of a search: a folder that several processes share, and that remains valid if any of them is
killed.

    FOLDER/
        journal.log     Optuna's journal: every trial, its setting, its figures or why it failed recipe.yaml
        the recipe of the search trials/NAME/    run of a trial, named by its setting: checkpoints, loss
        curve, outcome.json best/NAME/      run of one of the best, trained to convergence locks/
        held by running processes; the kernel releases those of dead processes

A process claims a trial by holding its lock. If the journal says that a trial is running but its lock is
free, its process has died: the next claim continues the trial from its checkpoint.
"""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final, Self

from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from dimstream_models.training.errors import SearchError
from dimstream_models.training.search.outcomes import Outcome
from dimstream_models.training.search.proposals import distributions
from dimstream_models.training.search.space import Setting, name_of
from dimstream_models.training.settings import Recipe, write_recipe


class FileLock:
    """An exclusive lock on a file, between processes and between locks of one process.

    The file remains when the lock is released: if it were removed, two processes could hold different files
    of the same name.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: IO[bytes] | None = None

    def take(self, *, wait: bool) -> bool:
        """Take the lock; return False if another process holds it and `wait` is False."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        file = self.path.open("ab")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            file.close()
            return False
        self._file = file
        return True

    def let_go(self) -> None:
        """Release the lock."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def __enter__(self) -> Self:
        self.take(wait=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.let_go()


def open_journal(path: Path) -> JournalStorage:
    """Return the journal at `path`, and create it if necessary; several processes may use it.

    Raises
    ------
    SearchError
        When the file exists but is not a journal.
    """
    try:
        return JournalStorage(JournalFileBackend(str(path), lock_obj=_KernelLock(path)))
    except (ValueError, KeyError, TypeError) as error:
        raise SearchError(
            f"expected the journal of a study at {path}, got a damaged file: {error}"
        ) from error


class _KernelLock(JournalFileOpenLock):
    """A lock that the kernel releases when the process dies; Optuna's own locks remain for 30 s."""

    def __init__(self, journal: Path) -> None:
        super().__init__(str(journal))
        self._journal = journal
        self._lock = FileLock(journal.with_suffix(".lock"))

    def acquire(self) -> bool:
        taken = self._lock.take(wait=True)
        _drop_torn_line(self._journal)
        return taken

    def release(self) -> None:
        self._lock.let_go()


def _drop_torn_line(journal: Path) -> None:
    """Remove an incomplete last line: Optuna would append to it, and could never read it again."""
    with journal.open("rb+") as file:
        size = file.seek(0, 2)
        if size == 0:
            return
        file.seek(size - 1)
        if file.read(1) != b"\n":
            file.seek(0)
            file.truncate(file.read().rfind(b"\n") + 1)


NAME: Final = "dimstream"  # of the one study in the journal
DIRECTIONS: Final = (StudyDirection.MAXIMIZE, StudyDirection.MINIMIZE, StudyDirection.MINIMIZE)
UNRESOLVED: Final = float("inf")  # in the journal, whose values are numbers


@dataclass(frozen=True)
class Trial:
    """A setting that was tried, or is running."""

    number: int
    setting: Setting
    outcome: Outcome | None
    """None: not finished."""

    @property
    def name(self) -> str:
        """Return the name of the trial's run folder."""
        return name_of(self.setting)


Propose = Callable[[Sequence[Trial]], Setting | None]


class Study:
    """The trials of a search; each process has its own object for the same folder."""

    def __init__(self, folder: Path, recipe: Recipe, data: str) -> None:
        """Start a study, or continue the one in the folder.

        Parameters
        ----------
        folder : Path
            Folder of the study.
        recipe : Recipe
            The recipe of the search.
        data : str
            sha256 of the prepared data.

        Raises
        ------
        SearchError
            When the folder holds a study of another recipe, or with other data.
        """
        self.folder, self.recipe = folder, recipe
        self._held: dict[str, FileLock] = {}
        self._claims = FileLock(folder / "locks" / "claims")
        with self._claims:
            self._journal = open_journal(folder / "journal.log")
            self._id = self._begin(_identity(recipe, data))

    def run_of(self, trial: Trial) -> Path:
        """Return the folder of the trial's run."""
        return self.folder / "trials" / trial.name

    def trials(self) -> tuple[Trial, ...]:
        """Return all trials so far, of all processes, in the order of their claims."""
        return tuple(_trial(each) for each in self._journal.get_all_trials(self._id, deepcopy=False))

    def claim(self, propose: Propose) -> Trial | None:
        """Return a trial that only this process has: one of a dead process, or a new one.

        Parameters
        ----------
        propose : callable
            Function from all trials so far to the next setting; None when there is none.
        """
        with self._claims:
            trials = self.trials()
            for trial in trials:
                if trial.outcome is None and self.hold(_lock_of(trial)):
                    return trial
            setting = propose(trials)
            return None if setting is None else self._new(setting)

    def finish(self, trial: Trial, outcome: Outcome) -> None:
        """Record the outcome of a claimed trial."""
        key = self._journal.get_trial_id_from_study_id_trial_number(self._id, trial.number)
        self._journal.set_trial_user_attr(key, "outcome", outcome.model_dump(mode="json"))
        state = TrialState.FAIL if outcome.figures is None else TrialState.COMPLETE
        self._journal.set_trial_state_values(key, state, _values(outcome))
        self.let_go(_lock_of(trial))

    def hold(self, name: str) -> bool:
        """Take a lock of the study until it is released or this process dies; False if it is already held."""
        lock = FileLock(self.folder / "locks" / name)
        if name in self._held or not lock.take(wait=False):
            return False
        self._held[name] = lock
        return True

    def let_go(self, name: str) -> None:
        """Release a lock that this study holds."""
        self._held.pop(name).let_go()

    def close(self) -> None:
        """Release all locks: other processes may continue unfinished trials."""
        while self._held:
            self._held.popitem()[1].let_go()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _begin(self, identity: Mapping[str, Any]) -> int:
        try:
            key = self._journal.get_study_id_from_name(NAME)
        except KeyError:
            key = self._journal.create_new_study(DIRECTIONS, NAME)
        known = self._journal.get_study_user_attrs(key).get("identity")
        if known is None:
            write_recipe(self.recipe, self.folder / "recipe.yaml")
            self._journal.set_study_user_attr(key, "identity", identity)
        elif known != identity:
            raise SearchError(
                f"{self.folder} holds a study of another recipe ({'; '.join(_differences(known, identity))}):"
                " choose an empty folder or restore the recipe"
            )
        return key

    def _new(self, setting: Setting) -> Trial:
        """Add a running trial in one write; after a crash it is complete or missing."""
        template = create_trial(
            state=TrialState.RUNNING,
            params=dict(setting),
            distributions=distributions(self.recipe.search.space),
        )
        key = self._journal.create_new_trial(self._id, template)
        trial = _trial(self._journal.get_trial(key))
        if not self.hold(_lock_of(trial)):
            raise SearchError(
                f"expected {_lock_of(trial)} of {self.folder} to be free, because its trial is new"
            )
        return trial


def read_trials(folder: Path) -> tuple[Trial, ...]:
    """Return the trials of the study in a folder.

    Raises
    ------
    SearchError
        When the folder does not hold a study.
    """
    path = folder / "journal.log"
    if not path.is_file():
        raise SearchError(f"expected the folder of a study, with its journal.log, at {folder}")
    journal = open_journal(path)
    try:
        key = journal.get_study_id_from_name(NAME)
    except KeyError as error:
        raise SearchError(f"expected a study of `dimstream-train search` in {path}, got none") from error
    return tuple(_trial(each) for each in journal.get_all_trials(key, deepcopy=False))


def _lock_of(trial: Trial) -> str:
    return f"trial-{trial.number:04d}"


def _trial(frozen: FrozenTrial) -> Trial:
    """Return a trial of the journal; if its outcome but not its end was written, it is not finished."""
    done = frozen.user_attrs["outcome"] if frozen.state.is_finished() else None
    outcome = None if done is None else Outcome.model_validate(done)
    return Trial(frozen.number, frozen.params, outcome)


def _values(outcome: Outcome) -> list[float] | None:
    figures = outcome.figures
    if figures is None:
        return None
    resolution = UNRESOLVED if figures.resolution_px is None else figures.resolution_px
    return [figures.ssim, figures.mae, resolution]


def _identity(recipe: Recipe, data: str) -> dict[str, Any]:
    """Return what all trials of a study must have in common, as JSON values."""
    values = recipe.model_dump(mode="json", exclude={"bundle": True, "search": {"sampler", "trials", "best"}})
    values["calibration"] = {"rescaling": recipe.calibration.rescaling}
    values["pairs"] = {
        **values["pairs"],
        "prepared": data,
    }  # a folder may be moved; its content must not change
    return values


def _differences(known: Mapping[str, Any], asked: Mapping[str, Any], place: str = "") -> list[str]:
    found = []
    for key in sorted({*known, *asked}):
        before, now = known.get(key), asked.get(key)
        if isinstance(before, dict) and isinstance(now, dict):
            found += _differences(before, now, f"{place}{key}.")
        elif before != now:
            found.append(f"{place}{key}: {before} in the study, {now} now")
    return found
