"""When a frame is believed, and the reason that is given when it is not."""

import math
from typing import Any

import pytest

from dimstream_server.pipeline.flags import Flag, Remembered, Thresholds, judge, obstacle

LAST: dict[str, Any] = {"seq": 4, "t": 4, "shape": (8, 8), "model_sha256": "a", "normalised": "prediction"}
NEXT: dict[str, Any] = {"seq": 5, "t": 5, "shape": (8, 8), "model_sha256": "a", "only_plane": True}
Z_STACK: dict[str, Any] = {"seq": 24, "only_plane": False}

OBSTACLES: dict[str, tuple[dict[str, Any] | None, dict[str, Any], str | None]] = {
    "first": (None, {}, "first frame"),
    "consecutive": ({}, {}, None),
    "one skipped": ({}, {"seq": 6, "t": 6}, "gap: frame 5 skipped"),
    "several skipped": ({}, {"seq": 8, "t": 8}, "gap: frames 5-7 skipped"),
    "skipped, time not named": ({"t": 0}, {"seq": 8, "t": 0}, "gap: frames 5-7 skipped"),
    "time not named": ({"t": 0}, {"t": 0}, None),
    "time missing": ({}, {"t": 7}, "gap: time points 5-6 missing"),
    "time goes back": ({}, {"t": 3}, "gap: time point 3 came after 4"),
    "next of a z-stack": ({}, Z_STACK, None),
    "z-stack with a hole": ({}, Z_STACK | {"t": 6}, "gap: time point 5 missing"),
    "z-stack, time again": ({}, Z_STACK | {"t": 4}, "gap: time point 4 came again"),
    "model": ({"model_sha256": "b"}, {}, "model changed"),
    "shape": ({"shape": (9, 9)}, {}, "shape changed"),
    "failed before": ({"normalised": None}, {}, "the previous frame 4 failed"),
}

JUDGEMENTS: dict[str, tuple[dict[str, Any], Flag]] = {
    "above": ({"ssim": 0.95}, Flag("ok", None)),
    "at": ({"ssim": 0.6}, Flag("ok", None)),
    "below": ({"ssim": 0.31}, Flag("suspect", "SSIM 0.31 below 0.60")),
    "just below": ({"ssim": 0.5996}, Flag("suspect", "SSIM 0.59960 below 0.60000")),
    "obstacle": ({"obstacle": "first frame", "ssim": 0.1}, Flag("unjudged", "first frame")),
    "no threshold": ({"thresholds": Thresholds(None)}, Flag("unjudged", "no SSIM threshold in the bundle")),
    "no number": ({"ssim": math.nan}, Flag("unjudged", "SSIM is not a number")),
    "blank": ({"maximum": 0.0}, Flag("suspect", "blank frame: every pixel is 0")),
    "no signal": ({"background": 1.0}, Flag("suspect", "no signal: no window holds more than 5 photons")),
    "no signal, not calibrated": (
        {"background": 1.0, "thresholds": Thresholds(None)},
        Flag("unjudged", "no SSIM threshold in the bundle"),
    ),
    "blank first": (
        {"minimum": 9.0, "obstacle": "first frame"},
        Flag("suspect", "blank frame: every pixel is 9"),
    ),
}


@pytest.mark.parametrize(("last", "following", "reason"), OBSTACLES.values(), ids=OBSTACLES)
def test_what_hinders_a_comparison(
    last: dict[str, Any] | None, following: dict[str, Any], reason: str | None
) -> None:
    remembered = None if last is None else Remembered(**LAST | last)
    assert obstacle(remembered, **NEXT | following) == reason


@pytest.mark.parametrize(("changes", "flag"), JUDGEMENTS.values(), ids=JUDGEMENTS)
def test_the_flag_and_its_reason(changes: dict[str, Any], flag: Flag) -> None:
    usual = {
        "obstacle": None,
        "ssim": 0.9,
        "thresholds": Thresholds(0.6),
        "minimum": 0.0,
        "maximum": 9.0,
        "background": 0.5,
    }
    assert judge(**usual | changes) == flag
