"""What denoising does to each figure: measured against exact labels, kept in the package, printed beside."""

import io
from dataclasses import replace

import matplotlib.image
import numpy as np
import pytest

from dimstream_models.analysis.denoising_effect import DOSES_PH, measure_effects
from dimstream_models.analysis.effect_report import draw_effects, effects_table
from dimstream_models.analysis.effects import EVENTS, NOISE_FREE, Effects, stored_effects
from dimstream_models.analysis.labels import Labels
from dimstream_models.analysis.network_segmenter import named_segmenter, network_segmenter
from dimstream_models.analysis.reports.known_bias import known_bias
from dimstream_models.bundle import read_bundle
from dimstream_models.er_figures import FIGURES
from dimstream_models.shipped import shipped_bundle
from dimstream_models.training.simulation.er_scenes import PIXEL_SIZE_NM

PAGE = "docs/analysis.md"


class Nothing:
    """Finds no ER at all."""

    def segment(self, image: np.ndarray) -> Labels:
        return np.zeros(image.shape, np.uint8)


@pytest.fixture(scope="module")
def nothing() -> Effects:
    return measure_effects(lambda c: c.astype(np.float32), Nothing(), model="m", scenes=2, seed=3, side_px=96)


def test_a_segmenter_that_finds_nothing_is_off_by_all_there_is(nothing: Effects) -> None:
    for dose in (NOISE_FREE, *(f"{dose:g}" for dose in DOSES_PH)):
        for name in ("foreground", "tubes", "tubule_length"):
            effect = nothing.effects[dose][name]
            assert effect.bias == pytest.approx(-effect.true)
            assert effect.true > 0
    assert nothing.effects["1"]["tubes"].text(relative=True).startswith("-100 ±")


def test_the_nearest_dose_is_told(nothing: Effects) -> None:
    assert [nothing.at(dose)[0] for dose in (0.01, 0.5, 0.6, 2.5, 900)] == ["0.3", "0.3", "1", "3", "10"]


@pytest.mark.parametrize("name", ["network", "classical"])
def test_what_is_stored_was_measured_with_what_ships(name: str, pytestconfig: pytest.Config) -> None:
    """`dimstream-analyse dose-effect --segmenter NAME` measures it; package and document keep it."""
    segmenter = repr(named_segmenter(name, pixel_nm=PIXEL_SIZE_NM))
    stored, bundle = stored_effects(segmenter), read_bundle(shipped_bundle())
    assert stored.model == f"{bundle.id} {bundle.sha256[:12]}"
    assert stored.segmenter == segmenter
    assert stored.scenes >= 20
    for effects in stored.effects.values():
        assert set(effects) == {*FIGURES, *EVENTS}
    assert effects_table(stored) in (pytestconfig.rootpath / PAGE).read_text(encoding="utf-8")


def test_errors_are_known_for_the_settings_that_they_were_measured_with_alone() -> None:
    network = network_segmenter(pixel_nm=PIXEL_SIZE_NM)
    assert known_bias(repr(network), dose_ph=1).of("junctions").endswith(" %")
    assert known_bias(repr(replace(network, least_area_px=40)), dose_ph=1).of("junctions") == ""
    assert known_bias(repr(named_segmenter("network", pixel_nm=None)), dose_ph=1).of("junctions") == ""


@pytest.mark.slow
def test_the_picture_can_be_read(nothing: Effects) -> None:
    assert matplotlib.image.imread(io.BytesIO(draw_effects(nothing))).std() > 0.05
