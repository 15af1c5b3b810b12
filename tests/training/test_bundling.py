"""From a run to a bundle: the same numbers in torch, in ONNX and in BioImage.IO's own hands."""

import warnings
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch

from dimstream_models.bundle import Bundle, read_bundle
from dimstream_models.training.cli import main
from dimstream_models.training.errors import ParityError
from dimstream_models.training.export.bundling import SAMPLE_EMPTY, SAMPLE_FRAMES, make_bundle
from dimstream_models.training.export.onnx_export import Denoiser, OnnxRunner, check_parity, export_onnx
from dimstream_models.training.fitting.trainer import load_best
from dimstream_models.training.settings import Recipe

DOCUMENTATION = "# Tiny\n\n## Validation\n\nMargin {pairs_margin_db} dB, threshold {ssim_threshold}.\n"


@pytest.fixture(scope="module")
def bundle(tiny_recipe: Recipe, tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("bundles") / "tiny"
    return make_bundle(
        tiny_recipe,
        tiny_run,
        folder,
        quality={"pairs_margin_db": 1.25},
        documentation=DOCUMENTATION,
        command="dimstream-train make tiny.yaml",
    )


@pytest.mark.parametrize("shape", [(8, 8), (48, 20), (104, 64)])
def test_the_onnx_file_computes_what_torch_computes(
    tiny_recipe: Recipe, tiny_run: Path, bundle: Bundle, shape: tuple[int, int]
) -> None:
    counts = np.random.default_rng(0).poisson(2.0, (1, 1, *shape)).astype(np.float32)
    with torch.no_grad():
        _, expected = load_best(tiny_recipe, tiny_run)(torch.from_numpy(counts) / 4.0)
    found = OnnxRunner(bundle.onnx)(counts)
    assert np.abs(found - expected.numpy()).max() <= 1e-5 * np.abs(expected.numpy()).max()


def test_the_parity_check_can_fail(tiny_recipe: Recipe, tiny_run: Path) -> None:
    network = load_best(tiny_recipe, tiny_run)
    content = export_onnx(Denoiser(network, 4.0))
    with pytest.raises(ParityError, match="expected ONNX Runtime within"):
        check_parity(Denoiser(network, 4.001), content)


def test_the_onnx_file_holds_no_paths_of_the_machine_that_made_it(bundle: Bundle) -> None:
    for trace in (b".py", b"site-packages", b"dimstream_models", str(Path.home()).encode()):
        assert trace not in bundle.onnx


def test_bioimageio_core_passes_the_bundle(bundle: Bundle) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its own dependencies' deprecations are not ours to fix
        from bioimageio.core import test_model

        summary = test_model(bundle.source / "bioimageio.yaml")
    assert summary.status == "passed", summary.format()


def test_the_bundle_says_how_it_was_made(tiny_recipe: Recipe, bundle: Bundle) -> None:
    again = read_bundle(bundle.source)
    assert again.config is not None
    assert again.config.provenance is not None
    assert again.config.provenance.settings == tiny_recipe.model_dump(mode="json")
    assert again.config.quality["pairs_margin_db"] == 1.25
    assert f"Margin 1.25 dB, threshold {again.config.thresholds.ssim}" in again.documentation
    movie = tifffile.imread(bundle.source / "sample" / "movie.ome.tif")
    assert movie.shape == (SAMPLE_FRAMES, 256, 256)
    assert movie[SAMPLE_EMPTY].mean() < 0.1 * movie[0].mean()


def test_the_command_says_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", str(tmp_path / "none.yaml"), "--run", str(tmp_path / "run")]) == 2
    assert "expected a recipe" in capsys.readouterr().err
