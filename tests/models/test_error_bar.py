"""The second network of a bundle: read with its record, refused when a part is missing or does not fit."""

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from dimstream_models.bundle import (
    Bundle,
    BundleDraft,
    BundleError,
    ErrorBarCoverage,
    ErrorBarRecord,
    InvalidBundle,
    MissingFile,
    NotOnnx,
    TestTensorMismatch,
    check_error_bar,
    open_draft,
    read_bundle,
    scale_factor,
    write_bundle,
)

SOURCE, TEST_OUTPUT = "error_bar.onnx", "error_bar_test.npy"


def network() -> bytes:
    """The sum of both inputs."""
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 1, "y", "x"])
        for name in ("counts", "prediction", "sd")
    ]
    node = helper.make_node("Add", ["counts", "prediction"], ["sd"])
    graph = helper.make_graph([node], "sum", ends[:2], ends[2:])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    content: bytes = made.SerializeToString()
    return content


def record(**fields: Any) -> ErrorBarRecord:
    coverage = ErrorBarCoverage(
        dose_photons=(0.1, 1.0), structure="edge", pixels=100, within_one=0.68, within_two=0.95
    )
    values = {
        "source": SOURCE, "test_output": TEST_OUTPUT, "step": 8, "method": "made up", "seed": 1,
        "photons_per_count": 0.5, "coverage": (coverage,),
    }  # fmt: skip
    return ErrorBarRecord(**{**values, **fields})


@pytest.fixture
def with_error_bar(draft: BundleDraft, tmp_path: Path) -> BundleDraft:
    """The draft of `conftest`, with an error bar that is one count everywhere on the test frame."""
    (tmp_path / SOURCE).write_bytes(network())
    np.save(tmp_path / TEST_OUTPUT, np.ones_like(draft.test_input))
    files = {name: tmp_path / name for name in (SOURCE, TEST_OUTPUT)}
    config = draft.config.model_copy(update={"error_bar": record()})
    return replace(draft, config=config, attachments={**draft.attachments, **files})


def test_it_is_read_as_it_was_written_and_changes_no_weight(
    with_error_bar: BundleDraft, draft: BundleDraft, tmp_path: Path
) -> None:
    plain = write_bundle(tmp_path / "plain", draft)
    bundle = write_bundle(tmp_path / "b", with_error_bar)
    assert plain.error_bar is None
    assert bundle.error_bar is not None
    assert (bundle.error_bar.record, bundle.error_bar.onnx) == (record(), network())
    assert (bundle.sha256, bundle.onnx) == (plain.sha256, plain.onnx)
    assert bundle.error_bar.test_output.shape == bundle.test_input.shape


def test_it_survives_being_written_again(with_error_bar: BundleDraft, tmp_path: Path) -> None:
    first = write_bundle(tmp_path / "b", with_error_bar)
    before = {path.name: hashlib.sha256(path.read_bytes()).digest() for path in first.source.glob("*.*")}
    with open_draft(first.source) as again:
        second = write_bundle(tmp_path / "c", again)
    assert before == {p.name: hashlib.sha256(p.read_bytes()).digest() for p in second.source.glob("*.*")}


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"source": "elsewhere.onnx"}, MissingFile, "not one of the attachments"),
        ({"source": TEST_OUTPUT}, NotOnnx, "is not an ONNX model"),
        ({"test_output": SOURCE}, InvalidBundle, "expected a .npy file"),
    ],
)
def test_parts_that_do_not_fit_are_refused(
    with_error_bar: BundleDraft,
    tmp_path: Path,
    fields: dict[str, str],
    error: type[BundleError],
    message: str,
) -> None:
    config = with_error_bar.config.model_copy(update={"error_bar": record(**fields)})
    with pytest.raises(error, match=message):
        write_bundle(tmp_path / "b", replace(with_error_bar, config=config))


def test_a_test_output_of_another_shape_is_refused(with_error_bar: BundleDraft, tmp_path: Path) -> None:
    np.save(tmp_path / TEST_OUTPUT, np.ones((1, 1, 8, 8), np.float32))
    with pytest.raises(InvalidBundle, match="expected that of the test input"):
        write_bundle(tmp_path / "b", with_error_bar)


def test_it_must_reproduce_its_test_output(with_error_bar: BundleDraft, tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "b", with_error_bar)
    ones = np.full_like(bundle.test_input, 1 / scale_factor(bundle.postprocessing))
    check_error_bar(bundle, lambda _, prediction: prediction, ones)
    check_error_bar(read_bundle(bundle.source), lambda _, prediction: 1.009 * prediction, ones)
    with pytest.raises(TestTensorMismatch, match="error-bar network"):
        check_error_bar(bundle, lambda _, prediction: 1.1 * prediction, ones)


def test_a_bundle_without_one_needs_no_check(draft: BundleDraft, tmp_path: Path) -> None:
    bundle: Bundle = write_bundle(tmp_path / "b", draft)
    check_error_bar(bundle, lambda *_: 1 / 0, bundle.test_input)
