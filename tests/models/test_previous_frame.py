"""Which frame is compared with which."""

from typing import Any

import pytest

from dimstream_models.judging import PreviousFrame, gap_before, why_not_comparable

LAST: dict[str, Any] = {"seq": 4, "t": 4, "shape": (8, 8), "model_sha256": "a", "normalised": "prediction"}
NEXT: dict[str, Any] = {"seq": 5, "t": 5, "shape": (8, 8), "model_sha256": "a", "only_plane": True}
Z_STACK: dict[str, Any] = {"seq": 24, "only_plane": False}

OBSTACLES: dict[str, tuple[dict[str, Any] | None, dict[str, Any], str | None]] = {
    "first": (None, {}, "first frame"),
    "consecutive": ({}, {}, None),
    "skipped": ({}, {"seq": 8, "t": 8}, None),
    "time not named": ({"t": 0}, {"t": 0}, None),
    "skipped, time not named": ({"t": 0}, {"seq": 8, "t": 0}, None),
    "time goes back": ({}, {"t": 3}, "time point 3 came after 4"),
    "next of a z-stack": ({}, Z_STACK, None),
    "z-stack with a hole": ({}, Z_STACK | {"t": 6}, None),
    "z-stack, time again": ({}, Z_STACK | {"t": 4}, "time point 4 came again"),
    "model": ({"model_sha256": "b"}, {}, "model changed"),
    "shape": ({"shape": (9, 9)}, {}, "shape changed"),
    "failed before": ({"normalised": None}, {}, "the previous frame 4 failed"),
}


@pytest.mark.parametrize(("last", "following", "reason"), OBSTACLES.values(), ids=OBSTACLES)
def test_what_hinders_a_comparison(
    last: dict[str, Any] | None, following: dict[str, Any], reason: str | None
) -> None:
    remembered = None if last is None else PreviousFrame(**LAST | last)
    assert why_not_comparable(remembered, **NEXT | following) == reason


GAPS: dict[str, tuple[dict[str, Any], dict[str, Any], str | None, int]] = {
    "consecutive": ({}, {}, None, 1),
    "one skipped": ({}, {"seq": 6, "t": 6}, "gap: frame 5 skipped", 2),
    "several skipped": ({}, {"seq": 8, "t": 8}, "gap: frames 5-7 skipped", 4),
    "skipped, time not named": ({"t": 0}, {"seq": 8, "t": 0}, "gap: frames 5-7 skipped", 4),
    "time not named": ({"t": 0}, {"t": 0}, None, 1),
    "time missing": ({}, {"t": 7}, "gap: time points 5-6 missing", 3),
    "next of a z-stack": ({}, Z_STACK, None, 1),
    "z-stack with a hole": ({}, Z_STACK | {"t": 6}, "gap: time point 5 missing", 2),
}


@pytest.mark.parametrize(("last", "following", "words", "steps"), GAPS.values(), ids=GAPS)
def test_what_is_missing_before_a_frame(
    last: dict[str, Any], following: dict[str, Any], words: str | None, steps: int
) -> None:
    after = {name: (NEXT | following)[name] for name in ("seq", "t", "only_plane")}
    assert gap_before(PreviousFrame(**LAST | last), **after) == (words, steps)
