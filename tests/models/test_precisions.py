"""What a bundle says of predictions in another precision: their own thresholds, or none."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from dimstream_models.bundle import (
    Bundle,
    BundleDraft,
    Difference,
    PrecisionRecord,
    PrecisionThresholds,
    read_bundle,
    write_bundle,
)
from dimstream_models.judging import Criteria


def _record(draft: BundleDraft, **thresholds: Any) -> PrecisionRecord:
    assert draft.config.calibration is not None
    difference = Difference(movies="simulated", frames=2, largest=0.01, quantile_999=0.005, mean=0.001)
    return PrecisionRecord(
        runtime="openvino 2026.4.1",
        processor="a processor",
        emulated=True,
        signal=difference,
        dark=difference,
        thresholds=PrecisionThresholds(**{"ssim": 0.5, **thresholds}),
        calibration=draft.config.calibration.model_copy(update={"auc": 0.97}),
    )


def _bundle(draft: BundleDraft, folder: Path, **precisions: PrecisionRecord) -> Bundle:
    thresholds = draft.config.thresholds.model_copy(
        update={"split": 0.4, "correlation": 0.3, "structure_score": 6.0}
    )
    config = draft.config.model_copy(update={"thresholds": thresholds, "precisions": precisions})
    return read_bundle(write_bundle(folder / "bundle", replace(draft, config=config)).source)


def test_float32_is_what_was_read(draft: BundleDraft, tmp_path: Path) -> None:
    bundle = _bundle(draft, tmp_path, bfloat16=_record(draft))
    assert bundle.in_precision("float32") is bundle
    assert bundle.thresholds.ssim == 0.6


def test_a_precision_has_its_own_thresholds_of_predictions_and_those_of_raw_frames(
    draft: BundleDraft, tmp_path: Path
) -> None:
    bundle = _bundle(draft, tmp_path, bfloat16=_record(draft, split=0.7)).in_precision("bfloat16")
    limits = bundle.thresholds
    assert (limits.ssim, limits.split, limits.correlation) == (0.5, 0.7, None)
    assert (limits.structure_score, limits.background_max, limits.signal_min) == (6.0, 5, 25)
    assert bundle.config is not None
    assert bundle.config.calibration is not None
    assert bundle.config.calibration.auc == 0.97
    assert bundle.config.correlation_calibration is None
    assert bundle.in_precision("bfloat16") is bundle


def test_without_a_calibration_nothing_is_judged_by_predictions(draft: BundleDraft, tmp_path: Path) -> None:
    bundle = _bundle(draft, tmp_path, bfloat16=_record(draft)).in_precision("float16")
    limits = bundle.thresholds
    assert (limits.ssim, limits.split, limits.correlation) == (None, None, None)
    criteria = Criteria.of(bundle)
    assert (criteria.signal, criteria.dark, criteria.correlation) == (None, None, None)
    assert criteria.why_no_threshold == "no SSIM threshold for float16 in the bundle"
    assert limits.structure_score == 6.0


def test_a_precision_is_not_made_of_another(draft: BundleDraft, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="float32 thresholds, got one for bfloat16"):
        _bundle(draft, tmp_path).in_precision("bfloat16").in_precision("float16")


def test_a_bundle_of_others_has_no_thresholds_in_any_precision(draft: BundleDraft, tmp_path: Path) -> None:
    other = replace(_bundle(draft, tmp_path), config=None).in_precision("bfloat16")
    assert other.thresholds.ssim is None


def test_records_are_written_and_read_and_left_out_where_there_are_none(
    draft: BundleDraft, tmp_path: Path
) -> None:
    record = _record(draft, correlation=0.25)
    bundle = _bundle(draft, tmp_path, bfloat16=record)
    assert bundle.config is not None
    assert bundle.config.precisions == {"bfloat16": record}
    silent = write_bundle(tmp_path / "silent", draft)
    assert "precisions" not in (silent.source / "bioimageio.yaml").read_text()


def test_float32_is_no_lower_precision(draft: BundleDraft) -> None:
    with pytest.raises(ValidationError, match="precisions"):
        type(draft.config).model_validate({**draft.config.model_dump(), "precisions": {"float32": {}}})
