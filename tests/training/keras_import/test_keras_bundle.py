"""Imported weights as a bundle: what it computes, what it says, what is refused."""

import gc
import json
import warnings
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from training.keras_import.keras_files import Published, write_keras2, write_keras3

from dimstream_models.bundle import apply_steps, read_bundle
from dimstream_models.training.cli import main
from dimstream_models.training.export.onnx_export import OnnxRunner
from dimstream_models.training.keras_import import KerasConfig, read_keras_weights

pytestmark = pytest.mark.slow

FIXTURES = "17_keras_fixtures"
NETWORK = Published((3, 2), 1, 1, 2)


@pytest.fixture
def imported(tmp_path: Path) -> list[str]:
    """A command that imports a small network, without options."""
    write_keras3(tmp_path / "w.weights.h5", NETWORK, NETWORK.draw())
    (tmp_path / "c.json").write_text(json.dumps(NETWORK.config))
    return ["import-keras", f"{tmp_path}/w.weights.h5", "--config", f"{tmp_path}/c.json", "--out"]


def test_a_bundle_computes_what_the_published_code_does(
    shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of counts on any scale, as each image is divided by its maximum; negatives are clipped."""
    folder, tag = shared / FIXTURES, "2d_notebooks_leaky_relu_k3"
    command = ["import-keras", f"{folder / tag}.h5", "--config", f"{folder / tag}.json"]
    assert main([*command, "--out", str(tmp_path / "Imported_1")]) == 0
    told = capsys.readouterr().out
    assert "imported like that (identity)" in told
    assert "no scale and offset" in told
    bundle = read_bundle(tmp_path / "Imported_1")
    x = np.load(folder / "x_72x56.npy")[..., 0]
    assert x.max() == 1
    output = apply_steps(bundle.postprocessing, OnnxRunner(bundle.onnx)(37.5 * x[:, None].astype(np.float32)))
    expected = np.load(folder / f"{tag}_out_rcan_72x56.npy")[..., 0].clip(0)
    assert np.abs(output[:, 0] - expected).max() <= 1e-4 * expected.max()


def test_a_bundle_without_pairs_declares_what_it_lacks(imported: list[str], tmp_path: Path) -> None:
    assert main([*imported, str(tmp_path / "er-resting")]) == 0
    bundle = read_bundle(tmp_path / "er-resting")
    assert (bundle.id, bundle.gain, bundle.offset, bundle.step) == ("er-resting", None, None, 4)
    assert bundle.config is not None
    assert bundle.config.rescaling is None
    assert bundle.config.thresholds.ssim is None
    assert bundle.config.ssim.normalisation == "maximum"
    assert bundle.config.input_normalisation is not None
    assert bundle.config.input_normalisation.kind == "maximum"
    assert "no scale and no offset" in bundle.documentation
    assert "calibrate --pairs" in bundle.documentation
    assert "license: null\n" in (bundle.source / "bioimageio.yaml").read_text()


@pytest.mark.parametrize("stated", [[], ["--author", "A. Author", "--license", "CC-BY-4.0"]])
def test_bioimageio_core_passes_the_bundle(imported: list[str], tmp_path: Path, stated: list[str]) -> None:
    assert main([*imported, str(tmp_path / "b"), *stated]) == 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecations and unclosed files of its own
        from bioimageio.core import test_model

        summary = test_model(tmp_path / "b" / "bioimageio.yaml")
        gc.collect()
    assert summary.status == "passed", summary.format()


def test_scale_and_offset_are_those_of_the_pairs(imported: list[str], tmp_path: Path) -> None:
    """Clean images are made of the network's own predictions, so that both are known."""
    config = KerasConfig.model_validate(NETWORK.config)
    network = read_keras_weights(tmp_path / "w.weights.h5", config).network
    for number in range(2):
        low = np.random.default_rng(number).poisson(5, (40, 48)).astype(np.uint16)
        _, fine = network(torch.from_numpy(low[None, None] / np.float32(low.max())))
        for name, image in (("low", low), ("high", 120.0 * fine.numpy()[0, 0] + 7.0)):
            (tmp_path / "pairs" / name).mkdir(parents=True, exist_ok=True)
            tifffile.imwrite(tmp_path / "pairs" / name / f"{number}.tif", image.astype(image.dtype))
    assert main([*imported, str(tmp_path / "b"), "--pairs", str(tmp_path / "pairs")]) == 0
    bundle = read_bundle(tmp_path / "b")
    assert bundle.gain == pytest.approx(120.0, rel=1e-4)
    assert bundle.offset == pytest.approx(7.0, rel=1e-3)


def test_an_id_that_is_none_is_refused(
    imported: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*imported, str(tmp_path / "b"), "--id", "../x"]) == 2
    assert "id: " in capsys.readouterr().err
    assert not (tmp_path / "b").exists()


def test_a_folder_that_is_no_bundle_stays(
    imported: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes/a.txt").write_text("mine")
    assert main([*imported, str(tmp_path / "notes")]) == 2
    assert "other than a bundle" in capsys.readouterr().err
    assert (tmp_path / "notes/a.txt").read_text() == "mine"


def test_a_device_that_is_not_there_is_refused(
    imported: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*imported, str(tmp_path / "b"), "--device", "cuda:99"]) == 2
    assert "cuda:99" in capsys.readouterr().err


def test_volumes_are_refused_as_a_bundle(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    network = Published((2,), 1, 1, 1, dims=3)
    write_keras2(tmp_path / "w.h5", network, network.draw())
    (tmp_path / "c.yml").write_text(json.dumps(network.config))
    command = ["import-keras", f"{tmp_path}/w.h5", "--config", f"{tmp_path}/c.yml", "--out"]
    assert main([*command, str(tmp_path / "b")]) == 2
    assert "weights for volumes" in capsys.readouterr().err


def test_what_cannot_be_read_ends_the_command(
    imported: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "w.weights.h5").write_bytes(b"\x89HDF\r\n\x1a\n")
    assert main([*imported, str(tmp_path / "b")]) == 2
    assert "cannot be read" in capsys.readouterr().err
