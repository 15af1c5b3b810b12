"""Labels by a network: the one that ships, others' bundles, and what is refused."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
from class_bundles import class_config, class_draft

from dimstream_models.analysis.cli import main
from dimstream_models.analysis.labels import Structure
from dimstream_models.analysis.network_segmenter import named_segmenter, network_segmenter
from dimstream_models.analysis.segmentation import ClassicalSegmenter
from dimstream_models.analysis.segmenter_check import BEST, check_segmenters, scores_table
from dimstream_models.bundle import ClassOutput, UnsupportedModel, write_bundle
from dimstream_models.shipped import shipped_bundle
from dimstream_models.training.simulation.er_labels import er_truth
from dimstream_models.training.simulation.er_scenes import Scene


@pytest.fixture
def by_brightness(tmp_path: Path) -> Path:
    return write_bundle(tmp_path / "b", class_draft()).source


def drawn() -> np.ndarray:
    image = np.zeros((60, 80), np.float32)
    image[10:20], image[40:50, 10:60], image[30, 30] = 4, 9, 9
    image[44, 20] = 0
    return image


def test_labels_are_the_likeliest_classes_without_specks_and_holes(by_brightness: Path) -> None:
    labels = network_segmenter(by_brightness).segment(drawn())
    assert labels.dtype == np.uint8
    assert (labels[10:20] == Structure.TUBULE).all()
    assert (labels[40:50, 10:60] != Structure.BACKGROUND).all()
    assert labels[45, 30] == Structure.SHEET
    assert labels[30, 30] == Structure.BACKGROUND


def test_its_text_says_which_weights_and_pixels_not_where_they_lie(by_brightness: Path) -> None:
    told = repr(network_segmenter(by_brightness, pixel_nm=30.0))
    assert "brightness " in told
    assert "20.0" in told
    assert str(by_brightness) not in told
    assert told == repr(network_segmenter(by_brightness, pixel_nm=40.0))
    assert told != repr(network_segmenter(by_brightness))


@pytest.mark.slow
def test_run_labels_by_the_network_that_ships(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scene = Scene.random(np.random.default_rng(4), (128, 128), "er")
    tifffile.imwrite(tmp_path / "m.tif", 50 * scene.structure()[None], photometric="minisblack")
    words = ["run", str(tmp_path / "m.tif"), "--pixel-size-nm", "20", "--workers", "1"]
    assert main([*words, "--out", str(tmp_path / "o")]) == 0
    said = capsys.readouterr().out
    assert "labels: the network er-segmenter-light " in said
    assert "known error at 1 ph" in said
    assert "junctions born, per µm² and frame" in said
    labels = tifffile.imread(tmp_path / "o" / "labels.tif").squeeze()
    truth = er_truth(scene).labels
    overlap = ((labels > 0) & (truth > 0)).sum() / ((labels > 0) | (truth > 0)).sum()
    assert overlap > 0.7


def test_a_size_that_nobody_knows_is_told(
    by_brightness: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tifffile.imwrite(tmp_path / "m.tif", drawn()[None], photometric="minisblack")
    words = ["run", str(tmp_path / "m.tif"), "--segmenter", str(by_brightness), "--workers", "1"]
    assert main([*words, "--out", str(tmp_path / "o")]) == 0
    said = capsys.readouterr().out
    assert "is not known" in said
    assert "brightness" in said
    assert "brightness" in (tmp_path / "o" / "analysis.json").read_text()


def test_what_cannot_label_is_refused(
    by_brightness: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tifffile.imwrite(tmp_path / "m.tif", drawn()[None], photometric="minisblack")
    words = ["run", str(tmp_path / "m.tif"), "--out", str(tmp_path / "o")]
    assert main([*words, "--segmenter", str(shipped_bundle())]) == 2
    assert "name a segmentation bundle" in capsys.readouterr().err
    assert main([*words, "--segmenter", str(by_brightness), "--radius-px", "9"]) == 2
    assert "leave them out" in capsys.readouterr().err
    assert main([*words, "--segmenter", str(tmp_path / "none")]) == 2
    assert not (tmp_path / "o").exists()
    other = class_config(
        class_output=ClassOutput(classes=("background", "axon", "soma"), frames="raw", halo_px=0)
    )
    from dataclasses import replace

    write_bundle(tmp_path / "other", replace(class_draft(), config=other))
    assert main([*words, "--segmenter", str(tmp_path / "other")]) == 2
    assert "got axon, soma" in capsys.readouterr().err
    with pytest.raises(UnsupportedModel):
        network_segmenter(shipped_bundle())


def test_following_refuses_what_cannot_label(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["follow", "--server", "http://127.0.0.1:1", "--segmenter", str(shipped_bundle())]
    assert main(words) == 2
    assert "name a segmentation bundle" in capsys.readouterr().err


def test_the_classical_one_goes_by_its_name() -> None:
    assert named_segmenter("classical", pixel_nm=None) == ClassicalSegmenter()
    assert named_segmenter("classical", pixel_nm=None, radius_px=9) == ClassicalSegmenter(radius_px=9)


class Everywhere:
    """Finds tubules everywhere."""

    def segment(self, image: np.ndarray) -> np.ndarray:
        return np.full(image.shape, Structure.TUBULE, np.uint8)


@pytest.mark.slow
def test_a_segmenter_that_finds_er_everywhere_is_scored_so() -> None:
    scores = check_segmenters(
        lambda counts: counts.astype(np.float32), {"everything": Everywhere()}, scenes=2, seed=0, side_px=64
    )
    assert {score.world for score in scores} == {"our simulator", "other simulator"}
    for score in scores:
        assert 0 < score.er_iou[0] < 0.9
        assert score.er_iou[1] <= score.er_iou[0] <= score.er_iou[2]
        assert score.segmenter == BEST or score.split[0] in (0.5, 1.0)
    assert scores_table(scores).count("everything") == len(scores) // 2
    assert scores_table(scores).count("best threshold") == len(scores) // 2
    best = {(each.world, each.dose): each.er_iou[0] for each in scores if each.segmenter == BEST}
    assert all(best[each.world, each.dose] >= each.er_iou[0] for each in scores)
