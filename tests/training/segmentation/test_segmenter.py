"""The segmentation network: frames with exact labels, a fit that goes on, a bundle like torch."""

from pathlib import Path

import numpy as np
import pytest
import torch

from dimstream_models.segmenting.class_network import read_class_network
from dimstream_models.segmenting.tiling import in_tiles
from dimstream_models.shipped import shipped_bundle
from dimstream_models.training.errors import CheckpointMismatch
from dimstream_models.training.segmentation import labelled_frames as frames_of
from dimstream_models.training.segmentation.exporting import (
    Described,
    export_classifier,
    validation_figures,
    write_segmenter,
)
from dimstream_models.training.segmentation.fitting import Effort, Fit, segmentation_loss
from dimstream_models.training.segmentation.frame_library import FrameLibrary, frame_library
from dimstream_models.training.segmentation.network import HALO_PX, STEP, Classifier, SegmentationNetwork

SMALL = Effort(scenes=1, validation_scenes=1, steps=6, batch=2, patch_px=32)


def undenoised(counts: np.ndarray) -> np.ndarray:
    return np.asarray(counts, np.float32)


@pytest.fixture(scope="module")
def library() -> FrameLibrary:
    rng = frames_of.frame_generator(0, "training", 0)
    drawn = list(frames_of.labelled_frames(rng, undenoised, 96))
    return FrameLibrary(
        np.stack([each.image for each in drawn]).astype(np.float16), np.stack([each.labels for each in drawn])
    )


def test_frames_hang_on_the_seed_and_the_purpose_alone() -> None:
    def draw(purpose: frames_of.Purpose) -> list[frames_of.LabelledFrame]:
        return list(frames_of.labelled_frames(frames_of.frame_generator(3, purpose, 1), undenoised, 64))

    first, again, other = draw("training"), draw("training"), draw("held back")
    assert len(first) == frames_of.VARIANTS
    for one, two in zip(first, again, strict=True):
        np.testing.assert_array_equal(one.image, two.image)
        np.testing.assert_array_equal(one.labels, two.labels)
        assert one.image.shape == one.labels.shape == (64, 64)
    assert not np.array_equal(first[0].labels, other[0].labels)


def test_a_detector_that_is_full_counts_no_further() -> None:
    light, rng = np.full((32, 32), 5, np.float32), np.random.default_rng(0)

    def seen(dose_ph: float) -> float:
        frame = frames_of.denoised_frame(rng, undenoised, light, dose_ph=dose_ph, pixel_nm=20, full=2)
        return float(frame.max())

    assert seen(10) == 20
    assert seen(1) > 2  # too few counts for a detector to be full


def test_a_stopped_fit_equals_an_undisturbed_one(library: FrameLibrary, tmp_path: Path) -> None:
    whole = Fit(SMALL, library, library, tmp_path / "whole").go_on()
    part = Fit(SMALL, library, library, tmp_path / "part")
    for _ in range(3):
        part._take_step()
    part._save()
    resumed = Fit(SMALL, library, library, tmp_path / "part")
    assert resumed.step == 3
    for one, two in zip(resumed.go_on().parameters(), whole.parameters(), strict=True):
        torch.testing.assert_close(one, two)
    with pytest.raises(CheckpointMismatch, match="same settings"):
        Fit(Effort(steps=7), library, library, tmp_path / "part")


def test_the_loss_is_least_where_all_is_right() -> None:
    labels = torch.tensor([[[0, 1], [2, 1]]])
    right = 50.0 * torch.nn.functional.one_hot(labels, 3).movedim(-1, 1).float()
    assert float(segmentation_loss(right, labels)) == pytest.approx(0, abs=1e-5)
    assert float(segmentation_loss(-right, labels)) > 1


@pytest.mark.slow
def test_tiles_of_the_network_equal_the_whole_frame() -> None:
    torch.manual_seed(0)
    network = SegmentationNetwork().eval()

    def run(frame: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return np.asarray(network(torch.from_numpy(frame)).numpy())

    image = np.random.default_rng(0).normal(size=(50, 460)).astype(np.float32)
    whole = in_tiles(run, image, step=STEP, halo_px=HALO_PX)
    parts = in_tiles(run, image, step=STEP, halo_px=HALO_PX, tile_px=STEP)
    np.testing.assert_allclose(parts, whole, atol=1e-5)


@pytest.mark.slow
def test_the_bundle_says_what_torch_says(library: FrameLibrary, tmp_path: Path) -> None:
    network = Fit(SMALL, library, library, tmp_path / "run").go_on()
    figures = validation_figures(network, library)
    described = Described(
        effort=SMALL,
        documentation="# Small\n\n## Validation\n\n{validation_er_iou}\n",
        command="none",
        denoiser=shipped_bundle(),
        quality=figures,
    )
    bundle = write_segmenter(tmp_path / "b", network, described, tmp_path / "run")
    assert bundle.classes == frames_of.CLASSES
    assert f"{figures['validation_er_iou']:.3f}" in bundle.documentation
    frame = np.random.default_rng(0).normal(size=(40, 56)).astype(np.float32)
    found = read_class_network(tmp_path / "b").probabilities(frame)
    padded = np.pad((frame - frame.mean()) / frame.std(), ((0, 8), (0, 8)), mode="edge")
    with torch.inference_mode():
        expected = Classifier(network)(torch.from_numpy(padded[None, None])).numpy()[0, :, :40, :56]
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_the_same_network_gives_the_same_file() -> None:
    torch.manual_seed(1)
    classifier = Classifier(SegmentationNetwork(widths=(16, 16, 16)))
    assert export_classifier(classifier) == export_classifier(classifier)


@pytest.mark.slow
def test_kept_frames_are_not_drawn_again(tmp_path: Path) -> None:
    def read() -> FrameLibrary:
        return frame_library(tmp_path, shipped_bundle(), seed=0, purpose="validation", scenes=1, side_px=64)

    first = read()
    (file,) = tmp_path.glob("*.npz")
    before = file.stat().st_mtime_ns
    np.testing.assert_array_equal(read().images, first.images)
    assert file.stat().st_mtime_ns == before
    np.testing.assert_allclose(first.images.astype(np.float32).std(axis=(1, 2)), 1, atol=0.05)
