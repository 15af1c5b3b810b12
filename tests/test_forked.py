"""Forked processes end, are killed and print as started ones do."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from forked import Forks, forked

PATIENCE_S = 60


def say(words: list[str]) -> int:
    """Print the words, where it runs and its colour; a number as status."""
    print(*words, os.getcwd(), os.environ["COLOUR"])
    print("an error", file=sys.stderr)
    return 7


def hang(words: list[str]) -> None:
    Path(words[0]).touch()
    threading.Event().wait()


@pytest.fixture(scope="module")
def forks() -> Forks:
    return forked("test_forked")


def test_it_has_the_words_the_folder_and_the_environment_of_the_moment(
    forks: Forks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, errors = tmp_path / "out", tmp_path / "errors"
    monkeypatch.chdir(tmp_path)
    for colour in ("green", "blue"):
        monkeypatch.setenv("COLOUR", colour)
        process = forks.start("test_forked:say", ["a b", "c"], out=out, errors=errors)
        assert (process.wait(PATIENCE_S), process.poll()) == (7, 7)
    assert out.read_text() == f"a b c {tmp_path} green\na b c {tmp_path} blue\n"
    assert errors.read_text() == "an error\n" * 2


def test_it_is_killed_and_others_run_on(forks: Forks, tmp_path: Path) -> None:
    first, second = (
        forks.start("test_forked:hang", [str(tmp_path / name)], out=tmp_path / "out") for name in "ab"
    )
    with pytest.raises(subprocess.TimeoutExpired):
        first.wait(0)
    first.kill()
    assert first.wait(PATIENCE_S) == -signal.SIGKILL
    assert second.poll() is None
    second.terminate()
    assert second.wait(PATIENCE_S) == -signal.SIGTERM
    second.kill()  # it has ended: nobody is sent anything


def test_a_program_that_fails_has_its_traceback_and_its_status(forks: Forks, tmp_path: Path) -> None:
    process = forks.start("test_forked:nothing", [], out=tmp_path / "out")
    assert process.wait(PATIENCE_S) == 1
    assert "AttributeError" in (tmp_path / "out").read_text()
