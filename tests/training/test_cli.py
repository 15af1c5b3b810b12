"""The command line: what the system refuses is said in words, never as a traceback."""

from pathlib import Path

import pytest

from dimstream_models.training.cli import main

SMALL = ["--days", "1", "--fields", "1", "--side", "64"]


@pytest.mark.parametrize(
    "command", [["simulate", *SMALL, "--out"], ["init", "--simulated"]], ids=lambda c: c[0]
)
def test_a_place_that_cannot_be_written_is_said_in_words(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    assert main([*command, str(tmp_path / "file" / "below")]) == 2
    said = capsys.readouterr().err
    assert f"{tmp_path}/file" in said
    assert "Check the path" in said
