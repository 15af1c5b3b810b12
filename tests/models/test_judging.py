"""When a frame is believed, the reason that is given when it is not, and what is remembered in between."""

import json
import math
from typing import Any

import numpy as np
import pytest

from dimstream_models.judging import Criteria, Distribution, FlagDecision, FrameMetrics, PlaneJudge
from dimstream_models.quality.count_check import Doubt

SIGNAL = Distribution((0.0, 0.05, 0.5, 1.0), (0.5, 0.7, 0.8, 0.95), pairs=199)
DARK = Distribution((0.0, 0.5, 1.0), (0.0, 0.02, 0.08), pairs=99)
CRITERIA: dict[str, Any] = {
    "ssim": 0.3,
    "split": 0.4,
    "signal": SIGNAL,
    "dark": DARK,
    "frame_interval_s": 4.0,
}
GOOD: dict[str, Any] = {
    "not_comparable": None,
    "ssim": 0.8,
    "ssim_aligned": 0.8,
    "minimum": 0.0,
    "maximum": 9.0,
    "background": 0.5,
    "structure_score": 40.0,
}
CHANGED: dict[str, Any] = {"not_comparable": "model changed", "ssim": None}
LOW: dict[str, Any] = {"ssim": 0.1, "ssim_aligned": 0.1}
EMPTY: dict[str, Any] = {"ssim": 0.02, "ssim_aligned": None, "structure_score": 0.3}


def _judge(
    *frames: dict[str, Any], split_every: int = 0, first_seq: int = 0, **criteria: Any
) -> list[FlagDecision]:
    judge, limits = PlaneJudge(), Criteria(**CRITERIA | criteria)
    return [
        judge.judge(seq, FrameMetrics(**GOOD | changes), limits, split_every=split_every)
        for seq, changes in enumerate(frames, first_seq)
    ]


SINGLE: dict[str, tuple[dict[str, Any], dict[str, Any], str, str | None]] = {
    "above": ({}, {}, "ok", None),
    "at": ({"ssim": 0.3, "ssim_aligned": None}, {}, "ok", None),
    "below": (LOW, {}, "suspect", "SSIM 0.10 below 0.30"),
    "just below": ({"ssim": 0.2999, "ssim_aligned": None}, {}, "suspect", "SSIM 0.29990 below 0.30000"),
    "aligned": ({"ssim": 0.1, "ssim_aligned": 0.7, "shift": (9, -4)}, {}, "ok", None),
    "not_comparable": ({"not_comparable": "first frame", "ssim": None}, {}, "unjudged", "first frame"),
    "no threshold": ({}, {"ssim": None}, "unjudged", "no SSIM threshold in the bundle"),
    "no number": ({"ssim": math.nan, "ssim_aligned": None}, {}, "unjudged", "SSIM is not a number"),
    "blank": ({"maximum": 0.0}, {}, "suspect", "blank frame: every pixel is 0"),
    "blank, no threshold": ({"minimum": 9.0}, {"ssim": None}, "suspect", "blank frame: every pixel is 9"),
    "no signal": (
        {"background": 1.0},
        {},
        "suspect",
        "no signal: no window holds more than 5 photons",
    ),
    "no structure": (EMPTY, {}, "suspect", "no structure: score 0.3 below 5, as noise alone has"),
    "no structure, first": (
        EMPTY | {"not_comparable": "first frame"},
        {},
        "suspect",
        "no structure: score 0.3 below 5, as noise alone has",
    ),
    "no structure, no threshold": (EMPTY, {"ssim": None}, "unjudged", "no SSIM threshold in the bundle"),
    "no structure, not a number": (
        {"structure_score": math.nan},
        {},
        "suspect",
        "no structure: score nan below 5, as noise alone has; predictions are alike (SSIM 0.80) by a fixed"
        " pattern or stray light",
    ),
    "saturated": ({"saturated": 0.2}, {}, "suspect", "saturated: 20.0% of the pixels are at 9"),
    "a little saturated": ({"saturated": 0.005}, {}, "ok", None),
    "unsupported": (
        {"unsupported_fraction": 0.93},
        {},
        "suspect",
        "no photons support 93% of the predicted signal",
    ),
    "unsupported, halves agree": (
        {"unsupported_fraction": 1.0, "split_ssim": 0.9},
        {},
        "suspect",
        "no photons support 100% of the predicted signal",
    ),
    "mostly supported": ({"unsupported_fraction": 0.5}, {}, "ok", None),
    "halves agree": ({"not_comparable": "first frame", "split_ssim": 0.6}, {}, "ok", None),
    "halves disagree": (
        {"split_ssim": 0.1},
        {},
        "suspect",
        "the two halves of its photons disagree: SSIM 0.10 below 0.40",
    ),
    "halves agree on nothing": (
        EMPTY | {"split_ssim": 0.9},
        {},
        "suspect",
        "no structure: score 0.3 below 5, as noise alone has",
    ),
    "halves without a threshold": (
        {"split_ssim": 0.1, "not_comparable": "first frame"},
        {"split": None},
        "unjudged",
        "first frame",
    ),
    "slow frames": (
        LOW | {"frame_interval_s": 60.0},
        {},
        "unjudged",
        "frames 60 s apart, the threshold is for 4 s: SSIM 0.10 may be motion",
    ),
}


@pytest.mark.parametrize(("changes", "criteria", "flag", "reason"), SINGLE.values(), ids=SINGLE)
def test_the_flag_of_a_single_frame_and_its_reason(
    changes: dict[str, Any], criteria: dict[str, Any], flag: str, reason: str | None
) -> None:
    (found,) = _judge(changes, **criteria)
    assert (found.flag, found.reason) == (flag, reason)


@pytest.mark.parametrize("unsupported", [0.81, 0.95, 1.0])
def test_what_no_photons_support_is_never_ok(unsupported: float) -> None:
    rng = np.random.default_rng(8)
    judge, limits = PlaneJudge(), Criteria(**CRITERIA)
    for seq in range(300):
        ssim, split = rng.choice([0.1, 0.32, 0.5, 0.99], 2)
        changes = {
            "not_comparable": None if rng.random() < 0.8 else "gap",
            "ssim": float(ssim),
            "ssim_aligned": float(ssim),
            "structure_score": float(rng.choice([0.0, 6.0, 60.0])),
            "split_ssim": float(split) if rng.random() < 0.5 else None,
            "unsupported_fraction": unsupported if rng.random() < 0.7 else 0.1,
        }
        decision = judge.judge(seq, FrameMetrics(**GOOD | changes), limits, split_every=3)
        assert decision.flag != "ok" or changes["unsupported_fraction"] == 0.1


NOTES: dict[str, tuple[list[dict[str, Any]], tuple[str, ...]]] = {
    "nothing": ([{}], ()),
    "moved": ([{"ssim": 0.3, "ssim_aligned": 0.7, "shift": (0, 5)}], ("moved",)),
    "shifted without gain": ([{"ssim_aligned": 0.82, "shift": (0, 5)}], ()),
    "jump": ([{}, {}, LOW], ("jump",)),
    "changing": ([{"split_ssim": 0.7} | LOW], ("changing",)),
    "fixed pattern": ([{"structure_score": 0.0}], ("fixed_pattern",)),
    "empty": ([EMPTY], ()),
    "unsupported": ([{"unsupported_fraction": 0.6}], ("unsupported",)),
    "half supported": ([{"unsupported_fraction": 0.4}], ()),
    "hardly supported": ([{"unsupported_fraction": 0.9}], ("unsupported",)),
    "empty, of course unsupported": ([EMPTY | {"unsupported_fraction": 1.0}], ()),
    "saturated": ([{"saturated": 1e-4}], ("saturated",)),
    "fading": ([{"structure_score": 60.0}] * 3 + [{"structure_score": 15.0}] * 2, ("fading",)),
    "dimmer": ([{"structure_score": 60.0}] * 3 + [{"structure_score": 32.0}] * 3, ()),
    "dead at once": ([{"structure_score": 60.0}] * 3 + [EMPTY], ()),
    "slow": ([{"frame_interval_s": 13.0}], ("interval",)),
    "a little slow": ([{"frame_interval_s": 11.0}], ()),
}


@pytest.mark.parametrize(("frames", "notes"), NOTES.values(), ids=NOTES)
def test_notes_of_the_last_frame(frames: list[dict[str, Any]], notes: tuple[str, ...]) -> None:
    assert _judge(*frames)[-1].notes == notes


@pytest.mark.parametrize(
    ("known", "pixel_nm", "noted"),
    [
        ((16.0, 25.0), 20.0, False),
        ((16.0, 25.0), 16.0, False),
        ((16.0, 25.0), 25.001, False),  # as sizes in micrometres are rounded
        ((16.0, 25.0), 26.0, True),
        ((16.0, 25.0), 15.0, True),
        ((16.0, 25.0), None, False),
        (None, 35.0, False),
    ],
)
def test_pixels_that_the_model_does_not_know_are_noted(
    known: tuple[float, float] | None, pixel_nm: float | None, noted: bool
) -> None:
    found = _judge({"pixel_size_nm": pixel_nm}, pixel_sizes_nm=known)[-1]
    assert (found.flag, "pixel_size" in found.notes) == ("ok", noted)


def test_one_bad_pair_turns_no_flag() -> None:
    found = _judge({}, {}, LOW, {}, {})
    assert [one.flag for one in found] == ["ok", "ok", "unjudged", "ok", "ok"]
    assert found[2].reason == "jump: SSIM 0.10 below 0.30 for this frame alone"


def test_a_second_bad_pair_does_and_two_good_ones_turn_it_back() -> None:
    found = _judge({}, {}, LOW, LOW, {}, {}, {})
    assert [one.flag for one in found] == ["ok", "ok", "unjudged", "suspect", "suspect", "ok", "ok"]
    assert found[4].reason == "SSIM 0.10, the median of 3 frames, not yet above 0.34"


def test_a_suspect_plane_is_believed_again_only_well_above_the_threshold() -> None:
    barely = {"ssim": 0.32, "ssim_aligned": 0.32}
    assert [one.flag for one in _judge(LOW, barely, barely, barely)] == ["suspect"] * 4
    assert _judge(barely)[0].flag == "ok"
    back = _judge({}, EMPTY, LOW, {})
    assert [one.flag for one in back] == ["ok", "suspect", "unjudged", "ok"]
    assert (back[2].reason, back[2].notes) == ("the frame before showed no structure", ())
    weak = {"structure_score": 6.0}
    assert [one.flag for one in _judge(weak, EMPTY, weak)] == ["ok", "suspect", "suspect"]
    assert _judge(weak, EMPTY, weak)[2].reason == (
        "no structure: score 6.0 below 7, as noise alone has; predictions are alike (SSIM 0.80) by a fixed"
        " pattern or stray light"
    )


def test_the_first_frame_without_structure_is_suspect_at_once() -> None:
    assert [one.flag for one in _judge({}, {}, EMPTY, EMPTY)] == ["ok", "ok", "suspect", "suspect"]


def test_since_when_is_the_first_frame_of_the_run() -> None:
    judge, limits = PlaneJudge(), Criteria(**CRITERIA)
    since = []
    for seq, changes in enumerate([{}, EMPTY, EMPTY, {}, {}, {}, EMPTY], 10):
        judge.judge(seq, FrameMetrics(**GOOD | changes), limits)
        since.append(judge.suspect_since)
    assert since == [None, 11, 11, None, None, None, 16]


def test_an_obstacle_begins_a_new_comparison() -> None:
    flags = [one.flag for one in _judge(LOW, LOW, CHANGED, {}, {})]
    assert flags == ["suspect", "suspect", "unjudged", "ok", "ok"]


GAP: dict[str, Any] = {"gap": "gap: frame 5 skipped"}
AFTER_GAPS: dict[str, tuple[dict[str, Any], dict[str, Any], str, str | None]] = {
    "the same sample": (GAP, {}, "ok", None),
    "unlike, nobody knows how long it was": (
        GAP | LOW,
        {},
        "unjudged",
        "gap: frame 5 skipped; SSIM 0.10 below 0.30, which may be motion",
    ),
    "unlike, soon after": (
        GAP | LOW | {"frame_interval_s": 8.0},
        {"frame_interval_s": 4.0},
        "suspect",
        "SSIM 0.10 below 0.30",
    ),
    "unlike, long after": (
        GAP | LOW | {"frame_interval_s": 13.0},
        {"frame_interval_s": 4.0},
        "unjudged",
        "gap: frame 5 skipped; SSIM 0.10 below 0.30, which may be motion",
    ),
    "other structures": (
        GAP | {"correlation": 0.1},
        {"correlation": 0.35},
        "unjudged",
        "gap: frame 5 skipped; other structures than the frame before: correlation 0.10 below 0.35, which may"
        " be motion",
    ),
}


@pytest.mark.parametrize(("frame", "criteria", "flag", "reason"), AFTER_GAPS.values(), ids=AFTER_GAPS)
def test_after_a_gap_only_likeness_proves_something(
    frame: dict[str, Any], criteria: dict[str, Any], flag: str, reason: str | None
) -> None:
    *_, found = _judge(frame, frame, frame, **criteria)
    assert (found.flag, found.reason) == (flag, reason)
    assert "jump" not in found.notes


def test_other_structures_are_a_jump_once_and_suspect_when_they_go_on() -> None:
    other = {"correlation": 0.1}
    found = _judge({"correlation": 0.9}, {"correlation": 0.9}, other, other, other, correlation=0.35)
    assert [one.flag for one in found] == ["ok", "ok", "unjudged", "suspect", "suspect"]
    why = "other structures than the frame before: correlation 0.10 below 0.35"
    assert [one.reason for one in found[2:]] == [f"jump: {why} for this frame alone", why, why]
    assert found[2].notes == ("jump",)
    back = _judge(other, other, *[{"correlation": 0.9}] * 3, correlation=0.35)
    assert [one.flag for one in back] == ["suspect", "suspect", "suspect", "ok", "ok"]


def test_without_a_threshold_of_the_bundle_correlation_is_not_judged() -> None:
    (found,) = _judge({"correlation": -0.2})
    assert found.flag == "ok"


def test_halves_that_agree_confirm_until_the_next_split() -> None:
    asked = {"split_ssim": 0.7}
    found = _judge(asked | LOW, LOW, LOW, LOW, split_every=3)
    assert [one.flag for one in found] == ["ok", "ok", "ok", "suspect"]
    found = _judge(asked, CHANGED, LOW, split_every=8)
    assert [one.flag for one in found] == ["ok", "unjudged", "suspect"]
    found = _judge(asked, EMPTY, {"split_ssim": 0.1}, {}, split_every=3)
    assert [one.flag for one in found] == ["ok", "suspect", "suspect", "ok"]


def test_a_confirmation_holds_for_frames_of_the_plane_and_ends_with_a_failed_one() -> None:
    judge, limits = PlaneJudge(), Criteria(**CRITERIA)

    def flag(seq: int, **changes: Any) -> str:
        return judge.judge(seq, FrameMetrics(**GOOD | LOW | changes), limits, split_every=3).flag

    assert [flag(0, split_ssim=0.7), flag(20), flag(40), flag(60)] == ["ok", "ok", "ok", "suspect"]
    assert flag(80, split_ssim=0.7) == "ok"
    judge.lost()
    assert flag(100) == "suspect"


PROBABILITIES = [
    # SSIM, of signal at most that, of dark at least that
    (0.01, 1 / 200, 0.75),
    (0.05, 1 / 200, 0.25),
    (0.3, 1 / 200, 1 / 100),
    (0.6, 0.025, 1 / 100),
    (0.75, 0.275, 1 / 100),
    (0.99, 1.0, 1 / 100),
]


@pytest.mark.parametrize(("ssim", "p_signal", "p_dark"), PROBABILITIES)
def test_probabilities_are_read_from_the_calibrations_quantiles(
    ssim: float, p_signal: float, p_dark: float
) -> None:
    (found,) = _judge({"ssim": ssim, "ssim_aligned": None})
    assert (found.p_signal, found.p_dark) == pytest.approx((p_signal, p_dark))


def test_probabilities_of_the_calibration_itself_are_uniform() -> None:
    values = np.random.default_rng(0).beta(8, 2, 4000)
    shares = (0.0, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 1.0)
    known = Distribution.of({f"{q:g}": float(np.quantile(values, q)) for q in shares}, len(values))
    found = np.array([known.at_most(value) for value in values])
    for level in (0.05, 0.2, 0.5, 0.8):
        assert (found <= level).mean() == pytest.approx(level, abs=0.02)


def test_nothing_is_said_of_a_bundle_without_a_calibration() -> None:
    (found,) = _judge({}, signal=None, dark=None)
    assert (found.flag, found.p_signal, found.p_dark) == ("ok", None, None)


NO_COUNTS: dict[str, Any] = {"doubt": Doubt("values come in steps of 5")}
WHY = "no photon counts: values come in steps of 5"


def test_what_is_no_photon_counts_is_never_ok_and_every_reason_says_so() -> None:
    first = NO_COUNTS | {"not_comparable": "first frame"}
    found = _judge(
        first, NO_COUNTS, NO_COUNTS | EMPTY, NO_COUNTS | {"saturated": 0.5, "structure_score": 40.0}
    )
    assert [one.flag for one in found] == ["unjudged", "unjudged", "suspect", "suspect"]
    assert [one.reason for one in found[:2]] == [f"first frame; {WHY}", WHY]
    assert all((one.reason or "").endswith(f"; {WHY}") for one in found[2:])
    assert all("not_photons" in one.notes for one in found)


def test_not_even_halves_that_agree_make_it_ok() -> None:
    (found,) = _judge(NO_COUNTS | {"split_ssim": 0.9}, split_every=1)
    assert (found.flag, found.reason) == ("unjudged", WHY)


def test_the_first_finding_holds_over_frames_that_tell_nothing_and_ends_after_eight() -> None:
    other = {"doubt": Doubt("variance/mean 5")}
    found = _judge(NO_COUNTS, other, *[{}] * 7, NO_COUNTS, *[{}] * 9)
    assert [one.reason for one in found] == [WHY] * 17 + [None] * 2
    assert [one.flag for one in found] == ["unjudged"] * 17 + ["ok"] * 2


def test_what_is_only_doubtful_is_a_note() -> None:
    (found,) = _judge({"doubt": Doubt("variance/mean 1.4", certain=False)})
    assert (found.flag, found.reason, found.notes) == ("ok", None, ("doubtful_counts",))


def test_of_values_that_are_no_photon_counts_missing_support_says_nothing() -> None:
    found = _judge({"unsupported_fraction": 0.93}, NO_COUNTS | {"unsupported_fraction": 0.93})
    assert [one.flag for one in found] == ["suspect", "unjudged"]
    assert "unsupported" in found[1].notes


def test_a_refused_split_stands_in_the_reason_until_the_next_is_asked() -> None:
    refused, agreed = {"split_refused": "read noise"}, {"split_ssim": 0.9}
    found = _judge(refused, {}, {}, agreed, {}, {}, refused, {}, {}, split_every=3)
    assert [one.flag for one in found] == ["unjudged"] * 3 + ["ok"] * 3 + ["unjudged"] * 3
    assert {one.reason for one in found[:3]} == {"its photons could not be split: read noise"}


def test_clipped_output_is_noted_and_suspect_above_one_percent() -> None:
    few, many = _judge({"clipped": 0.002}, {"clipped": 0.3125})
    assert (few.flag, few.notes) == ("ok", ("clipped",))
    assert (many.flag, many.notes) == ("suspect", ("clipped",))
    assert (many.reason or "").startswith("clipped: 31.2%")


def test_a_wild_pixel_is_a_note() -> None:
    (found,) = _judge({"outlier": True})
    assert (found.flag, found.notes) == ("ok", ("outlier_pixel",))


@pytest.mark.parametrize("broken_at", range(1, 14))
def test_a_judge_of_its_state_goes_on_the_same(broken_at: int) -> None:
    refused: dict[str, Any] = {"split_refused": "read noise"}
    frames = [NO_COUNTS, *[{}] * 9, refused, {}, {}, {"split_ssim": 0.9}, {}]
    limits = Criteria(**CRITERIA)
    whole, broken = PlaneJudge(), PlaneJudge()
    for seq, changes in enumerate(frames):
        if seq == broken_at:
            broken = PlaneJudge.of_state(json.loads(json.dumps(broken.state())))
        metrics = FrameMetrics(**GOOD | changes)
        expected = whole.judge(seq, metrics, limits, split_every=3)
        assert broken.judge(seq, metrics, limits, split_every=3) == expected
