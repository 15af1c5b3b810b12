"""How far from its test output a model may lie, and who decides."""

import dataclasses
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from dimstream_models import bundle
from dimstream_models.bundle import Bundle, BundleDraft, check_test_output, read_bundle, write_bundle


def stating(written: Bundle, *tolerances: dict[str, Any]) -> Bundle:
    path = written.source / "bioimageio.yaml"
    content = yaml.safe_load(path.read_text())
    content["config"]["bioimageio"] = {"reproducibility_tolerance": list(tolerances)}
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return read_bundle(written.source)


def test_a_bundle_that_states_none_has_the_standards(written: Bundle) -> None:
    assert (written.relative_tolerance, written.absolute_tolerance) == (1e-3, 1e-3)


def test_a_stated_tolerance_holds_and_ends(draft: BundleDraft, tmp_path: Path) -> None:
    stated = 0.004 * float(draft.test_output.max())
    made = write_bundle(tmp_path / "half", dataclasses.replace(draft, absolute_tolerance=stated))
    assert made.absolute_tolerance == stated
    check_test_output(made, draft.test_output + 0.99 * stated)
    with pytest.raises(bundle.TestTensorMismatch, match=r"1536 of 1536 pixels differ"):
        check_test_output(made, draft.test_output + 1.01 * (stated + 1e-3 * draft.test_output))
    with pytest.raises(bundle.TestTensorMismatch):
        check_test_output(made, draft.test_output + 0.99 * stated, absolute=1e-3)


@pytest.mark.slow
def test_bioimageio_core_reads_the_stated_tolerance(draft: BundleDraft, tmp_path: Path) -> None:
    """Output that only the stated tolerance forgives passes core's own test, and fails it without."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # core's own dependencies' deprecations are not ours to fix
        from bioimageio.core import test_model

        off = 0.004 * float(draft.test_output.max())
        shifted = dataclasses.replace(draft, test_output=np.maximum(draft.test_output - off, 0))
        forgiven = dataclasses.replace(shifted, absolute_tolerance=1.5 * off)
        outcomes = [
            test_model(write_bundle(tmp_path / name, each).source / "bioimageio.yaml").status
            for name, each in (("strict", shifted), ("forgiven", forgiven))
        ]
    assert outcomes[0] != "passed"
    assert outcomes[1] == "passed"


def test_the_first_that_concerns_the_weights_and_the_output_counts(written: Bundle) -> None:
    found = stating(
        written,
        {"absolute_tolerance": 0.5, "weights_formats": ["pytorch_state_dict"]},
        {"absolute_tolerance": 0.5, "output_ids": ["other"]},
        {"absolute_tolerance": 0.02, "relative_tolerance": 0.002, "weights_formats": ["onnx"]},
        {"absolute_tolerance": 0.3},
    )
    assert (found.absolute_tolerance, found.relative_tolerance) == (0.02, 0.002)


@pytest.mark.parametrize(
    ("tolerance", "message"),
    [
        ({"absolute_tolerance": 1e6}, r"more than 0\.01 of the test output's largest value"),
        ({"absolute_tolerance": -1.0}, "greater than or equal to 0"),
        ({"relative_tolerance": 0.5}, r"less than or equal to 0\.01"),
        ({"absolute_tolerance": float("nan")}, "finite number"),
    ],
)
def test_a_tolerance_that_would_let_anything_pass_is_refused(
    written: Bundle, tolerance: dict[str, Any], message: str
) -> None:
    with pytest.raises(bundle.InvalidBundle, match=message):
        stating(written, tolerance)
