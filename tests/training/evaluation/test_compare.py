"""A bundle next to tuned filters: a sentence first, fitted before unfitted, three yardsticks for movies."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import tifffile
from scipy import ndimage
from shipped import BUNDLE

from dimstream_models.training.cli import main
from dimstream_models.training.errors import CannotEvaluate
from dimstream_models.training.evaluation.compare import Comparison, compare
from dimstream_models.training.evaluation.filters import fitted_error, tune_filters
from dimstream_models.training.evaluation.gains import margin
from dimstream_models.training.evaluation.references import (
    KEPT_SHARE,
    Absent,
    Yardstick,
    mean_of_the_others,
    of_movie,
    of_truth,
)

Images = np.ndarray  # (N, H, W)
DOSE = 3.0


def blobs(number: int, seed: int = 0, side: int = 64) -> Images:
    """Light of blurred points, 3 photons per pixel on average."""
    points = np.random.default_rng(seed).random((number, side, side)) < 0.01
    light = ndimage.gaussian_filter(points.astype(float), (0, 2.5, 2.5), mode="wrap") + 1e-4
    return np.asarray(light * (DOSE / light.mean()))


def counts_of(light: Images, seed: int = 1) -> Images:
    return np.random.default_rng(seed).poisson(light).astype(np.uint16)


TRUTH = blobs(6)
NOISY = counts_of(TRUTH)


def judged(model: object, truth: Images = TRUTH, *, same_scale: bool = False) -> Comparison:
    """Compare a model that is a function of an image."""
    return compare(model, of_truth(NOISY, truth), same_scale=same_scale)  # type: ignore[arg-type]


def gaussian(width: float) -> object:
    return lambda image: ndimage.gaussian_filter(np.asarray(image, float), width)


BEST = tune_filters(list(zip(NOISY, TRUTH, strict=True)))[0]
MODELS = {
    "a model that knows better": (
        lambda image: TRUTH[[np.array_equal(image, each) for each in NOISY].index(True)] + 1e-3 * image,
        "better than the noisy image",
        "better than the best tuned filter",
    ),
    "the best filter itself": (BEST, "better than the noisy image", "no different from the best"),
    "too much blur": (gaussian(2.2), "better than the noisy image", "worse than the best tuned filter"),
    "the noisy image itself": (
        lambda image: np.asarray(image, float),
        "no different from the noisy image (+0.00 ± 0.00 dB)",
        "worse than the best tuned filter",
    ),
    "invented noise": (
        lambda image: image + 9.0 * np.random.default_rng(int(image.sum())).random(image.shape),
        "worse than the noisy image",
        "worse than the best tuned filter",
    ),
}


@pytest.mark.parametrize(("model", "noisy", "filters"), MODELS.values(), ids=MODELS)
def test_the_sentence_says_better_or_worse_by_how_much_and_how_sure(
    model: object, noisy: str, filters: str
) -> None:
    said = judged(model).sentence("image")
    assert said.startswith("On 6 images the model is ")
    assert noisy in said
    assert filters in said
    assert re.search(r"\d\.\d+ ± \d\.\d+ dB", said)
    assert said.count(". ") == 0  # one sentence


def test_a_difference_of_scale_is_no_loss_of_quality() -> None:
    plain, scaled = (judged(model, same_scale=True) for model in (gaussian(2.0), scaled_by(70.0, 5.0)))
    assert scaled.model.psnr_db == pytest.approx(plain.model.psnr_db)
    assert scaled.sentence("image") == plain.sentence("image")
    assert scaled.unfitted is not None
    assert plain.unfitted is not None
    assert scaled.unfitted.psnr_db < plain.unfitted.psnr_db - 20
    assert scaled.figures("x")["x_margin_db"] == plain.figures("x")["x_margin_db"]
    assert scaled.model.line[0] == pytest.approx(plain.model.line[0] / 70)


def scaled_by(gain: float, offset: float) -> object:
    return lambda image: gain * ndimage.gaussian_filter(np.asarray(image, float), 2.0) + offset


@pytest.mark.slow
def test_scores_are_numpys_and_filters_are_not_tuned_on_what_they_are_judged_on() -> None:
    result = judged(gaussian(2.0))
    fitted = np.polyval(np.polyfit(NOISY.ravel().astype(float), TRUTH.ravel(), 1), NOISY)
    expected = [
        10 * np.log10(TRUTH.max() ** 2 / np.mean((a - b) ** 2)) for a, b in zip(fitted, TRUTH, strict=True)
    ]
    assert result.noisy.psnr_db == pytest.approx(np.mean(expected))
    assert result.tuned_on == "the other half of the images"
    # the first half has fine detail, the second none: each filter must get the strength that suits the other
    coarse = np.concatenate([TRUTH[:3], np.stack([ndimage.gaussian_filter(each, 6) for each in TRUTH[3:]])])
    crossed = compare(gaussian(2.0), of_truth(counts_of(coarse), coarse))  # type: ignore[arg-type]
    first, second = (float(each.split(", ")[1].split(" ")[0]) for each in crossed.filters["gaussian"].tuned)
    assert first > second


def test_movies_have_three_yardsticks_with_floors_that_a_perfect_restoration_reaches() -> None:
    light = np.repeat(blobs(1, seed=4), 12, axis=0) * np.linspace(1, 0.6, 12)[:, None, None]
    movie = counts_of(light)
    found = of_movie(movie)
    assert [each.name for each in found] == ["set_aside", "next_frame", "others"]
    for each in found:
        assert isinstance(each, Yardstick)
        scale = {"set_aside": KEPT_SHARE, "next_frame": 1.0, "others": 1.0}[each.name]
        perfect = light[: len(each.truth)] * scale
        error = np.square(perfect - each.truth).mean(axis=(1, 2))
        reached = float(np.mean(10 * np.log10(each.truth.max() ** 2 / error)))
        assert each.floor_db == pytest.approx(reached, abs=1.0 if each.name == "next_frame" else 0.6)
    aside = found[0]
    assert isinstance(aside, Yardstick)
    back = aside.noisy + aside.truth * (1 - KEPT_SHARE) / KEPT_SHARE
    np.testing.assert_allclose(back, movie, atol=1e-9)  # every photon is shown or set aside, none is both


def test_the_kept_and_the_set_aside_photons_are_independent() -> None:
    flat = counts_of(np.full((8, 64, 64), 4.0), seed=9)
    aside = of_movie(flat)[0]
    assert isinstance(aside, Yardstick)
    kept, other = aside.noisy.astype(float), aside.truth
    assert abs(np.corrcoef(kept.ravel(), other.ravel())[0, 1]) < 4 / np.sqrt(flat.size)


@pytest.mark.parametrize(
    ("moves", "sharp_wins"),
    [(False, {"set_aside": True, "others": True}), (True, {"set_aside": True, "others": False})],
)
def test_the_mean_of_the_others_rewards_blur_of_what_moves_and_photons_set_aside_do_not(
    moves: bool, sharp_wins: dict[str, bool]
) -> None:
    still = blobs(1, seed=2)[0]
    light = np.stack([np.roll(still, 3 * step if moves else 0, axis=1) for step in range(16)]) * 4
    movie = counts_of(light)
    for each in of_movie(movie):
        if each.name in sharp_wins:
            assert isinstance(each, Yardstick)
            errors = [
                [
                    fitted_error(ndimage.gaussian_filter(image.astype(float), width), truth)
                    for image, truth in frames
                ]
                for width in (1.2, 5.0)
                for frames in [list(zip(each.noisy, each.truth, strict=True))]
            ]
            assert each.noise is not None
            found = margin(*errors, noise=each.noise.tolist())
            assert found.better == sharp_wins[each.name]
            assert found.worse != sharp_wins[each.name]


def test_what_are_no_photons_cannot_be_set_aside_and_that_is_said() -> None:
    camera = 100 + 20 * counts_of(np.repeat(blobs(1), 6, axis=0))
    aside, following, others = of_movie(camera)
    assert isinstance(aside, Absent)
    assert "variance/mean" in aside.reason
    assert isinstance(following, Yardstick)
    assert isinstance(others, Yardstick)
    assert following.floor_db is None
    with pytest.raises(CannotEvaluate, match="at least two frames, or photon counts, got one image"):
        of_movie(camera[:1])


def test_the_mean_of_the_others_takes_bleaching_out() -> None:
    still = np.random.default_rng(0).uniform(20, 60, (64, 64))
    fading = still * np.linspace(1, 0.5, 12)[:, None, None]
    truth = mean_of_the_others(counts_of(fading).astype(float))
    assert np.abs(truth / fading - 1).mean() < 0.05


def told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], *options: str
) -> tuple[str, dict[str, dict[str, float]]]:
    arguments = ["compare", str(BUNDLE), "--name", "x", *options, "--out", str(tmp_path / "figures.json")]
    assert main(arguments) == 0
    return capsys.readouterr().out, json.loads((tmp_path / "figures.json").read_text())


@pytest.mark.slow
def test_the_command_opens_with_the_sentence_and_compares_a_movie(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    movie = counts_of(np.repeat(blobs(1, side=48), 6, axis=0))
    tifffile.imwrite(tmp_path / "movie.tif", movie, photometric="minisblack")
    said, written = told(tmp_path, capsys, "--noisy", str(tmp_path / "movie.tif"))
    first = said.splitlines()[0]
    assert first == written["sentence"]
    assert first.startswith("Judged by 10% of the same frame's photons, set aside: On 6 frames the model is")
    names = {
        f"x_{name}_{what}"
        for name in ("set_aside", "next_frame", "others")
        for what in ("psnr_db", "floor_db")
    }
    assert names <= set(written["figures"])
    for favours in ("The truth shows the same instant", "Motion since then", "blur is rewarded"):
        assert favours in said
    assert set(written["comparison"]) == {"set_aside", "next_frame", "others"}


def test_the_command_compares_images_with_their_truth_and_names_the_unfitted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, images in (
        ("noisy", NOISY[:2, :48, :48]),
        ("truth", (100 * TRUTH[:2, :48, :48]).astype(np.uint16)),
    ):
        tifffile.imwrite(tmp_path / f"{name}.tif", images, photometric="minisblack")
    images = ["--noisy", str(tmp_path / "noisy.tif"), "--truth", str(tmp_path / "truth.tif")]
    said, written = told(tmp_path, capsys, *images)
    assert said.startswith("On 2 images the model is ")
    assert "A difference of scale is not a loss of quality" in said
    figures = written["figures"]
    assert figures["x_unfitted_psnr_db"] < figures["x_psnr_db"]
    again, other = told(tmp_path, capsys, *images, "--truth-factor", "0.01")
    assert other["figures"]["x_psnr_db"] == pytest.approx(figures["x_psnr_db"], abs=0.02)
    assert again.splitlines()[0] == said.splitlines()[0]


def test_images_without_a_truth_of_their_size_are_refused() -> None:
    with pytest.raises(CannotEvaluate, match=r"noisy \(1, 48, 40\), truth \(2, 48, 40\)"):
        of_truth(np.ones((1, 48, 40)), np.ones((2, 48, 40)))
    with pytest.raises(CannotEvaluate, match="at least two frames"):
        mean_of_the_others(np.ones((1, 48, 40)))


def test_one_image_has_no_uncertainty_and_filters_are_tuned_on_it() -> None:
    result = compare(gaussian(2.0), of_truth(NOISY[:1], TRUTH[:1]))  # type: ignore[arg-type]
    assert result.over_noisy.error_db is None
    assert "judged image itself" in result.tuned_on
    assert "On 1 image the model is better than the noisy image by" in result.sentence("image")
    assert "with unknown uncertainty" in result.sentence("image")
