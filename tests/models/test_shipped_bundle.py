"""The bundles that denoise and ship: valid to others, small, and as good as their READMEs say."""

import gc
import warnings
from pathlib import Path

import numpy as np
import pytest
import tifffile

from dimstream_models.bundle import read_bundle
from dimstream_models.shipped import SHIPPED_GENERALIST, SHIPPED_MODEL, find_bundle
from dimstream_models.training.evaluation.compare import compare
from dimstream_models.training.evaluation.filter_comparison import measure_photometry
from dimstream_models.training.evaluation.references import of_truth
from dimstream_models.training.evaluation.restoring import restorer

pytestmark = [pytest.mark.slow, pytest.mark.parametrize("name", [SHIPPED_MODEL, SHIPPED_GENERALIST])]

PART = np.s_[::8, 56:256, 56:256]  # of simulated movies; the card has the figures of the whole ones


def test_bioimageio_core_passes_it(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # core's own dependencies' deprecations are not ours to fix
        from bioimageio.core import test_model

        summary = test_model(find_bundle(name) / "bioimageio.yaml")
        gc.collect()  # it leaves files open, which would warn later
    assert summary.status == "passed", summary.format()


def test_it_is_small_and_says_how_it_was_made(name: str) -> None:
    bundle = read_bundle(find_bundle(name))
    assert len(bundle.onnx) < 3e6
    assert bundle.config is not None
    assert bundle.config.calibration is not None
    assert bundle.config.calibration.auc >= 0.99
    assert bundle.config.provenance is not None
    assert bundle.config.provenance.settings["simulation"]
    assert "not measured" not in bundle.documentation


@pytest.mark.parametrize("kind", ["pairs", "movie"])
def test_it_beats_tuned_filters_by_two_decibels(shared: Path, kind: str, name: str) -> None:
    folder = shared / "14_sim_er_sted"
    noisy = tifffile.imread(folder / f"{kind}_low.tif")[PART].astype(np.float64)
    truth = tifffile.imread(folder / f"{kind}_truth_x100.tif")[PART] / 100
    result = compare(restorer(read_bundle(find_bundle(name))), of_truth(noisy, truth), same_scale=True)
    assert result.over_filter.db is not None
    assert result.over_filter.db > 2
    assert result.figures(kind)[f"{kind}_margin_ssim"] > 0


def test_brightness_holds_still(name: str) -> None:
    found = measure_photometry(restorer(read_bundle(find_bundle(name))), seed=5)
    assert found.speck < {SHIPPED_MODEL: 0.02, SHIPPED_GENERALIST: 0.06}[name]  # docs/results.md
    assert found.jitter < 1.1 * found.photon_noise  # of 24 frames: known to about 15 %
