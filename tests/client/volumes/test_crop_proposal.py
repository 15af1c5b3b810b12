import json

import pytest

from dimstream_client.quality import Thresholds
from dimstream_client.volumes.crop_proposal import stream_line

THRESHOLDS = Thresholds(ssim=0.3, background_max=5, signal_min=25, structure_score=5, split=None)


def line(z, *, trusted, c=0, t=0):
    quality = {
        "structure_score": 20.0 if trusted else 1.0,
        "unsupported_fraction": 0.1,
        "ssim_z": 0.8 if z else None,
    }
    index = {"t": t, "c": c, "z": z, "p": 0}
    return {"index": index, "status": "done", "flag": "unjudged", "reason": "first frame", "quality": quality}


@pytest.fixture
def flags(tmp_path):
    def write(*channels):
        lines = [
            line(z, trusted=mark == "x", c=c)
            for c, marks in enumerate(channels)
            for z, mark in enumerate(marks)
        ]
        (tmp_path / "a.flags.jsonl").write_text("".join(json.dumps(one) + "\n" for one in lines))
        return tmp_path / "a.flags.jsonl"

    return write


SAID = {  # x: trusted
    "ends": (["..xxx."], "planes 2 to 4 of 0 to 5 can be trusted"),
    "untrusted": (["xx.x.x"], "planes 0 to 5 of 0 to 5 can be trusted, but for 2, 4"),
    "nothing": (["...."], "no plane of 4 can be trusted"),
    "two channels": (
        ["x.xxx.", ".xx.x."],
        "planes 1 to 4 of 0 to 5 can be trusted in all channels and positions, but for 1, 3",
    ),
    "two channels apart": (
        ["xx....", "...xxx"],
        "no plane of 6 can be trusted in all channels and positions",
    ),
    "one channel of nothing": (["xxx", "..."], "no plane of 3 can be trusted in all channels and positions"),
}


@pytest.mark.parametrize(("channels", "says"), SAID.values(), ids=SAID)
def test_a_streamed_volume_is_told_in_a_line(flags, channels, says):
    assert stream_line(flags(*channels), THRESHOLDS) == f"volume: {says}; see dimstream view"


def test_thresholds_are_those_of_the_stream(flags):
    told = stream_line(flags("xxx"), Thresholds(ssim=0.3, structure_score=50))
    assert told == "volume: no plane of 3 can be trusted; see dimstream view"


def test_what_cannot_be_judged_says_why(flags):
    told = stream_line(flags("xxx"), Thresholds())
    assert told.startswith("volume: not judged (expected a threshold `ssim`")
    assert told.endswith("; see dimstream view")
    path = flags("xxx")
    path.write_text(json.dumps({**line(0, trusted=True), "quality": None}) + "\n")
    assert "its server is older" in stream_line(path, THRESHOLDS)
