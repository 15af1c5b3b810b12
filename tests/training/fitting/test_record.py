"""What a run's record says of the code that it ran from."""

import subprocess
from pathlib import Path

import pytest

from dimstream_models.training.errors import CheckpointMismatch
from dimstream_models.training.fitting import record


def git(folder: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    subprocess.run(["git", "-C", str(folder), *identity, *arguments], check=True, capture_output=True)


def test_commit_and_changes_of_the_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = tmp_path / "module.py"
    module.write_text("1")
    monkeypatch.setattr(record, "__file__", str(module))
    git(tmp_path, "init")
    assert record.git_state() == (None, None)  # an untracked file, like an environment within a checkout
    git(tmp_path, "add", "module.py")
    git(tmp_path, "commit", "-m", "first")
    commit, dirty = record.git_state()
    assert commit is not None
    assert (len(commit), dirty) == (40, False)
    module.write_text("2")
    assert record.git_state() == (commit, True)


def test_a_machine_without_git_is_no_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert record.git_state() == (None, None)


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    for content in (None, "{", '{"state": "asleep"}'):
        if content is not None:
            (tmp_path / "record.json").write_text(content)
        with pytest.raises(CheckpointMismatch, match="expected a run that `dimstream-train fit` wrote"):
            record.read_record(tmp_path)
