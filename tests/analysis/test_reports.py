"""`dimstream-analyse report`: figure 3 as a page, a picture and a document, read again by other programs."""

from __future__ import annotations

import base64
import json
import re
import xml.etree.ElementTree as ET
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image
from scipy import ndimage

from dimstream_models.analysis.cli import main
from dimstream_models.analysis.labels import Structure
from dimstream_models.analysis.reports.cell import AnalysedCell, FlagSpan, read_cell
from dimstream_models.analysis.reports.overlays import SHEET, coloured, node_places
from dimstream_models.analysis.reports.panels import running_mean, three_digits
from dimstream_models.analysis.reports.shown_frames import ShownFrame, choose_frames, read_frames
from dimstream_models.analysis.scale_bar import scale_bar

FRAMES = 12
SIDE = 80
FLAGS = ["unjudged", *["ok"] * 5, "suspect", "suspect", *["ok"] * 4]


def labels_of(t: int) -> np.ndarray:
    """A lattice of tubules, one of whose walls is missing in odd frames, and a sheet."""
    labels = np.zeros((SIDE, SIDE), np.uint8)
    for at in (16, 44):
        labels[at - 2 : at + 3] = labels[:, at - 2 : at + 3] = 1
    if t % 2:
        labels[14:19, 22:36] = 0
    labels[56:74, 56:74] = 2
    return labels


@pytest.fixture(scope="module")
def analysed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `movie.ome.tif` and its analysis, `cell`."""
    folder = tmp_path_factory.mktemp("analysed")
    labels = np.array([labels_of(t) for t in range(FRAMES)])
    images = np.random.default_rng(0).poisson(2 + 40.0 * (labels > 0)).astype(np.uint16)
    scale = {"PhysicalSizeX": 0.02, "PhysicalSizeY": 0.02, "TimeIncrement": 30.0, "TimeIncrementUnit": "s"}
    for name, stack in (("movie.ome.tif", images), ("labels.ome.tif", labels)):
        tifffile.imwrite(folder / name, stack, ome=True, metadata={"axes": "TYX", **scale})
    lines = [{"seq": n, "status": "done", "flag": flag} for n, flag in enumerate(FLAGS)]
    (folder / "flags.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    words = ["--labels", folder / "labels.ome.tif", "--flags", folder / "flags.jsonl", "--workers", "1"]
    assert main(["run", *map(str, [folder / "movie.ome.tif", *words, "--out", folder / "cell"])]) == 0
    return folder


@pytest.fixture
def cell(analysed: Path) -> AnalysedCell:
    return read_cell(analysed / "cell")


@pytest.mark.slow
def test_one_command_makes_page_picture_and_document(analysed: Path, tmp_path: Path) -> None:
    assert main(["report", str(analysed / "cell"), "--out", str(tmp_path), "--frames", "1", "10"]) == 0
    with Image.open(tmp_path / "cell-figure.png") as figure:
        assert min(figure.size) > 1000
    pdf = (tmp_path / "cell-figure.pdf").read_bytes()
    assert pdf.startswith(b"%PDF-")
    assert len(re.findall(rb"/Type /Page\b", pdf)) == 2
    page = ET.fromstring((tmp_path / "report.html").read_text(encoding="utf-8").partition("\n")[2])
    text = " ".join(" ".join(page.itertext()).split())
    for said in (
        "9 of 12 frames over 5 min 30 s were analysed, with pixels of 20 nm",
        "1 unjudged, 2 suspect of 12 frames; 3 of these were left out of all figures",
        "labels of another program, labels.ome.tif",
        "was not measured for these labels",
    ):
        assert said in text, text
    sources = [image.attrib["src"] for image in page.iter("{http://www.w3.org/1999/xhtml}img")]
    assert len(sources) == 3
    for source in sources:
        png = base64.b64decode(source.removeprefix("data:image/png;base64,"))
        with Image.open(BytesIO(png)) as image:
            assert np.asarray(image.convert("L")).std() > 5


def test_a_cell_is_read_with_its_flags_and_times(cell: AnalysedCell) -> None:
    assert list(cell.flag_spans()) == [FlagSpan(0, 0, "unjudged"), FlagSpan(6, 7, "suspect")]
    assert cell.analysed_frames() == [1, 2, 3, 4, 5, 8, 9, 10, 11]
    axis = cell.time_axis()
    assert (axis.unit, axis.text(11)) == ("minutes", "5 min 30 s")
    assert np.isnan(cell.series("gaps")[[0, 6, 7]]).all()
    assert cell.mean("gaps").value == pytest.approx(np.nanmean(cell.series("gaps")))


def test_frames_are_chosen_among_those_that_were_analysed(cell: AnalysedCell) -> None:
    assert choose_frames(cell) == [1, 4, 8, 11]
    assert choose_frames(cell, frames=[9, 2, 2]) == [2, 9]
    assert choose_frames(cell, times_min=[0.0, 3.1]) == [1, 5]


def test_an_overlay_shows_what_was_found(cell: AnalysedCell) -> None:
    (shown,) = read_frames(cell, [2])
    assert np.array_equal(shown.labels, labels_of(2))
    picture = coloured(ShownFrame(2, np.zeros_like(shown.image), shown.labels), (0.0, 1.0))
    assert np.allclose(picture[65, 65] / picture[65, 65].max(), np.array(SHEET) / max(SHEET))
    assert not picture[shown.labels == Structure.BACKGROUND].any()
    blue = (picture[..., 2] > 0) & (picture[..., 0] == 0)
    assert np.array_equal(blue, shown.labels == Structure.TUBULE)


def test_nodes_are_drawn_where_the_labels_end_and_cross(cell: AnalysedCell) -> None:
    from dimstream_models.analysis.graph import tubule_graph

    free, other, three, more = node_places(tubule_graph(labels_of(0), cell.graph))
    assert len(free) == len(three) == 0
    assert len(other) == 8  # at the border
    crossings = ndimage.distance_transform_edt(labels_of(0) > 0)
    assert len(more) == 4
    assert all(crossings[tuple(np.rint(place).astype(int))] >= 3 for place in more)


def refused(capsys: pytest.CaptureFixture[str], *words: str | Path) -> str:
    assert main(["report", *map(str, words)]) == 2
    return capsys.readouterr().err


def test_what_cannot_be_reported_is_refused(
    analysed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cell, out = analysed / "cell", tmp_path / "out"
    assert "run` of this version finished" in refused(capsys, tmp_path, "--out", out)
    assert "got 0, 6, 99 of 12 frames" in refused(capsys, cell, "--out", out, "--frames", "0", "6", "99")
    assert "more than once" in refused(capsys, cell, cell, "--out", out)
    other = tmp_path / "other.tif"
    other.write_bytes(b"x")
    assert "got one of 1: give its path" in refused(capsys, cell, "--out", out, "--movie", other)
    assert "found nothing there" in refused(capsys, cell, "--out", out, "--movie", tmp_path / "none.tif")
    assert "with one cell" in refused(capsys, cell, cell, "--out", out, "--movie", other)
    assert not (out / "report.html").exists()


@pytest.mark.parametrize(
    ("width", "pixel_um", "text", "length_px"),
    [(600, 0.02, "2 µm", 100.0), (256, 0.02, "1 µm", 50.0), (64, 0.1, "1 µm", 10.0)],
)
def test_a_scale_bar_has_a_round_length(width: int, pixel_um: float, text: str, length_px: float) -> None:
    bar = scale_bar(width, pixel_um)
    assert bar is not None
    assert (bar.text, bar.length_px) == (text, pytest.approx(length_px))
    assert scale_bar(width, None) is None


def test_a_running_mean_leaves_out_what_is_not_known() -> None:
    values = np.arange(12.0)
    values[5] = np.nan
    smooth = running_mean(values)
    assert np.isnan(smooth[5])
    assert smooth[[1, 4, 6]].tolist() == [1.0, 3.5, 6.5]


def test_numbers_keep_their_zeros() -> None:
    assert [three_digits(value) for value in (0.33, 13.2, 100.0, 0.5)] == ["0.330", "13.2", "100", "0.500"]
