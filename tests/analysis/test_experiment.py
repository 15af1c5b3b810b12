"""Cells of several conditions: one value a cell, the paper's tests."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from dimstream_models.analysis.cli import main
from dimstream_models.analysis.summary import SUMMARY


def cell(folder: Path, gaps: float | None, **more: Any) -> str:
    folder.mkdir(parents=True)
    means = {"gaps": {"value": gaps}, "tubes": {"value": 7.0}}
    rates = {"gaps_lost_per_um2_min": {"value": None}}
    kind = {"segmenter": "s", "settings": {"reach_um": 0.2}, "dimstream": "0.1.0"}
    (folder / SUMMARY).write_text(json.dumps({**kind, "means": means, "rates": rates, **more}))
    return str(folder)


def compare(tmp_path: Path, *conditions: list[str]) -> int:
    words = [word for each in conditions for word in ("--condition", *each)]
    return main(["compare", *words, "--out", str(tmp_path / "out")])


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_conditions_are_compared_cell_by_cell(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(1)
    values = {"rest": rng.normal(10, 1, 9), "torin": rng.normal(13, 1, 8)}
    given = [
        [name, *(cell(tmp_path / name / str(n), float(v)) for n, v in enumerate(each))]
        for name, each in values.items()
    ]
    assert compare(tmp_path, *given) == 0
    found = {row["figure"]: row for row in rows(tmp_path / "out" / "comparison.csv")}
    expected = stats.mannwhitneyu(*values.values())
    assert float(found["gaps"]["mann_whitney_p"]) == pytest.approx(expected.pvalue)
    assert found["gaps"]["mark"] == "***"
    assert float(found["gaps"]["first_median"]) == pytest.approx(np.median(values["rest"]))
    assert float(found["gaps"]["second_shapiro_wilk_p"]) == pytest.approx(
        stats.shapiro(values["torin"]).pvalue
    )
    assert (found["gaps"]["first_cells"], found["gaps"]["second_cells"]) == ("9", "8")
    assert found["gaps_lost_per_um2_min"]["mann_whitney_p"] == ""
    assert "too few" in found["gaps_lost_per_um2_min"]["why_none"]
    assert float(found["gaps"]["corrected_p"]) == pytest.approx(2 * expected.pvalue)  # gaps and tubes
    assert len(rows(tmp_path / "out" / "cells.csv")) == 17
    assert "gaps: rest" in capsys.readouterr().out


def test_three_cells_a_condition_are_too_few_and_it_says_so(tmp_path: Path) -> None:
    given = [[name, *(cell(tmp_path / name / str(n), n + 1.0) for n in range(3))] for name in ("a", "b")]
    assert compare(tmp_path, *given) == 0
    assert all("too few" in row["why_none"] for row in rows(tmp_path / "out" / "comparison.csv"))


def test_what_cannot_be_compared_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def said() -> str:
        return capsys.readouterr().err

    one, two = cell(tmp_path / "1", 1.0), cell(tmp_path / "2", 2.0, segmenter="other")
    assert compare(tmp_path, ["a", one]) == 2
    assert "at least two conditions" in said()
    assert compare(tmp_path, ["a", one], ["b", two]) == 2
    assert "analyse all cells alike" in said()
    assert compare(tmp_path, ["a", one], ["b", one]) == 2
    assert "got it twice" in said()
    assert compare(tmp_path, ["a", one], ["b", str(tmp_path)]) == 2
    assert "run` finished" in said()
    assert compare(tmp_path, ["a", one], ["a", one]) == 2
    assert "each condition once" in said()
    pixels = cell(tmp_path / "3", 1.0, means={"gaps_px": {"value": 1.0}})
    assert compare(tmp_path, ["a", one], ["b", pixels]) == 2
    assert "units" in said()
