"""The one run on a card: what its report says of steps that succeed, fail and hang; tried without a card."""

import re
import sys
from pathlib import Path

import pytest
from gpu_run import REPORT, Step, card, main, plan, run_all

TEN_MINUTES_S = 600


def _step(name: str, program: str, limit_s: float = 60) -> Step:
    return Step(name, f"what {name} shows", (sys.executable, "-c", program), limit_s)


def test_the_report_has_every_step_and_what_it_wrote_last(tmp_path: Path) -> None:
    steps = [
        _step("good", "print('first'); print('bar 1\\rbar 2\\rdone')"),
        _step("bad", "import sys; print('why'); sys.exit(3)"),
        _step("long", "import time; print('begun', flush=True); time.sleep(600)", limit_s=3),
        Step("absent", "nothing", ("/no/such/program",), 5),
    ]
    assert run_all(tmp_path / "gpu", steps, "A card, 1.0, 8 GiB") == 1
    report = (tmp_path / "gpu" / REPORT).read_text()
    assert "A card, 1.0, 8 GiB" in report
    for name, verdict in {
        "good": "succeeded",
        "bad": "FAILED, exit code 3",
        "long": "ended after 3 s",
        "absent": "FAILED, exit code 127",
    }.items():
        assert re.search(rf"^\| {name} \| .* \| {verdict} \|$", report, re.MULTILINE)
    assert "```\nfirst\ndone\n```" in report
    assert "```\nwhy\n```" in report
    assert "begun" in report
    assert [path.name for path in (tmp_path / "gpu").iterdir()] == [REPORT]


def test_all_steps_that_succeed_are_a_success(tmp_path: Path) -> None:
    assert run_all(tmp_path, [_step("one", "pass"), _step("two", "pass")], "A card") == 0


def test_it_ends_within_ten_minutes(tmp_path: Path) -> None:
    assert sum(step.limit_s for step in plan(tmp_path)) < TEN_MINUTES_S


def test_without_a_card_it_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))  # where no nvidia-smi is
    assert card() is None
    assert main(["--out", str(tmp_path / "gpu")]) == 2
    assert "expected an NVIDIA card" in capsys.readouterr().err
    assert not (tmp_path / "gpu").exists()
