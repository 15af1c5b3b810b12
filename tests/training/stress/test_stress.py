"""The stress test on models whose answers are known: each fault is found where it is, and only there."""

import csv
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage, stats
from shipped import BUNDLE

from dimstream_models.bundle import read_bundle
from dimstream_models.training.cli import main
from dimstream_models.training.evaluation.restoring import restorer
from dimstream_models.training.stress.cases import case
from dimstream_models.training.stress.goals import goals
from dimstream_models.training.stress.measuring import Plan, Row, likelihood_ratio, measure, short_plan
from dimstream_models.training.stress.writing import as_csv, as_dict, as_figures, as_text, card_section

Counts = NDArray[Any]
PIXEL = 20.0
QUICK = replace(short_plan(PIXEL), fields=1, puncta_fields=1, total_fields=1)


def smooth(counts: Counts) -> NDArray[np.float32]:
    return ndimage.gaussian_filter(counts.astype(np.float32), 1.3)


def found(rows: list[Row], kind: str, photons: float, size_nm: float | None = None) -> Row:
    (row,) = [r for r in rows if (r.kind, r.photons, r.size_nm) == (kind, photons, size_nm)]
    return row


@pytest.fixture(scope="module")
def of_a_gaussian() -> list[Row]:
    return measure(smooth, QUICK, seed=1, quiet=True)


@pytest.mark.slow
def test_a_gaussian_scores_as_formulas_say(of_a_gaussian: list[Row]) -> None:
    wide = np.hypot(31 / 20, 1.3)  # both blurs together, px
    between = 2 * np.exp(-(4.0**2) / (2 * wide**2))
    at_dots = 1 + np.exp(-(8.0**2) / (2 * wide**2))
    bridge = found(of_a_gaussian, "bridge", 3.0, 160.0)
    assert bridge.model == pytest.approx(between / at_dots, abs=0.05)
    assert bridge.truth == pytest.approx(2 * np.exp(-(80.0**2) / (2 * 31**2)), abs=0.02)
    for dose in (0.1, 0.3, 1.0):
        assert found(of_a_gaussian, "total", dose).model == pytest.approx(1, abs=1e-5)
    for background in (1.0, 3.0):
        assert found(of_a_gaussian, "contrast", background).model == pytest.approx(1, abs=0.1)
    assert found(of_a_gaussian, "gap", 1.0, 0.0).model < 0.1
    assert found(of_a_gaussian, "gap", 1.0, 100.0).model > 0.85
    assert all(goal.met for goal in goals(of_a_gaussian) if goal.text.startswith("total"))


@pytest.mark.slow
def test_the_same_seed_gives_the_same_table_and_another_another(of_a_gaussian: list[Row]) -> None:
    few = replace(QUICK, cases=QUICK.cases[:2])
    first = measure(smooth, few, seed=1, quiet=True)
    assert first[:2] == of_a_gaussian[:2]
    assert measure(smooth, few, seed=1, quiet=True) == first
    assert measure(smooth, few, seed=2, quiet=True) != first


def test_the_likelihood_ratio_is_that_of_the_counts_and_finds_as_much_as_a_tuned_gaussian(
    of_a_gaussian: list[Row],
) -> None:
    counts = np.zeros((41, 41))
    counts[20, 20], counts[22, 19] = 2, 1
    y, x = np.indices(counts.shape) - 20
    light = 5 * np.exp(-(x**2 + y**2) / (2 * 1.55**2)) / (2 * np.pi * 1.55**2)
    ratio = stats.poisson(0.02 + light).logpmf(counts).sum() - stats.poisson(0.02).logpmf(counts).sum()
    assert likelihood_ratio(counts, 5.0, 1.55)[20, 20] == pytest.approx(ratio + light.sum(), abs=1e-3)
    row = found(of_a_gaussian, "puncta", 5.0)
    assert row.ideal is not None
    assert row.ideal > row.gaussian - 0.1


@pytest.mark.slow
def test_a_model_that_draws_lines_is_found_out() -> None:
    def closing(counts: Counts) -> NDArray[np.float32]:
        return ndimage.grey_closing(smooth(counts), (9, 9))

    rows = measure(closing, QUICK, seed=1, quiet=True)
    assert found(rows, "bridge", 1.0, 160.0).model > 0.6
    gap = found(rows, "gap", 1.0, 100.0)
    assert gap.model < gap.gaussian - 0.2
    assert {goal.text.split()[0]: goal.met for goal in goals(rows)}["bridge"] is False


def test_a_model_that_loses_faint_light_is_found_out() -> None:
    def dimming(counts: Counts) -> NDArray[np.float32]:
        image = smooth(counts)
        return np.where(image > 0.4, image, 0)

    rows = measure(dimming, QUICK, seed=1, quiet=True)
    assert found(rows, "total", 0.1).model < 0.8
    assert found(rows, "puncta", 5.0).model < 0.5
    assert not any(goal.met for goal in goals(rows) if goal.text.startswith("total"))


def test_a_model_that_shows_nothing_finds_nothing() -> None:
    rows = measure(lambda counts: np.ones(counts.shape, np.float32), QUICK, seed=1, quiet=True)
    assert found(rows, "puncta", 5.0).model == 0
    assert found(rows, "gap", 1.0, 100.0).model == 0
    assert found(rows, "bridge", 1.0, 160.0).model == pytest.approx(1)
    assert not [goal for goal in goals(rows) if goal.met]


@pytest.mark.slow
def test_scale_and_offset_of_counts_do_not_matter_but_an_offset_spoils_the_total() -> None:
    plan = replace(QUICK, cases=QUICK.cases[:1])
    scaled = measure(lambda counts: 70 * smooth(counts), plan, seed=1, quiet=True)
    plain = measure(smooth, plan, seed=1, quiet=True)
    for one, other in zip(scaled, plain, strict=True):
        assert one.model == pytest.approx(other.model, abs=1e-4)
    lifted = measure(lambda counts: smooth(counts) + 0.01, plan, seed=1, quiet=True)
    assert found(lifted, "total", 0.1).model > 1.2


def test_text_json_csv_and_card_say_the_same(of_a_gaussian: list[Row]) -> None:
    read = list(csv.DictReader(io.StringIO(as_csv(of_a_gaussian))))
    assert [float(row["model"]) for row in read] == [row.model for row in of_a_gaussian]
    assert [row["size_nm"] for row in read if row["kind"] == "puncta"] == [""]
    figures = as_dict(of_a_gaussian, goals(of_a_gaussian))["figures"]
    bridge = found(of_a_gaussian, "bridge", 1.0, 160.0)
    assert figures["stress_bridge_160nm_1ph"] == round(bridge.model, 3)
    assert figures["stress_total_0_1ph"] == 1
    assert f"model {bridge.model:.2f}" in as_text(of_a_gaussian, [])
    card = card_section(as_figures(of_a_gaussian))
    assert f"| bridge, 160 nm, 1 photons | {bridge.model:.3g}" in card
    assert "| total, 0.1 photons | 1 | 1 |" in card
    assert card_section({"validation_psnr_db": 3.0}) == ""


@pytest.mark.slow
def test_the_command_writes_all_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    few = Plan((case("bridge", 160, 1.0, PIXEL),), PIXEL, 1, (5.0,), 1, (0.1, 10.0), 1)
    monkeypatch.setattr("dimstream_models.training.stress.stressing.full_plan", lambda pixel: few)
    assert main(["stress", str(BUNDLE), "--out", str(tmp_path / "out")]) == 0
    said = json.loads((tmp_path / "out" / "stress.json").read_text())
    assert said["bundle"] == "er-sted-light"
    assert (said["seed"], said["pixel_size_nm"]) == (13, 20.0)
    assert (tmp_path / "out" / "stress.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "out" / "stress.txt").read_text().strip() in capsys.readouterr().out
    assert len((tmp_path / "out" / "stress.csv").read_text().splitlines()) == 1 + len(said["rows"])
    assert main(["stress", str(BUNDLE), "--out", str(tmp_path), "--pixel-size-nm", "200"]) == 2
    assert "5 to 60" in capsys.readouterr().err


@pytest.mark.slow
def test_the_model_that_ships_bridges_dots_as_an_independent_audit_found() -> None:
    cases = (case("bridge", 160, 1.0, PIXEL), case("bridge", 160, 3.0, PIXEL))
    plan = Plan(cases, PIXEL, 3, (), 1, (0.1, 0.3, 10.0), 2)
    rows = measure(restorer(read_bundle(BUNDLE)), plan, seed=5, quiet=True)
    assert found(rows, "bridge", 1.0, 160.0).model == pytest.approx(0.67, abs=0.08)
    assert found(rows, "bridge", 3.0, 160.0).model == pytest.approx(0.36, abs=0.06)
    assert found(rows, "total", 0.1).model == pytest.approx(0.5, abs=0.12)
