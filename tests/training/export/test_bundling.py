"""From a run to a bundle: the same numbers in torch, in ONNX and in BioImage.IO's own hands."""

import json
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch

from dimstream_models.bundle import Bundle, BundleExists, read_bundle
from dimstream_models.training.cli import main
from dimstream_models.training.errors import (
    CannotEvaluate,
    Diverged,
    InvalidPrepared,
    InvalidRecipe,
    ParityError,
)
from dimstream_models.training.export import sample_movie
from dimstream_models.training.export.bundling import export_run
from dimstream_models.training.export.card import fill
from dimstream_models.training.export.measured_quality import read_quality
from dimstream_models.training.export.onnx_export import Denoiser, OnnxRunner, check_parity, export_onnx
from dimstream_models.training.fitting.record import read_record, write_record
from dimstream_models.training.fitting.trainer import fit, load_best
from dimstream_models.training.normalisation import FixedScale, build_normaliser
from dimstream_models.training.pairs.pair_reader import read_pairs
from dimstream_models.training.pairs.prepared import read_prepared
from dimstream_models.training.prediction import network_denoiser
from dimstream_models.training.settings import NormalisationSettings, Recipe, write_recipe

pytestmark = pytest.mark.slow


def core_passes(folder: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its own dependencies' deprecations are not ours to fix
        from bioimageio.core import test_model

        summary = test_model(folder / "bioimageio.yaml")
    assert summary.status == "passed", summary.format()


@pytest.mark.parametrize("shape", [(8, 8), (48, 20), (104, 64)])
def test_the_onnx_file_computes_what_torch_computes(
    tiny_recipe: Recipe, tiny_run: Path, bundle: Bundle, shape: tuple[int, int]
) -> None:
    counts = np.random.default_rng(0).poisson(2.0, (1, 1, *shape)).astype(np.float32)
    with torch.no_grad():
        _, expected = load_best(tiny_recipe, tiny_run)(torch.from_numpy(counts) / 4.0)
    found = OnnxRunner(bundle.onnx)(counts)
    assert np.abs(found - expected.numpy()).max() <= 1e-5 * np.abs(expected.numpy()).max()


@pytest.mark.parametrize(("kind", "value"), [("fixed", 4.0), ("maximum", None), ("quantile", 0.99)])
def test_every_normalisation_is_exported_at_any_size(
    tiny_recipe: Recipe, tiny_run: Path, kind: str, value: float | None
) -> None:
    settings = NormalisationSettings.model_validate({"kind": kind, "value": value})
    denoiser = Denoiser(load_best(tiny_recipe, tiny_run), build_normaliser(settings))
    assert check_parity(denoiser, export_onnx(denoiser)) <= 1e-5


def test_the_parity_check_can_fail(tiny_recipe: Recipe, tiny_run: Path) -> None:
    network = load_best(tiny_recipe, tiny_run)
    content = export_onnx(Denoiser(network, FixedScale(4.0)))
    with pytest.raises(ParityError, match="expected ONNX Runtime within"):
        check_parity(Denoiser(network, FixedScale(4.001)), content)


def test_the_onnx_file_holds_no_paths_of_the_machine_that_made_it(bundle: Bundle) -> None:
    for trace in (b".py", b"site-packages", b"dimstream_models", str(Path.home()).encode()):
        assert trace not in bundle.onnx


def test_bioimageio_core_passes_the_bundle(bundle: Bundle) -> None:
    core_passes(bundle.source)


def test_the_bundle_says_how_it_was_made(bright_recipe: Recipe, tiny_run: Path, bundle: Bundle) -> None:
    again = read_bundle(bundle.source)
    assert again.config is not None
    assert again.config.provenance is not None
    assert again.config.provenance.settings == bright_recipe.model_dump(mode="json")
    assert again.config.provenance.data == read_record(tiny_run).data
    assert again.config.quality["pairs_margin_db"] == 1.25
    threshold = again.config.thresholds.ssim
    assert f"Margin 1.25 dB, threshold {threshold}, not measured" in again.documentation
    assert again.config.rescaling is not None
    assert again.config.rescaling.data == "48 simulated training fields"


def test_a_simulated_recipe_brings_its_sample_movie(bundle: Bundle) -> None:
    movie = tifffile.imread(bundle.source / "sample" / "movie.ome.tif")
    assert movie.shape == (sample_movie.FRAMES, 256, 256)
    assert movie[sample_movie.EMPTY].mean() < 0.1 * movie[0].mean()


@pytest.fixture(scope="module")
def resting(day: Path, pairs_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The run on pairs, exported by the command alone."""
    out = tmp_path_factory.mktemp("out") / "resting"
    movies = ["--signal", str(day / "signal.ome.tif"), "--dark", str(day / "dark.ome.tif")]
    movies += ["--sample", str(day / "signal.ome.tif")]
    assert main(["export", str(pairs_run), "--out", str(out), *movies, "--float16"]) == 0
    return read_bundle(out)


def test_one_command_makes_a_calibrated_bundle_of_a_run_on_pairs(
    resting: Bundle, pairs_recipe: Recipe, pairs_run: Path, prepared: Path
) -> None:
    core_passes(resting.source)
    network, normaliser = load_best(pairs_recipe, pairs_run), build_normaliser(pairs_recipe.normalisation)
    denoise = network_denoiser(network, normaliser)
    rows = [
        (denoise(pair.low).ravel(), np.asarray(pair.high).ravel().astype(float))
        for pair in read_pairs(prepared, role="training")
    ]
    gain, offset = np.polyfit(
        *(np.concatenate(column).astype(float) for column in zip(*rows, strict=True)), 1
    )
    assert (resting.gain, resting.offset) == pytest.approx((gain, offset), rel=1e-6, abs=1e-4)
    config = resting.config
    assert config is not None
    assert config.rescaling is not None
    assert config.rescaling.images == len(read_prepared(prepared).of("training"))
    assert config.pixel_size_nm == pytest.approx(25.0)
    assert config.thresholds.ssim is not None
    assert config.window_calibration is not None
    assert config.window_calibration.dark_frames == 8
    assert config.provenance is not None
    assert config.provenance.data == {"prepared": read_prepared(prepared).sha256}


def test_the_model_card_shows_what_was_measured(resting: Bundle) -> None:
    config, card = resting.config, resting.documentation
    assert config is not None
    assert config.quality["validation_psnr_db"] > config.quality["validation_noisy_psnr_db"]
    for part in (
        "# Resting ER",
        "![noisy, restored, truth](pictures/field.png)",
        "![loss curve](training/loss.png)",
        f"suspect if the SSIM with the prediction before is below {config.thresholds.ssim:g}",
        f"Denoised counts are {resting.gain:g} times the prediction",
        f"| validation_psnr_db | {config.quality['validation_psnr_db']:g} |",
        "| fit.learning_rate | 0.01 |",
        "| pairs.prepared | resting |",
        "## Limits",
    ):
        assert part in card
    training = {"training/loss.csv", "training/loss.png"}
    assert set(resting.attachments) == {"pictures/field.png", "sample/signal.ome.tif", *training}
    assert "/tmp" not in card


def test_the_float16_bundle_is_valid_and_says_its_error(resting: Bundle) -> None:
    half = read_bundle(resting.source.with_name("resting-float16"))
    core_passes(half.source)
    assert half.id == "resting-float16"
    assert (half.gain, half.offset) == (resting.gain, resting.offset)
    np.testing.assert_array_equal(half.test_output, resting.test_output)  # it must come near float32's
    assert half.absolute_tolerance == pytest.approx(0.005 * resting.test_output.max())
    assert half.config is not None
    assert 0 < half.config.quality["float16_error"] < 0.005
    assert "## Half precision" in half.documentation
    assert "## Half precision" not in resting.documentation


def test_split_photons_come_out_in_the_inputs_counts(pairs_recipe: Recipe, day: Path, tmp_path: Path) -> None:
    recipe = pairs_recipe.with_split_photons()
    fit(recipe, tmp_path / "run")
    made = export_run(tmp_path / "run", tmp_path / "split", command="dimstream-train export run")
    assert (made.gain, made.offset) == (4.0, 0.0)
    assert made.config is not None
    assert made.config.rescaling is not None
    assert made.config.rescaling.method == "normalisation"
    assert made.config.thresholds.ssim is None
    assert "split photons, at the input's own dose" in made.documentation
    assert "No frame is judged" in made.documentation
    movie = tifffile.imread(day / "signal.ome.tif")
    denoise = network_denoiser(load_best(recipe, tmp_path / "run"), FixedScale(4.0))
    assert 4.0 * denoise(movie[0]).mean() == pytest.approx(movie[0].mean(), rel=0.25)


def test_a_failed_run_is_not_exported(tiny_recipe: Recipe, tiny_run: Path, tmp_path: Path) -> None:
    write_recipe(tiny_recipe, tmp_path / "recipe.yaml")
    failed = read_record(tiny_run).model_copy(update={"state": "failed", "reason": "the loss reached inf"})
    write_record(failed, tmp_path)
    with pytest.raises(Diverged, match=r"has failed, so it is not exported: the loss reached inf"):
        export_run(tmp_path, tmp_path / "out", command="")


def test_pairs_that_have_changed_since_the_fit_are_refused(
    pairs_recipe: Recipe, pairs_run: Path, prepared: Path, tmp_path: Path
) -> None:
    shutil.copytree(prepared, tmp_path / "prepared")
    index = tmp_path / "prepared" / "prepared.json"
    index.write_text(index.read_text().replace('"role": "test"', '"role": "training"', 1))
    shutil.copytree(pairs_run, tmp_path / "run")
    assert pairs_recipe.pairs is not None
    moved = pairs_recipe.pairs.model_copy(update={"prepared": tmp_path / "prepared"})
    write_recipe(pairs_recipe.model_copy(update={"pairs": moved}), tmp_path / "run" / "recipe.yaml")
    with pytest.raises(InvalidPrepared, match="has changed since the run was trained"):
        export_run(tmp_path / "run", tmp_path / "out", command="")


def test_what_is_no_bundle_is_not_replaced(pairs_run: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(BundleExists, match="other than a bundle"):
        export_run(pairs_run, tmp_path, command="")


@pytest.mark.parametrize("text", ["{pairs_psnr:.2f}", "{", "{a.b}", "a}"])
def test_braces_that_are_no_figures_are_refused(text: str) -> None:
    with pytest.raises(InvalidRecipe, match="for plain braces"):
        fill(text, {})
    assert fill("{a} of {{b}}", {"a": 1.5}) == "1.5 of {b}"


def test_a_quality_file_without_figures_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps({"figures": {"a": 1, "b": 2.5}}))
    assert read_quality([tmp_path / "a.json"]) == {"a": 1.0, "b": 2.5}
    (tmp_path / "b.json").write_text(json.dumps([1]))
    with pytest.raises(CannotEvaluate, match=r"b\.json: expected JSON with figures"):
        read_quality([tmp_path / "b.json"])
