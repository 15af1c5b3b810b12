"""`dimstream-analyse video`: MP4 files, read again by PyAV, whose codecs are not those that wrote them."""

from __future__ import annotations

import json
from pathlib import Path

import av
import numpy as np
import pytest
import tifffile

from dimstream_models.analysis.cli import main
from dimstream_models.analysis.graph import GraphSettings
from dimstream_models.analysis.movies import FrameRecord
from dimstream_models.analysis.video.drawing import BORDER, HEAD, Layout, draw_pictures, time_text
from dimstream_models.analysis.video.sources import Contrast, Pictures

FRAMES, HEIGHT, WIDTH = 7, 61, 80  # an odd side: H.264 wants even ones
FLAGS = ["unjudged", "ok", "ok", "suspect", "ok", "ok", "failed"]
FACTOR = 6


def denoised(t: int) -> np.ndarray:
    """A plateau of 500 that stays, one of 1000 that moves by ten pixels a frame, and a ramp of light."""
    image = np.full((HEIGHT, WIDTH), 10 * t, np.uint16)
    image[30:40, 5:15] = 500
    image[10:18, 10 * t : 10 * t + 8] = 1000
    return image


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recordings") / "cell"
    folder.mkdir()
    movie = np.array([denoised(t) for t in range(FRAMES)])
    metadata = {"axes": "TYX", "PhysicalSizeX": 0.05, "PhysicalSizeY": 0.05}
    tifffile.imwrite(folder / "denoised.ome.tif", movie, ome=True, metadata=metadata)
    tifffile.imwrite(folder / "raw.ome.tif", movie // 100, ome=True, metadata=metadata)
    lines = [
        {"seq": n, "page": n, "t_acq": 100 + 4.6 * n}
        | ({"status": "failed"} if flag == "failed" else {"status": "done", "flag": flag})
        for n, flag in enumerate(FLAGS)
    ]
    (folder / "frames.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def pictures_of(path: Path) -> list[np.ndarray]:
    """Every picture of a video as PyAV decodes it, (H, W, 3)."""
    with av.open(path) as container:
        (stream,) = container.streams.video
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert stream.average_rate == 15
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]


@pytest.mark.slow
def test_another_program_reads_every_frame_with_its_flag(recording: Path, tmp_path: Path) -> None:
    out = tmp_path / "cell.mp4"
    assert main(["video", str(recording), "--out", str(out)]) == 0
    head = out.read_bytes()
    assert head.index(b"moov") < head.index(b"mdat"), "it can be played while it loads"
    shown = pictures_of(out)
    panel = WIDTH * FACTOR + 2 * BORDER
    assert len(shown) == FRAMES
    assert shown[0].shape == (HEAD + HEIGHT * FACTOR + 2 * BORDER, 2 * panel, 3)
    for t, picture in enumerate(shown):
        right = picture[HEAD + BORDER :, panel + BORDER :].astype(int)
        moving = right[14 * FACTOR, (10 * t + 4) * FACTOR]
        still = right[35 * FACTOR, 10 * FACTOR]
        assert (moving > 235).all(), "the brightest is white"
        assert np.abs(still - 127).max() < 12, "one contrast for all frames"
        red, green, blue = picture[HEAD + 2, panel + 100].astype(int)
        is_red = red > 180 and green < 110 and blue < 110
        is_yellow = red > 180 and green > 150 and blue < 120
        is_violet = blue > 200 and green < 130
        assert (is_red, is_yellow, is_violet) == tuple(
            FLAGS[t] == flag for flag in ("suspect", "unjudged", "failed")
        )
    assert not list(tmp_path.glob("*.partial*"))


@pytest.mark.slow
def test_what_was_found_is_shown_beside_it(recording: Path, tmp_path: Path) -> None:
    source, cell, out = recording / "denoised.ome.tif", tmp_path / "cell", tmp_path / "v.mp4"
    labels = np.zeros((FRAMES, HEIGHT, WIDTH), np.uint8)
    labels[:, 28:34, 5:75], labels[:, 40:58, 40:58] = 1, 2
    tifffile.imwrite(tmp_path / "labels.tif", labels, photometric="minisblack")
    words = ["--labels", str(tmp_path / "labels.tif"), "--flags", str(recording / "frames.jsonl")]
    assert main(["run", str(source), *words, "--out", str(cell), "--workers", "1"]) == 0
    more = ["--cell", str(cell), "--every", "3", "--flags", str(recording / "frames.jsonl")]
    assert main(["video", str(source), *more, "--out", str(out)]) == 0
    shown = pictures_of(out)
    left = WIDTH * FACTOR + 3 * BORDER
    assert len(shown) == 3  # frames 0 and 6 have no labels, 3 is suspect: nothing is drawn on them
    sheet = (slice(HEAD + BORDER + 46 * FACTOR, HEAD + BORDER + 50 * FACTOR), left + 50 * FACTOR)
    assert all(np.ptp(picture[sheet].astype(int), axis=-1).max() < 30 for picture in shown)
    assert main(["video", str(source), *more[:2], "--every", "4", "--out", str(out)]) == 0
    _, fourth = pictures_of(out)
    red, _, blue = fourth[sheet].astype(int).mean(axis=0)
    assert red - blue > 50, "sheets are yellow"


def test_the_scale_bar_is_as_long_as_it_says() -> None:
    """1 µm of 0.02 µm pixels, drawn three times as large, is 150 px."""
    record = FrameRecord(3, 5000.25, "ok", follows=True, counts=True)
    contrasts = {"denoised": Contrast(0.0, 10.0)}
    layout = Layout((100, 200), ("denoised",), 0.02, contrasts, GraphSettings())
    picture = draw_pictures(Pictures(record, None, np.zeros((100, 200)), None), layout)
    white = (picture[HEAD + BORDER : -BORDER] == 255).all(axis=-1)
    assert white[-18:].sum(axis=1).max() == 150


def test_time_is_told_in_hours() -> None:
    assert time_text(5000.25, 3) == "1:23:20.2"
    assert time_text(59.96, 3) == "0:01:00.0"
    assert time_text(None, 17) == "frame 17"


def test_what_cannot_be_shown_is_refused(
    recording: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def said(*words: str | Path) -> str:
        assert main(["video", *map(str, words)]) == 2
        return capsys.readouterr().err

    out = tmp_path / "v.mp4"
    assert "ends in .mp4, got .avi" in said(recording, "--out", tmp_path / "v.avi")
    assert "--every from 1 on" in said(recording, "--out", out, "--every", "0")
    short = tmp_path / "short.tif"
    tifffile.imwrite(short, np.zeros((2, HEIGHT, WIDTH), np.uint16), photometric="minisblack")
    assert f"expected {FRAMES} frames" in said(recording, "--out", out, "--raw", short)
    assert "finished, got" in said(recording, "--out", out, "--cell", tmp_path)
    assert not out.exists()
