"""What the command leaves on disk, read back by programs that know nothing of it."""

import csv
import io
import json
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import tifffile
from matplotlib.image import imread
from shipped import BUNDLE

from dimstream_models.bundle import read_bundle
from dimstream_models.training.audit.auditing import Audit, AuditSettings
from dimstream_models.training.audit.writing import COLUMNS, write_audit
from dimstream_models.training.cli import main

pytestmark = pytest.mark.slow

XHTML = "{http://www.w3.org/1999/xhtml}"
PICTURES = {
    "claims.png",
    "delays.png",
    "false_alarms.png",
    "gallery.png",
    "histograms.png",
    "missed.png",
    "pixels.png",
    "roc.png",
}


def test_the_folder_holds_all_files_and_nothing_else(quick: Path) -> None:
    assert {path.name for path in quick.iterdir()} == PICTURES | {"audit.json", "frames.csv", "report.html"}
    for name in PICTURES:
        assert imread(io.BytesIO((quick / name).read_bytes())).std() > 0.05


def test_the_figures_say_what_they_were_made_of(quick: Path) -> None:
    figures = json.loads((quick / "audit.json").read_text())
    assert figures["bundle"]["weights_sha256"] == read_bundle(BUNDLE).sha256
    assert figures["settings"] == {"seed": 4, "movies": 2, "split_every": 4, "quick": True}
    assert "--quick" in figures["command"]
    assert {"numpy", "onnxruntime"} <= set(figures["versions"])
    assert sorted(Path(name).name for name in figures["recorded_files"]) == ["<dark>.tif", "lit.tif"]
    assert {goal["reached"] for goal in figures["goals"]} <= {True, False, None}


def test_every_figure_has_both_intervals_and_both_worlds(quick: Path) -> None:
    figures = json.loads((quick / "audit.json").read_text())
    areas = {row["score"]: row for row in figures["areas"] if row["condition"] is None}
    assert set(areas["structure_score"]["by_physics"]) == {"simulator", "other"}
    for row in (*figures["areas"], *figures["false_alarms"], *figures["missed_frames"]):
        low, high = row["bootstrap_95"]
        single_low, single_high = row["movies_as_units_95"]
        assert low <= row["value"] <= high
        assert single_low <= row["value"] <= single_high
    assert areas["decision_alone"]["value"] > 0.9


def test_the_table_has_a_row_for_each_frame(quick: Path) -> None:
    figures = json.loads((quick / "audit.json").read_text())
    with (quick / "frames.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS
    assert len(rows) == figures["simulated_frames"] + 5 + 1
    lit = [row for row in rows if row["condition"] == "lit.tif"]
    assert [row["frame"] for row in lit] == list("01234")
    assert lit[0]["ssim"] == ""
    assert float(lit[1]["ssim"]) > 0.3
    assert [bool(row["split_ssim"]) for row in lit] == [True, False, False, False, True]
    dead = [row for row in rows if row["kind"] == "dying" and row["dose_photons"] == "0.0"]
    assert dead
    assert all(int(row["frame"]) >= int(row["changes_at"]) for row in dead)


def test_recorded_files_have_a_row_each(quick: Path) -> None:
    lit, dark = json.loads((quick / "audit.json").read_text())["recorded"]
    assert (lit["file"], lit["role"], lit["frames"], lit["note"]) == ("lit.tif", "signal", 5, "")
    assert lit["wrong"]["alone"]["frames"] == 4
    assert (dark["file"], dark["role"], dark["frames"]) == ("<dark>.tif", "dark", 1)
    assert dark["note"].startswith("only one frame")
    assert dark["wrong"]["alone"]["events"] == 0


def test_the_page_is_whole_and_asks_for_nothing_from_elsewhere(quick: Path) -> None:
    page = ElementTree.fromstring((quick / "report.html").read_text(encoding="utf-8"))
    images = list(page.iter(f"{XHTML}img"))
    assert len(images) == len(PICTURES)
    assert all(each.attrib["src"].startswith("data:image/png;base64,") for each in images)
    assert not list(page.iter(f"{XHTML}script"))
    assert not list(page.iter(f"{XHTML}dark"))  # names of files are escaped
    text = "".join(page.itertext())
    assert "<dark>.tif" in text
    assert "A quick audit" in text
    cells = ["".join(cell.itertext()) for cell in page.iter(f"{XHTML}td")]
    assert cells.count("reached") >= 2


def test_a_report_stands_only_where_all_of_it_is_written(
    quick: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kill while the table is written, after an earlier audit into the same folder."""
    (tmp_path / "report.html").write_text("of an earlier one")

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("dimstream_models.whole_files.os.fsync", die)
    with pytest.raises(KeyboardInterrupt):
        write_audit(Audit(read_bundle(BUNDLE), AuditSettings(), (), ()), tmp_path, command="")
    assert not (tmp_path / "report.html").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--movies", "0"], "expected at least one movie"),
        (["--signal", "nowhere.tif"], "there is no such file"),
        (["--dark", "tiny.tif"], "at least 16 px"),
    ],
)
def test_what_cannot_be_audited_is_said_before_the_work(
    options: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    tifffile.imwrite("tiny.tif", np.zeros((3, 12, 30), np.uint16), photometric="minisblack")
    assert main(["audit", str(BUNDLE), "--out", "report", *options]) == 2
    assert said in capsys.readouterr().err
    assert list((tmp_path / "report").iterdir()) == []
