import json
from dataclasses import asdict, replace

import pytest

from dimstream_client.errors import RecordError
from dimstream_client.quality import SHIPPED, Thresholds
from dimstream_client.volumes.crop_proposal import rules
from dimstream_client.volumes.judging import Crop, judge_volumes, propose_crop
from dimstream_client.volumes.plane_records import read_records

SPLIT = Thresholds(ssim=0.4, structure_score=5, split=0.6)


def record(z, *, t=0, c=0, p=0, flag="ok", reason=None, split=None, **quality):
    """A line of the flags' file; `quality` changes what is known of a plane that is to be trusted."""
    known = {"structure_score": 20.0, "unsupported_fraction": 0.1, "ssim_z": 0.8 if z else None, **quality}
    known["split"] = None if split is None else {"ssim": split, "refused": None, "t_ms": 1.0}
    index = {"t": t, "c": c, "z": z, "p": p}
    return {"seq": z, "index": index, "status": "done", "flag": flag, "reason": reason, "quality": known}


FIRST = {"flag": "unjudged", "reason": "first frame"}
PLANES = {  # the middle one of three: what is known of it, of the one below, and why it is not trusted
    "structure and like both neighbours": ({}, {}, None),
    "first time point": (FIRST, FIRST, None),
    "unlike the one above": ({"ssim_z": 0.1}, {}, None),
    "unlike the one below": ({}, {"ssim_z": 0.1}, None),
    "at the thresholds": ({"structure_score": 5.0, "ssim_z": 0.4}, {"ssim_z": 0.1}, None),
    "unlike both": ({"ssim_z": 0.1}, {"ssim_z": 0.39}, "unlike its neighbours in depth: SSIM 0.39 below 0.4"),
    "unlike both in the first time point": ({**FIRST, "ssim_z": 0.1}, {"ssim_z": 0.2}, "unlike"),
    "no structure": ({"structure_score": 4.9}, {}, "no structure: score 4.9 below 5"),
    "suspect in time": ({"flag": "suspect", "reason": "SSIM 0.12"}, {}, "suspect: SSIM 0.12"),
    "halves agree": ({"split": 0.6, "ssim_z": 0.1}, {"ssim_z": 0.1}, None),
    "halves disagree": ({"split": 0.59}, {}, "the halves of its photons disagree: SSIM 0.59 below 0.6"),
    "halves agree on noise": ({"split": 0.9, "structure_score": 1.0}, {}, "no structure"),
    "halves agree, time does not": (
        {"split": 0.9, "flag": "suspect", "reason": "saturated"},
        {},
        "suspect",
    ),
    "not compared in depth": ({"ssim_z": None}, {"ssim_z": None}, None),
    "compared with nothing": ({**FIRST, "ssim_z": None}, {"ssim_z": None}, "nothing confirms it"),
    "compared with nothing but its halves": ({**FIRST, "ssim_z": None, "split": 0.7}, {"ssim_z": None}, None),
    "no number": ({**FIRST, "ssim_z": float("nan")}, {"ssim_z": float("nan")}, "nothing confirms it"),
}


@pytest.mark.parametrize(("of_plane", "of_below", "why_not"), PLANES.values(), ids=PLANES)
def test_a_plane_is_trusted_or_is_told_why_not(of_plane, of_below, why_not):
    report = judge_volumes([record(0), record(1, **of_plane), record(2, **of_below)], SPLIT)
    plane = report.volumes[0].planes[1]
    assert plane.trusted == (why_not is None)
    assert (plane.why_not or "").startswith(why_not or "")


def test_without_a_threshold_the_split_check_decides_nothing():
    records = [record(0), record(1, split=0.1), record(2, split=0.9, ssim_z=0.1)]
    planes = judge_volumes(records, replace(SHIPPED, split=None)).volumes[0].planes
    assert [plane.trusted for plane in planes] == [True, True, False]
    assert planes[1].split_ssim == 0.1


CROPS = {  # x: trusted
    "whole stack": ("xxxx", Crop(0, 3)),
    "dark ends are cut": ("..xxx.", Crop(2, 4)),
    "a single plane": ("..x.", Crop(2, 2)),
    "one plane inside is untrusted": ("xx.xx", Crop(0, 4, untrusted=(2,))),
    "also next to an end": (".x.xxx", Crop(1, 5, untrusted=(2,))),
    "several untrusted planes": ("x.x.xx", Crop(0, 5, untrusted=(1, 3))),
    "two planes inside end it": ("xx..xxx", Crop(4, 6, left_out=(0, 1))),
    "the most trusted planes, not the longest way": ("x.x.x..xxxx", Crop(7, 10, left_out=(0, 2, 4))),
    "the first of two": ("xx..xx", Crop(0, 1, left_out=(4, 5))),
    "nothing": ("....", None),
}


@pytest.mark.parametrize(("trusted", "crop"), CROPS.values(), ids=CROPS)
def test_the_crop_is_the_longest_run_of_trusted_planes(trusted, crop):
    assert propose_crop(z for z, mark in enumerate(trusted) if mark == "x") == crop


@pytest.mark.parametrize(("trusted", "crop"), CROPS.values(), ids=CROPS)
def test_a_volume_has_the_crop_of_its_planes(trusted, crop):
    records = [record(z, structure_score=20.0 if mark == "x" else 1.0) for z, mark in enumerate(trusted)]
    report = judge_volumes(reversed(records), SHIPPED)
    assert report.volumes[0].crop == report.series[0].crop == crop


def test_likeness_with_the_plane_below_is_what_that_plane_says_of_the_one_above():
    records = [
        record(z, t=t, c=c, ssim_z=None if z == 0 else t / 10 + c / 100 + z / 1000)
        for t in (0, 1) for c in (0, 1) for z in (0, 1, 2)
    ]  # fmt: skip
    for volume in judge_volumes(records, SHIPPED).volumes:
        one, two = (volume.t / 10 + volume.c / 100 + z / 1000 for z in (1, 2))
        assert [plane.ssim_above for plane in volume.planes] == pytest.approx([None, one, two])
        assert [plane.ssim_below for plane in volume.planes] == pytest.approx([one, two, None])


@pytest.mark.parametrize(("bad_times", "crop"), [(1, Crop(0, 3)), (2, Crop(0, 2))])
def test_the_crop_of_a_series_keeps_what_is_trusted_nearly_always(bad_times, crop):
    records = [
        record(z, t=t, structure_score=1.0 if z == 3 and t < bad_times else 20.0)
        for t in range(10)
        for z in range(4)
    ]
    (series,) = judge_volumes(records, SHIPPED).series
    assert (series.times, series.planes, series.crop) == (10, (0, 1, 2, 3), crop)
    assert series.trusted_share == (1.0, 1.0, 1.0, 1 - bad_times / 10)


def test_channels_and_positions_are_cropped_on_their_own():
    dark = {(0, 0): 0, (1, 0): 2, (0, 1): 1}
    records = [
        record(z, c=c, p=p, structure_score=1.0 if z == at else 20.0)
        for (c, p), at in dark.items()
        for z in range(3)
    ]
    report = judge_volumes(records, SHIPPED)
    assert report.of(0, 0).crop == Crop(1, 2)
    assert report.of(1, 0).crop == Crop(0, 1)
    assert report.of(0, 1).crop == Crop(0, 2, untrusted=(1,))
    assert report.of(1, 1) is None


def test_a_frame_without_a_result_is_not_trusted():
    skipped = {"index": {"t": 0, "c": 0, "z": 1, "p": 0}, "status": "skipped", "flag": "unjudged",
               "reason": "replaced by a newer frame"}  # fmt: skip
    failed = {**record(2), "status": "failed", "quality": None, "error": "out of memory"}
    planes = judge_volumes([record(0, flag="ok"), skipped, failed], SHIPPED).volumes[0].planes
    assert planes[1].why_not == "no result: replaced by a newer frame"
    assert planes[2].why_not == "no result: out of memory"


def test_planes_that_no_record_tells_of_end_a_run_like_any_other():
    records = [record(z) for z in (0, 1, 2, 5, 6)]
    assert judge_volumes(records, SHIPPED).volumes[0].crop == Crop(0, 2, left_out=(5, 6))


UNREADABLE = {
    "movie": ([record(0, t=0), record(0, t=1)], "--axes ZYX"),
    "no records": ([], "z-stack"),
    "plane told twice": ([record(0), record(0)], "two for"),
    "no index": ([{"flag": "ok"}], "index of t, c, z and p"),
    "index by half": ([{**record(0), "index": {"t": 0, "z": 0}}], "index of t, c, z and p"),
    "index below 0": ([record(-1)], "index of t, c, z and p"),
    "old server": ([{**record(0), "quality": None}, record(1)], "`quality`"),
    "text for a number": ([record(0, structure_score="high"), record(1)], "`structure_score`"),
    "truth for a number": ([record(0, ssim_z=True), record(1)], "`ssim_z`"),
    "quality is no object": ([{**record(0), "quality": [1]}, record(1)], "`quality`"),
}


@pytest.mark.parametrize(("records", "says"), UNREADABLE.values(), ids=UNREADABLE)
def test_records_that_are_none_are_refused(records, says):
    with pytest.raises(RecordError, match=says) as refused:
        judge_volumes(records, SHIPPED)
    assert refused.value.code == "bad_field"
    assert "expected" in refused.value.detail


def test_the_report_survives_json():
    report = judge_volumes(
        [record(0), record(1, structure_score=1.0), record(2, ssim_z=float("nan"))], SHIPPED
    )
    told = json.loads(json.dumps(report.as_json(), allow_nan=False))
    assert told["thresholds"] == asdict(SHIPPED)
    assert told["series"][0]["crop"] == {"first": 0, "last": 2, "untrusted": [1], "left_out": []}
    assert told["volumes"][0]["planes"][2]["ssim_above"] is None
    assert told["volumes"][0]["planes"][1]["why_not"] == "no structure: score 1.0 below 5"


def test_records_are_read_from_lines_and_from_an_http_report(tmp_path):
    records = [record(0), record(1)]
    lines, report = tmp_path / "a.jsonl", tmp_path / "a.json"
    lines.write_text("".join(json.dumps(one) + "\n" for one in records))
    report.write_text(json.dumps({"model_sha256": "ab", "frames": records}, indent=2))
    assert read_records(lines) == records
    assert read_records(report) == [{"model_sha256": "ab", **one} for one in records]


@pytest.mark.parametrize(
    ("text", "says"), [("{}\nno JSON\n", "line 2"), ("[1]", "line 1"), ('{"frames": 1}', "`frames`")]
)
def test_a_file_that_holds_no_records_is_refused(tmp_path, text, says):
    (tmp_path / "a.jsonl").write_text(text)
    with pytest.raises(RecordError, match=says):
        read_records(tmp_path / "a.jsonl")


def test_a_stack_is_not_judged_without_a_threshold_of_ssim():
    with pytest.raises(ValueError, match="give --ssim"):
        judge_volumes([record(0), record(1)], Thresholds(ssim=None))


def test_the_thresholds_are_named_in_words():
    assert rules(Thresholds(0.3, structure_score=6)) == "ssim 0.3, structure score 6, split none"
