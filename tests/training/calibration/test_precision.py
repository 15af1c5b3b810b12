"""Thresholds for a lower precision: found on what is served, kept in a record of their own."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from bfloat16 import needs_bfloat16
from shipped import BUNDLE

from dimstream_client.quality import Thresholds
from dimstream_models.arithmetic import normalise_prediction
from dimstream_models.bundle import read_bundle
from dimstream_models.training.calibration.movies import Movies
from dimstream_models.training.calibration.precision import measure_parity, openvino_denoiser
from dimstream_models.training.cli import main
from dimstream_models.training.errors import CannotCalibrate
from dimstream_models.training.export.precision_calibrating import WantedPrecision, calibrate_precision
from dimstream_server.pipeline.device_name import parse_device
from dimstream_server.pipeline.fused_model import FusedModel

pytestmark = [pytest.mark.slow, needs_bfloat16]


def _frame(seed: int = 0, shape: tuple[int, int] = (61, 72)) -> np.ndarray:
    lines = 4 * np.exp(-(((np.arange(shape[1]) % 40) - 20.0) ** 2) / 8) * np.ones(shape)
    return np.random.default_rng(seed).poisson(lines).astype(np.uint16)


def test_what_is_calibrated_is_what_is_served() -> None:
    bundle = read_bundle(BUNDLE)
    denoise = openvino_denoiser(bundle.onnx, "bfloat16", step=bundle.step, min_side=bundle.min_side)
    device = parse_device("openvino:cpu@bf16")
    model = FusedModel(bundle, device=device, in_dtype="uint16", out_dtype="uint16", threads=1)
    served = model.run(_frame(), None, Thresholds(ssim=None)).normalised
    calibrated = normalise_prediction(denoise(_frame()), bundle.ssim.normalisation)
    np.testing.assert_allclose(served, calibrated, atol=1e-5)
    exact = FusedModel(bundle, device=parse_device("cpu"), in_dtype="uint16", out_dtype="uint16", threads=1)
    off = np.abs(served - exact.run(_frame(), None, Thresholds(ssim=None)).normalised).max()
    assert off > 1e-3  # it is rounded


def test_differences_are_shares_of_the_prediction_and_of_its_spread() -> None:
    exact = [np.full((10, 10), 4.0, np.float32), np.linspace(-1, 1, 100, dtype=np.float32).reshape(10, 10)]
    off = np.zeros((10, 10), np.float32)
    off[0, 0] = 0.5
    signal, dark = (np.full((10, 10), kind) for kind in (0, 1))
    found = measure_parity(
        [signal],
        [dark],
        lambda frame: exact[frame[0, 0]] + off,
        lambda frame: exact[frame[0, 0]],
        movies="two",
    )
    assert found.signal.largest == pytest.approx(0.5 / 4)
    assert found.signal.mean == pytest.approx(0.5 / 4 / 100)
    assert found.dark.largest == pytest.approx(0.5 / exact[1].std(), rel=1e-4)
    assert (found.dark.frames, found.dark.movies) == (1, "two")


@pytest.fixture
def movies(tmp_path: Path) -> Movies:
    import tifffile

    rng, paths = np.random.default_rng(1), (tmp_path / "signal.tif", tmp_path / "dark.tif")
    light = np.stack([_frame(seed, (64, 72)) for seed in range(6)])
    for path, counts in zip(paths, (light, rng.poisson(0.3, light.shape).astype(np.uint16)), strict=True):
        tifffile.imwrite(path, counts, photometric="minisblack")
    return Movies([paths[0]], [paths[1]])


def test_a_bundle_gets_a_record_and_keeps_the_rest(movies: Movies, tmp_path: Path) -> None:
    shutil.copytree(BUNDLE, tmp_path / "old")
    old = read_bundle(tmp_path / "old")
    wanted = WantedPrecision(precision="bfloat16", movies=movies, command="dimstream-train calibrate old")
    made = calibrate_precision(old.source, tmp_path / "new", wanted)
    assert (made.sha256, made.thresholds, made.gain) == (old.sha256, old.thresholds, old.gain)
    np.testing.assert_array_equal(made.test_output, old.test_output)
    assert old.config is not None
    assert made.config is not None
    assert made.config.calibration == old.config.calibration
    record = made.config.precisions["bfloat16"]
    assert made.in_precision("bfloat16").thresholds.ssim == record.thresholds.ssim
    assert "signal.tif (sha256 " in record.calibration.note
    assert record.runtime.startswith("openvino 20")
    assert 0 < record.signal.mean < record.signal.quantile_999 <= record.signal.largest < 0.05
    assert (record.signal.frames, record.dark.frames) == (3, 3)  # every second one: at most four of a movie
    assert made.documentation.count("## Lower precisions") == 1


def test_without_movies_of_both_kinds_it_is_refused(movies: Movies, tmp_path: Path) -> None:
    half = replace(movies, dark=())
    with pytest.raises(CannotCalibrate, match="with a sample and without one"):
        calibrate_precision(BUNDLE, tmp_path / "new", WantedPrecision(precision="bfloat16", movies=half))
    assert not (tmp_path / "new").exists()


def test_the_command_says_what_it_found(
    movies: Movies, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kinds = ["--signal", str(movies.signal[0]), "--dark", str(movies.dark[0])]
    command = ["calibrate", str(BUNDLE), "--precision", "bf16", *kinds, "--out", str(tmp_path / "new")]
    assert main([*command, "--strict"]) != 0
    assert "expected only movies with --precision" in capsys.readouterr().err
    assert main(command) == 0
    assert "bfloat16 on " in capsys.readouterr().out
    assert read_bundle(tmp_path / "new").documentation.count("## Lower precisions") == 1
