"""A bundle calibrated again: what changes, what stays, and what is refused."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import tifffile

from dimstream_models.bundle import (
    Bundle,
    InvalidBundle,
    MissingFile,
    UnsupportedModel,
    check_test_tensor,
    pack_bundle,
    read_bundle,
)
from dimstream_models.training.calibration.movies import Movies
from dimstream_models.training.cli import main
from dimstream_models.training.errors import CannotCalibrate
from dimstream_models.training.export.measured_quality import is_margin
from dimstream_models.training.export.onnx_export import OnnxRunner
from dimstream_models.training.export.recalibrating import Wanted, recalibrate
from dimstream_models.training.prediction import onnx_denoiser

pytestmark = pytest.mark.slow


@pytest.fixture
def old(bundle: Bundle, tmp_path: Path) -> Bundle:
    """A copy of the tiny bundle that may be spoiled."""
    shutil.copytree(bundle.source, tmp_path / "tiny")
    return read_bundle(tmp_path / "tiny")


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_scale_and_offset_are_put_in_their_place(old: Bundle, day: Path) -> None:
    before = bytes_of(old.source)
    made = recalibrate(old.source, old.source, Wanted(pairs=day, command="dimstream-train calibrate tiny"))
    low, high = (tifffile.imread(day / f"{dose}.ome.tif") for dose in ("low", "high"))
    denoise = onnx_denoiser(old.onnx, step=old.step, min_side=old.min_side)
    predicted = np.stack([denoise(frame) for frame in low])
    line = np.polyfit(predicted.ravel().astype(float), high.ravel().astype(float), 1)
    assert (made.gain, made.offset) == pytest.approx(line, rel=1e-6, abs=1e-4)
    check_test_tensor(made, OnnxRunner(made.onnx))
    changed = {name for name, content in bytes_of(old.source).items() if content != before[name]}
    assert changed == {"bioimageio.yaml", "README.md", "test_output.npy", "cover.png"}
    assert sorted(path.name for path in old.source.parent.iterdir()) == ["tiny"]


def test_the_record_and_the_readme_follow(old: Bundle, day: Path) -> None:
    made = recalibrate(
        old.source,
        old.source,
        Wanted(pairs=day, method="clipped_quantiles", command="dimstream-train calibrate tiny"),
    )
    assert made.config is not None
    assert old.config is not None
    assert made.config.rescaling is not None
    assert made.config.rescaling.method == "clipped_quantiles"
    assert made.config.provenance is not None
    assert made.config.provenance.command.endswith("; dimstream-train calibrate tiny")
    kept = {
        "ssim_threshold",
        "calibration_auc",
        "structure_threshold",
        "split_threshold",
        "correlation_threshold",
    }
    on_a_scale = {name for name in made.config.quality if not is_margin(name)}
    assert on_a_scale == kept  # the rest was in other counts
    assert made.config.quality["validation_margin_db"] == old.config.quality["validation_margin_db"]
    assert made.config.thresholds == old.config.thresholds
    title, rest = made.documentation.split("## Calibration")
    section, validation = rest.split("## Validation")
    assert title.startswith("# Tiny\n\n## Warnings\n\n- **")
    assert f"Denoised counts are {made.gain:g} times" in section
    assert "All other figures on this page were measured before." in section
    assert old.documentation.endswith(validation)
    again = recalibrate(old.source, old.source, Wanted(pairs=day))
    assert again.documentation.count("## Calibration") == 1
    assert again.documentation.count("## Warnings") == 1


def test_movies_give_thresholds_and_leave_the_pixels(old: Bundle, day: Path, tmp_path: Path) -> None:
    movies = Movies([day / "signal.ome.tif"], [day / "dark.ome.tif"])
    made = recalibrate(old.source, tmp_path / "new", Wanted(movies=movies, signal_min=40.0))
    assert made.config is not None
    assert old.config is not None
    assert made.config.calibration is not None
    assert "recorded movies of a sample" in made.config.calibration.method
    assert made.config.quality["ssim_threshold"] == made.config.thresholds.ssim
    assert made.config.thresholds.ssim != old.config.thresholds.ssim
    assert made.config.thresholds.signal_min == 40.0
    assert made.config.window_calibration is not None
    assert made.config.thresholds.background_max > 5  # 0.1 counts per pixel, 10 per window
    assert made.config.ssim == old.config.ssim
    kept = ("test_output.npy", "cover.png", "weights.onnx")
    assert all((made.source / name).read_bytes() == (old.source / name).read_bytes() for name in kept)
    assert bytes_of(old.source)["bioimageio.yaml"] != bytes_of(made.source)["bioimageio.yaml"]


def test_a_dark_movie_alone_gives_the_window_sums(old: Bundle, day: Path) -> None:
    made = recalibrate(old.source, old.source, Wanted(movies=Movies(dark=[day / "dark.ome.tif"])))
    assert made.config is not None
    assert old.config is not None
    assert made.config.window_calibration is not None
    assert made.config.calibration == old.config.calibration


def test_the_scenes_of_the_recipe_give_the_thresholds_of_the_export(old: Bundle, tmp_path: Path) -> None:
    rate = old.config.calibration.chosen_false_alarm_rate  # type: ignore[union-attr]
    made = recalibrate(old.source, tmp_path / "new", Wanted(simulated=True, false_alarm_rate=rate))
    assert made.config is not None
    assert old.config is not None
    assert made.config.calibration is not None
    for name in ("thresholds", "structure_calibration", "split_calibration"):
        assert getattr(made.config, name) is not None
    assert made.thresholds.ssim == pytest.approx(old.thresholds.ssim, abs=1e-3)  # torch there, ONNX here
    assert made.thresholds.split == pytest.approx(old.thresholds.split, abs=1e-3)
    found, before = made.config.structure_calibration, old.config.structure_calibration
    assert found == before  # no network takes part
    assert "structure score" in made.documentation


def test_scenes_are_not_made_up_for_a_bundle_without_their_recipe(exports: Path) -> None:
    with pytest.raises(CannotCalibrate, match="resting has none: give recorded movies"):
        recalibrate(exports / "resting", exports / "resting", Wanted(simulated=True))


def test_a_card_is_written_anew(exports: Path, day: Path) -> None:
    uncalibrated = read_bundle(exports / "resting")
    assert "No frame is judged" in uncalibrated.documentation
    movies = ["--signal", str(day / "signal.ome.tif"), "--dark", str(day / "dark.ome.tif")]
    assert main(["calibrate", str(exports / "resting"), "--pairs", str(day), *movies]) == 0
    card = read_bundle(exports / "resting").documentation
    assert "No frame is judged" not in card
    assert "all pairs of day" in card
    assert "validation_psnr_db" not in card  # measured with another scale
    assert "measured before" not in card


def test_a_zip_stays_a_zip(old: Bundle, day: Path, tmp_path: Path) -> None:
    pack_bundle(old.source, tmp_path / "tiny.zip")
    made = recalibrate(tmp_path / "tiny.zip", tmp_path / "tiny.zip", Wanted(pairs=day))
    (tmp_path / "thesis.zip").write_bytes(b"PK")
    with pytest.raises(InvalidBundle, match="expected a zip"):
        recalibrate(tmp_path / "tiny.zip", tmp_path / "thesis.zip", Wanted(pairs=day))
    assert made.source == tmp_path / "tiny.zip"
    assert made.attachments == old.attachments
    assert made.config is not None
    assert made.config.rescaling is not None
    assert "all pairs of" in made.config.rescaling.data


def test_a_float16_bundle_keeps_its_share_of_tolerance(exports: Path, day: Path, tmp_path: Path) -> None:
    made = recalibrate(exports / "resting-float16", tmp_path / "new", Wanted(pairs=day))
    assert made.absolute_tolerance == pytest.approx(0.005 * made.test_output.max(), rel=1e-3)
    assert made.config is not None
    assert "float16_error" in made.config.quality
    assert "## Half precision" in made.documentation


def test_what_cannot_be_calibrated_leaves_the_bundle_alone(old: Bundle, day: Path) -> None:
    before = bytes_of(old.source)
    swapped = Movies([day / "dark.ome.tif"], [day / "signal.ome.tif"])
    for wanted, message in (
        (Wanted(), "got neither"),
        (Wanted(simulated=True, movies=swapped), "got both"),
        (Wanted(pairs=day, movies=swapped), "no better than chance"),
        (Wanted(pairs=day / "low.ome.tif"), "got only the low dose"),
        (Wanted(pairs=day, false_alarm_rate=1.5), "false alarm rate between 0 and 1"),
        (Wanted(movies=Movies(dark=[day / "dark.ome.tif"]), signal_min=-1.0), "window sum from 0 on"),
        (Wanted(movies=Movies(dark=[day / "dark.ome.tif"]), signal_min=float("nan")), "window sum from 0 on"),
    ):
        with pytest.raises(CannotCalibrate, match=message):
            recalibrate(old.source, old.source, wanted)
    assert bytes_of(old.source) == before


def test_bundles_that_are_broken_or_of_others_are_refused(old: Bundle, day: Path) -> None:
    text = (old.source / "bioimageio.yaml").read_text()
    (old.source / "bioimageio.yaml").write_text(f"{text}git_repo: https://example.org\n")
    with pytest.raises(UnsupportedModel, match="cannot be written again without loss"):
        recalibrate(old.source, old.source, Wanted(pairs=day))
    (old.source / "cover.png").unlink()
    with pytest.raises(MissingFile):
        recalibrate(old.source, old.source, Wanted(pairs=day))


def test_the_command_says_what_it_found(
    old: Bundle, day: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "other"
    assert main(["calibrate", str(old.source), "--pairs", str(day), "--out", str(out)]) == 0
    made = read_bundle(out)
    assert f"denoised counts: {made.gain:g} times the prediction" in capsys.readouterr().out
    assert main(["calibrate", str(old.source)]) == 2
    assert "give --pairs PAIRS, or --signal MOVIE --dark MOVIE" in capsys.readouterr().err
