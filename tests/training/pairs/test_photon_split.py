"""Photon counts are told from other numbers, and split into independent parts."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats
from training.pairs.experiments import draw_structure, store_fields

from dimstream_models.training.errors import NotPhotonCounts
from dimstream_models.training.pairs.images import ImageFile, read_planes
from dimstream_models.training.pairs.noise import measure_noise
from dimstream_models.training.pairs.photon_split import SplitPhotonSource, check_photon_counts, split_photons
from dimstream_models.training.pairs.prepared import Prepared, Role
from dimstream_models.training.settings import PairsSettings

STED = "05_sted_images_mit/STED"
COUNTED = {
    "movie, many photons": "06_sted_live_movies/area002_001.tif",
    "movie, few photons": "06_sted_live_movies/area002_003.tif",
    "movie of moving vesicles": "06_sted_live_movies/syt_triggered_001.tif",
    "image, actin": f"{STED}ActinAxonFCN__dataset__data__actin_1.tiff",
    "image, tubulin": f"{STED}ActinAxonFCN__dataset__data__tubulin.tiff",
    "image with ImageJ's offset": f"{STED}ActinDendriteFCN__images_to_predict__01_Block_1.tif",
    "dark counts": "11_dark_noise/apd_late_gate.tif",
    "simulated, high dose": "14_sim_er_sted/pairs_high.tif",
    "simulated, dark": "14_sim_er_sted/movie_dark.tif",
}
NOT_COUNTED = {
    "camera, one exposure": ("07_pairs_dlsim_mit/LE_00.tif", "values from 93 to 165"),
    "camera, high exposure": ("07_pairs_dlsim_mit/HE_00.tif", "variance/mean 0.07"),
    "camera, dark": ("11_dark_noise/camera_bg2.tif", "variance/mean 0.6"),
    "mean of 50 frames": ("09_pairs_fmd_confocal/high/BPAE_G.tif", "variance/mean 0.1"),
    "analogue detector, 8 bit": ("09_pairs_fmd_confocal/low/BPAE_G.tif", "variance/mean 2.99"),
    "display copy": ("08_pairs_w2s/low/005_0.tif", "variance/mean 8.6"),
    "background subtracted": ("01_er_movie_cc0/example_ER_network_1Hz.tif", "from 0 on, got -112"),
    "a map of real numbers": ("13_reference_values/nup96_rfrc_map_published.tif", "whole numbers"),
}


def stacks_of(shared: Path, name: str) -> list[NDArray[Any]]:
    """Planes of a file: one stack where it is a movie, single images otherwise."""
    values = read_planes(ImageFile(shared / name), below_zero=True).values[:8]
    return [values] if "movie" in name else list(values[:, None])


@pytest.mark.parametrize("name", COUNTED.values(), ids=COUNTED)
def test_counts_of_photodiodes_are_accepted(shared: Path, name: str) -> None:
    measured = check_photon_counts(stacks_of(shared, name))
    # seven STED movies: 1.00-1.09 from differences of frames alone (TRAPS)
    assert 0.95 < measured.ratio < 1.15


@pytest.mark.parametrize(("name", "reason"), NOT_COUNTED.values(), ids=NOT_COUNTED)
def test_other_images_are_refused_with_what_was_measured(shared: Path, name: str, reason: str) -> None:
    with pytest.raises(NotPhotonCounts, match=reason):
        check_photon_counts(stacks_of(shared, name))


SYNTHETIC = {
    "Poisson": (lambda rng, light: rng.poisson(light), 1.0),
    "gain of 3": (lambda rng, light: 3 * rng.poisson(light / 3), 3.0),
    "sum of two": (lambda rng, light: rng.poisson(light) + rng.poisson(light), 1.0),
    "offset of 100": (lambda rng, light: rng.poisson(light) + 100, 10 / 110),
    "excess noise of an EMCCD": (lambda rng, light: rng.negative_binomial(light, 0.5), 2.0),
}


@pytest.mark.parametrize(("detector", "ratio"), SYNTHETIC.values(), ids=SYNTHETIC)
def test_variance_over_mean_is_that_of_the_detector(detector: Any, ratio: float) -> None:
    rng, light = np.random.default_rng(0), np.full((200, 200), 10.0)
    measured = measure_noise([detector(rng, light)[None] for _ in range(4)])
    assert measured.ratio == pytest.approx(ratio, abs=4 * measured.error)
    assert measured.error < 0.05 * ratio
    assert measured.poisson == (ratio == 1.0)


def test_the_standard_error_is_that_of_repeated_images() -> None:
    rng = np.random.default_rng(1)
    measured = [measure_noise([rng.poisson(2.0, (1, 64, 64))]) for _ in range(200)]
    spread = np.std([each.ratio for each in measured])
    assert np.mean([each.error for each in measured]) == pytest.approx(spread, rel=0.2)  # 5 % from 200 draws


def test_sharp_structure_is_not_taken_for_noise() -> None:
    light = draw_structure(0) * 10  # blurred by 2 px: a STED image at 20 nm pixels
    measured = measure_noise([np.random.default_rng(2).poisson(light)[None]])
    assert measured.ratio == pytest.approx(1, abs=0.1)


def test_what_stands_still_is_taken_out_of_movies() -> None:
    rng, light = np.random.default_rng(3), np.full((96, 96), 5.0)
    light[::7, ::7] = 60  # single pixels: no optics makes that
    movie = rng.poisson(np.broadcast_to(light, (8, 96, 96)))
    assert measure_noise([movie]).ratio == pytest.approx(1, abs=0.05)
    assert measure_noise([movie[:1]]).ratio > 1.5


def test_too_few_counts_tell_nothing() -> None:
    with pytest.raises(NotPhotonCounts, match="expected enough counts to decide"):
        check_photon_counts([np.random.default_rng(0).poisson(5, (1, 10, 10))])
    with pytest.raises(NotPhotonCounts, match="expected enough counts to decide"):
        check_photon_counts([np.zeros((1, 64, 64), np.uint16)])


def test_parts_are_binomial_and_independent() -> None:
    rng = np.random.default_rng(0)
    counts = rng.poisson(4.0, 400_000).astype(np.uint16)
    kept, other = split_photons(counts, 0.25, rng)
    np.testing.assert_array_equal(kept + other, counts)
    # of Poisson counts, the parts are Poisson of their share: chi-square against the distribution itself
    for part, mean in ((kept, 1.0), (other, 3.0)):
        seen = np.bincount(part, minlength=9)[:9]
        expected = stats.poisson.pmf(np.arange(9), mean)
        seen = np.append(seen, len(part) - seen.sum())
        assert stats.chisquare(seen, len(part) * np.append(expected, 1 - expected.sum())).pvalue > 1e-4
    assert abs(np.corrcoef(kept, other)[0, 1]) < 4 / 400_000**0.5


@pytest.fixture(scope="module")
def counted(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    rng = np.random.default_rng(5)
    roles: list[Role] = ["training"] * 3 + ["validation"]
    images = [rng.poisson(3 * draw_structure(seed)).astype(np.uint16) for seed in range(4)]
    return store_fields(tmp_path_factory.mktemp("counted"), [(image, None) for image in images], roles)


def split_source(prepared: Prepared, role: Role = "training", **settings: Any) -> SplitPhotonSource:
    told = PairsSettings(prepared=prepared.folder, split_photons=True, augmentation="none", **settings)
    return SplitPhotonSource(prepared, role, told, batch=27, patch_px=32, seed=1)


def test_each_epoch_splits_the_photons_anew_and_loses_none(counted: Prepared) -> None:
    source = split_source(counted, kept_share=0.2)
    assert source.steps_per_epoch == 1
    whole = sum(int(counted.open(field)[0].sum()) for field in counted.of("training"))
    batches = [source.batch(step) for step in range(2)]
    for each in batches:
        other = each.truth * (0.8 / 0.2)  # the truth is scaled to the expectation of what is shown
        assert float((each.counts + other).sum()) == pytest.approx(whole, rel=1e-5)
        assert float(each.counts.sum()) == pytest.approx(0.2 * whole, rel=0.05)
        assert float(each.truth.sum()) == pytest.approx(0.2 * whole, rel=0.05)
    sums = [np.sort(each.counts.sum(dim=(1, 2, 3)).numpy()) for each in batches]
    assert not np.array_equal(*sums)
    assert source.batch(0).counts.equal(batches[0].counts)
    assert split_source(counted, kept_share=0.2).batch(1).truth.equal(batches[1].truth)


def test_validation_is_always_split_alike(counted: Prepared) -> None:
    source = split_source(counted, "validation")
    assert source.batch(0).counts.equal(source.batch(source.steps_per_epoch).counts)
    assert source.batch(0).truth.equal(source.batch(source.steps_per_epoch).truth)


def test_a_fit_on_split_photons_is_refused_for_other_images(tmp_path: Path) -> None:
    light = np.random.default_rng(0).normal(200, 4, (96, 96)).round().astype(np.uint16)
    camera = store_fields(tmp_path, [(light, None)], ["training"])
    with pytest.raises(NotPhotonCounts, match=r"training fields of .*variance/mean 0.08"):
        split_source(camera)
