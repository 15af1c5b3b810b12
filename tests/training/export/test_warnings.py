"""What speaks against a bundle is said by name and number, in its card too; --strict makes it a refusal."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drafts import meaningless_config, png

from dimstream_models.bundle import Author, Bundle, BundleDraft, ScoreCalibration, open_draft, read_bundle
from dimstream_models.training.calibration.movies import Movies
from dimstream_models.training.cli import main
from dimstream_models.training.errors import PoorModel
from dimstream_models.training.export.card import with_warnings, write_card
from dimstream_models.training.export.recalibrating import Wanted, recalibrate
from dimstream_models.training.export.warnings import NEAR_CHANCE, refuse, warnings, warnings_of

SOUND = {"validation_over_noisy_db": 9.0, "validation_margin_db": 1.0, "validation_margin_error_db": 0.1}


def draft(
    *, quality: dict[str, float] | None = None, config: dict[str, Any] | None = None, **said: Any
) -> BundleDraft:
    """A draft against which nothing speaks, but for what is told."""
    stated = {"quality": SOUND if quality is None else quality, **(config or {})}
    array = np.ones((1, 1, 8, 8), np.float32)
    sound = BundleDraft(
        id="er-cos7",
        name="ER in COS-7",
        description="Restores the endoplasmic reticulum of COS-7 cells.",
        authors=(Author("A. Person"),),
        licence="CC-BY-4.0",
        documentation="",
        cover=png(32, 16),
        onnx=b"",
        test_input=array,
        test_output=array,
        config=meaningless_config().model_copy(update=stated),
        gain=70.0,
    )
    return replace(sound, **said)


def scored(auc: float) -> ScoreCalibration:
    return ScoreCalibration(
        method="none: a test",
        signal_frames=1,
        dark_frames=1,
        signal_quantiles={},
        dark_quantiles={},
        false_alarm_rate=0.0,
        auc=auc,
    )


def temporal(auc: float) -> dict[str, Any]:
    record = meaningless_config().calibration
    assert record is not None
    return {"calibration": record.model_copy(update={"auc": auc})}


def unjudged() -> dict[str, Any]:
    limits = meaningless_config().thresholds.model_copy(update={"ssim": None})
    return {"thresholds": limits, "calibration": None}


def measured(**figures: float) -> BundleDraft:
    return draft(quality={f"validation_{name}": value for name, value in figures.items()})


CASES: dict[str, tuple[Callable[[], BundleDraft], str]] = {
    "adjacent predictions near chance": (
        lambda: draft(config=temporal(0.58)),
        "of adjacent predictions (thresholds.ssim) is near chance: .* area under the curve of 0.58",
    ),
    "split photons near chance": (
        lambda: draft(config={"split_calibration": scored(0.58)}),
        "of split photons (thresholds.split) is near chance: .* area under the curve of 0.58",
    ),
    "structure near chance": (
        lambda: draft(config={"structure_calibration": scored(0.5)}),
        "of the raw frame's structure .* area under the curve of 0.50",
    ),
    "nothing is judged": (lambda: draft(config=unjudged()), "No frame is judged: there is no threshold"),
    "worse than its input": (
        lambda: measured(over_noisy_db=-1.24, over_noisy_error_db=0.2, margin_db=0.5),
        "worse than its own input by 1.2 ± 0.2 dB .*validation",
    ),
    "no better than its input": (
        lambda: measured(over_noisy_db=0.1, over_noisy_error_db=0.2, margin_db=0.5),
        "not better than its own input (+0.1 ± 0.2 dB PSNR",
    ),
    "worse than a filter": (
        lambda: measured(over_noisy_db=9.5, margin_db=-0.6, margin_error_db=0.1, filter_gaussian=1.3),
        "worse than the best tuned filter (gaussian, 1.3) by 0.6 ± 0.1 dB",
    ),
    "worse than a filter on one image": (
        lambda: draft(quality={**SOUND, "area1_set_aside_margin_db": -0.6}),
        "worse than the best tuned filter by 0.6 dB (PSNR, fitted; area1_set_aside)",
    ),
    "not measured": (lambda: draft(quality={"ssim_threshold": 0.3}), "neither was measured"),
    "no scale": (lambda: draft(gain=1.0), "It has no scale"),
    "my model": (lambda: draft(name="my model"), "Its name is a placeholder, 'my model': set bundle.name"),
    "my-model": (lambda: draft(id="my-model"), "Its id is a placeholder, 'my-model'"),
    "init's description": (
        lambda: draft(description="One sentence on what it restores and what it was trained on."),
        "Its description is a placeholder",
    ),
    "no description": (lambda: draft(description=" "), "Its description is empty"),
    "no authors": (lambda: draft(authors=()), "Its authors are not stated (none)"),
    "authors not stated": (lambda: draft(authors=(Author("not stated"),)), "Its authors are not stated"),
    "no licence": (lambda: draft(licence=None), "Its licence is not stated"),
}


def escaped(pattern: str) -> str:
    """Plain text in which only `.*` is special."""
    return ".*".join(map(__import__("re").escape, pattern.split(".*")))


@pytest.mark.parametrize(("make", "said"), CASES.values(), ids=CASES)
def test_each_fault_is_one_warning_one_line_of_the_card_and_one_refusal(
    make: Callable[[], BundleDraft], said: str
) -> None:
    made = make()
    (only,) = warnings(made)
    with pytest.raises(AssertionError, match=escaped(said)):
        raise AssertionError(only)
    assert f"## Warnings\n\n- **{only}**\n" in write_card(made)
    with pytest.raises(PoorModel, match=escaped(said)):
        refuse(made)


def test_a_sound_bundle_has_no_warnings_and_no_section() -> None:
    assert warnings(draft()) == ()
    assert "Warnings" not in write_card(draft())
    refuse(draft())
    assert warnings(draft(config=temporal(NEAR_CHANCE) | {"split_calibration": scored(NEAR_CHANCE)})) == ()


def test_a_readme_of_ones_own_gets_the_section_once_and_loses_it_when_it_is_mended() -> None:
    text = "# Mine\n\nWords.\n\n## Validation\n\nMore words.\n"
    poor = draft(licence=None)
    once = with_warnings(text, poor)
    assert once.startswith("# Mine\n\nWords.\n\n## Warnings\n\n- **Its licence is not stated")
    assert once.endswith("\n\n## Validation\n\nMore words.\n")
    assert with_warnings(once, poor) == once
    assert with_warnings(once, draft()) == text


@pytest.mark.slow
def test_export_says_its_warnings_last_and_strict_writes_nothing(
    pairs_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "resting"
    assert main(["export", str(pairs_run), "--out", str(out), "--strict"]) == 2
    refused = capsys.readouterr().err
    assert "expected a bundle without warnings (--strict), got one with" in refused
    assert not list(tmp_path.iterdir())
    assert main(["export", str(pairs_run), "--out", str(out)]) == 0
    lines = capsys.readouterr().err.splitlines()
    said = warnings_of(out)
    assert [line for line in lines if line.startswith("warning: ")] == [f"warning: {each}" for each in said]
    assert lines[-1] == f"{len(said)} warnings; see also README.md in {out}"
    assert any("No frame is judged" in each for each in said)
    made = read_bundle(out)
    assert all(f"- **{each}**" in made.documentation for each in said)
    assert all(each in refused for each in said)


@pytest.mark.slow
def test_calibrating_with_movies_takes_the_warning_away(bundle: Bundle, day: Path, tmp_path: Path) -> None:
    shutil.copytree(bundle.source, tmp_path / "tiny")
    with open_draft(tmp_path / "tiny") as before:
        said = warnings(before)
    assert not any("No frame is judged" in each for each in said)
    movies = Movies([day / "signal.ome.tif"], [day / "dark.ome.tif"])
    with pytest.raises(PoorModel, match="warnings"):
        recalibrate(tmp_path / "tiny", tmp_path / "new", Wanted(movies=movies, strict=True))
    assert not (tmp_path / "new").exists()


@pytest.mark.slow
def test_the_margins_of_an_export_are_those_of_its_own_pixels(exports: Path, prepared: Path) -> None:
    made = read_bundle(exports / "resting")
    assert made.config is not None
    from dimstream_models.training.evaluation.restoring import restorer
    from dimstream_models.training.pairs.pair_reader import read_pairs

    restore, over = restorer(made), []
    for pair in read_pairs(prepared, role="validation"):
        truth, errors = np.asarray(pair.high, float).ravel(), []
        for image in (pair.low, restore(pair.low)):
            x = np.asarray(image, float).ravel()
            errors.append(np.mean((np.polyval(np.polyfit(x, truth, 1), x) - truth) ** 2))
        over.append(10 * np.log10(errors[0] / errors[1]))
    assert made.config.quality["validation_over_noisy_db"] == pytest.approx(np.mean(over), abs=2e-3)
