"""A bundle against tuned filters, and a movie as its own truth."""

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
from shipped import BUNDLE

from dimstream_models.bundle import read_bundle
from dimstream_models.training.cli import main
from dimstream_models.training.errors import CannotEvaluate
from dimstream_models.training.evaluation.compare import compare, mean_of_the_others, noise_floor_db
from dimstream_models.training.evaluation.filters import straight_line
from dimstream_models.training.evaluation.restoring import restorer


def test_compare_scores_the_bundle_and_every_filter() -> None:
    rng = np.random.default_rng(0)
    truth = np.kron(rng.random((3, 6, 6)) > 0.6, np.ones((8, 8))) * 3.0
    result = compare(restorer(read_bundle(BUNDLE)), rng.poisson(truth).astype(float), truth, same_scale=True)
    best = max(each.psnr_db for each in result.filters.values())
    assert result.own_scale is not None
    assert result.margin_db() == pytest.approx(result.own_scale.psnr_db - best)
    assert result.filters["gaussian"].psnr_db > result.noisy.psnr_db + 3
    assert result.gain_and_offset.psnr_db >= result.one_gain.psnr_db >= result.own_scale.psnr_db


def test_the_mean_of_the_others_takes_bleaching_out() -> None:
    rng = np.random.default_rng(0)
    still = rng.uniform(20, 60, (64, 64))
    fading = still * np.linspace(1, 0.5, 12)[:, None, None]
    movie = rng.poisson(fading).astype(float)
    truth = mean_of_the_others(movie)
    assert np.abs(truth / fading - 1).mean() < 0.05
    error = np.mean((truth - fading) ** 2, axis=(1, 2))
    reached = float(np.mean(10 * np.log10(truth.max() ** 2 / error)))
    assert noise_floor_db(movie) == pytest.approx(reached, abs=0.5)


def test_the_command_compares_a_movie(tmp_path: Path) -> None:
    movie = np.random.default_rng(0).poisson(4.0, (4, 48, 40)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "movie.tif", movie, photometric="minisblack")
    arguments = ["compare", str(BUNDLE), "--name", "still", "--noisy", str(tmp_path / "movie.tif")]
    assert main([*arguments, "--out", str(tmp_path / "figures.json")]) == 0
    figures = json.loads((tmp_path / "figures.json").read_text())["figures"]
    assert {"still_floor_db", "still_psnr_db", "still_margin_db", "still_margin_ssim", "still_ssim"} == set(
        figures
    )


def test_the_command_compares_one_image_with_its_truth(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    truth = np.kron(rng.integers(1, 9, (6, 5)), np.ones((8, 8), int)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "truth.tif", truth)
    counts = rng.poisson(truth).astype(np.uint16)
    tifffile.imwrite(tmp_path / "noisy.tif", counts)
    images = ["--noisy", str(tmp_path / "noisy.tif"), "--truth", str(tmp_path / "truth.tif")]
    arguments = ["compare", str(BUNDLE), "--name", "image", *images]
    assert main([*arguments, "--out", str(tmp_path / "figures.json")]) == 0
    noisy = json.loads((tmp_path / "figures.json").read_text())["comparison"]["noisy"]
    fitted = np.polyval(np.polyfit(counts.ravel(), truth.ravel(), 1), counts)
    expected = 10 * np.log10(truth.max() ** 2.0 / np.mean((fitted - truth) ** 2))
    assert noisy["psnr_db"] == pytest.approx(expected)


def test_images_without_a_truth_of_their_size_are_refused() -> None:
    one = np.ones((1, 48, 40))
    with pytest.raises(CannotEvaluate, match="two frames or more"):
        mean_of_the_others(one)
    with pytest.raises(CannotEvaluate, match=r"noisy \(1, 48, 40\), truth \(2, 48, 40\)"):
        compare(restorer(read_bundle(BUNDLE)), one, np.ones((2, 48, 40)), same_scale=True)


def test_the_straight_line_is_numpys_and_flat_images_have_none() -> None:
    rng = np.random.default_rng(0)
    restored, truth = rng.normal(3, 2, (2, 4, 5)), rng.normal(1, 5, (2, 4, 5))
    assert straight_line(restored, truth) == pytest.approx(np.polyfit(restored.ravel(), truth.ravel(), 1))
    assert straight_line(np.full((4, 5), 7.0), truth[0]) == (0.0, pytest.approx(truth[0].mean()))
