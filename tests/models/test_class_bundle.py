"""Bundles that say what each pixel shows: written, read, checked, and refused where they cannot be right."""

import gc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from class_bundles import CLASSES, class_config, class_draft, probabilities

from dimstream_models.bundle import (
    Clip,
    InvalidBundle,
    ScalePercentiles,
    TestTensorMismatch,
    UnsupportedModel,
    apply_steps,
    check_test_tensor,
    open_draft,
    read_bundle,
    write_bundle,
)

STEP_AFTER = "  postprocessing:\n  - id: scale_linear\n    kwargs:\n      gain: 2.0\n"


def test_it_names_its_classes_and_reproduces_its_test_output(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "b", class_draft())
    assert bundle.classes == CLASSES
    assert bundle.test_output.shape == (1, 3, 32, 40)
    check_test_tensor(bundle, probabilities)
    with pytest.raises(TestTensorMismatch, match="does not reproduce"):
        check_test_tensor(bundle, lambda frame: probabilities(frame)[:, ::-1])
    with pytest.raises(TestTensorMismatch, match="shape"):
        check_test_tensor(bundle, lambda frame: probabilities(frame)[:, :1])


def test_it_can_be_opened_and_written_again(tmp_path: Path) -> None:
    first = write_bundle(tmp_path / "a", class_draft())
    with open_draft(first.source) as draft:
        second = write_bundle(tmp_path / "b", draft)
    for name in ("bioimageio.yaml", "weights.onnx", "test_output.npy"):
        assert (second.source / name).read_bytes() == (first.source / name).read_bytes()


def test_percentiles_of_the_frame_scale_its_input(tmp_path: Path) -> None:
    steps = (ScalePercentiles(1, 99, 1e-6), Clip(0.0, 1.0))
    bundle = write_bundle(tmp_path / "b", class_draft(preprocessing=steps))
    low, high = np.percentile(bundle.test_input, (1, 99))
    found = apply_steps(read_bundle(bundle.source).preprocessing, bundle.test_input)
    expected = np.clip((bundle.test_input - low) / (high - low + 1e-6), 0, 1)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"pixel_size_nm": None}, "pixel_size_nm"),
        ({"class_output": {"classes": ["tubule", "sheet"], "frames": "raw", "halo_px": 0}}, "begin with"),
        (
            {"class_output": {"classes": ["background", "er", "er"], "frames": "raw", "halo_px": 0}},
            "must differ",
        ),
        ({"class_output": {"classes": ["background"], "frames": "raw", "halo_px": 0}}, "at least 2"),
        ({"class_output": {"classes": list(CLASSES), "frames": "noisy", "halo_px": 0}}, "denoised"),
        (
            {
                "thresholds": {
                    "ssim": None,
                    "background_max": 5,
                    "signal_min": 25,
                    "window_px": 10,
                    "split": 0.4,
                }
            },
            "not judged",
        ),
        (
            {"rescaling": {"method": "normalisation", "data": "d", "images": 0, "pixels": 0}},
            "does not denoise: rescaling",
        ),
    ],
)
def test_what_contradicts_itself_is_refused(fields: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        class_config(**fields)


def test_an_output_that_is_no_probability_is_refused(tmp_path: Path) -> None:
    draft = class_draft()
    with pytest.raises(InvalidBundle, match="add up to 1"):
        write_bundle(tmp_path / "b", replace(draft, test_output=2 * draft.test_output))
    with pytest.raises(InvalidBundle, match="2 channels, expected 3 classes"):
        write_bundle(tmp_path / "b", replace(draft, test_output=draft.test_output[:, :2]))


def test_channels_and_processing_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "b", class_draft()).source
    file = folder / "bioimageio.yaml"
    text = file.read_text()
    file.write_text(text.replace("    - tubule\n    - sheet\n", "    - sheet\n    - tubule\n", 1))
    with pytest.raises(UnsupportedModel, match="one channel for each class"):
        read_bundle(folder)
    file.write_text(text.replace("weights:\n", STEP_AFTER + "weights:\n", 1))
    with pytest.raises(UnsupportedModel, match="expected none for probabilities"):
        read_bundle(folder)
    with pytest.raises(InvalidBundle, match="are for counts"):
        write_bundle(tmp_path / "c", replace(class_draft(), gain=2.0))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
def test_bioimageio_core_passes_it(tmp_path: Path) -> None:
    core = pytest.importorskip("bioimageio.core")
    bundle = write_bundle(tmp_path / "b", class_draft())
    summary = core.test_model(bundle.source / "bioimageio.yaml")
    gc.collect()
    assert summary.status == "passed", summary.format()
