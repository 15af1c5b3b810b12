"""What the command leaves on disk, read back by programs that know nothing of it."""

import base64
import csv
import io
import json
import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.image import imread
from shipped import BUNDLE

from dimstream_models.training.cli import main
from dimstream_models.training.evaluation.evaluate import Evaluation
from dimstream_models.training.evaluation.metric_tables import KINDS, METRICS, Figure, Row
from dimstream_models.training.evaluation.pictures import draw_distributions, draw_pair, scale_bar_nm
from dimstream_models.training.evaluation.report import warnings
from dimstream_models.training.evaluation.writing import write_report

pytestmark = pytest.mark.slow

XHTML = "{http://www.w3.org/1999/xhtml}"


@pytest.fixture(scope="module")
def report(evaluation: Evaluation, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("out") / "deep" / "report"
    write_report(evaluation, folder)
    return folder


@pytest.fixture(scope="module")
def page(report: Path) -> ElementTree.Element:
    """The page as XML: parsing fails on the first tag that is not closed."""
    return ElementTree.fromstring((report / "report.html").read_text(encoding="utf-8"))


def test_the_table_holds_every_figure_of_every_image(evaluation: Evaluation, report: Path) -> None:
    with (report / "figures.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [(line["image"], line["kind"]) for line in lines] == [
        (row.image, row.kind) for row in evaluation.rows
    ]
    assert len(lines) == 5 * len(KINDS)
    for line, row in zip(lines, evaluation.rows, strict=True):
        psnr, resolution = (row.figures.get(key) for key in ("psnr", "decorrelation"))
        assert line["psnr_db"] == ("" if psnr is None else str(psnr.value))
        if resolution is not None and resolution.value is not None:
            assert float(line["decorrelation_px"]) == resolution.value
            assert float(line["decorrelation_nm"]) == 20 * resolution.value
        assert line["lpips"] == ""
        assert float(line["data_range"]) == row.data_range


def test_the_summary_is_json_with_settings_statements_and_reasons(report: Path) -> None:
    summary = json.loads((report / "summary.json").read_text())
    assert summary["bundle"]["id"] == "er-sted-light"
    assert summary["images"] == 5
    assert summary["settings"]["skip"] == 8
    assert summary["statements"]["Scale"].startswith("Kind `prediction` is what the server delivers")
    lpips = [each for each in summary["absent"] if each["figure"] == "lpips"]
    assert {each["kind"] for each in lpips} == {"noisy", "filter", "prediction", "fitted", "floor"}
    assert all(each["images"] == 5 and "no weights" in each["reason"] for each in lpips)
    tested = {(each["figure"], *each["between"]): each["mark"] for each in summary["tests"]}
    assert tested["ssim", "noisy", "prediction"] == "**"


def test_the_page_asks_for_nothing_from_elsewhere(page: ElementTree.Element) -> None:
    assert [
        each.tag for each in page.iter() if each.tag.removeprefix(XHTML) in ("script", "link", "iframe")
    ] == []
    addresses = [
        value for each in page.iter() for name, value in each.attrib.items() if name in ("src", "href")
    ]
    assert len(addresses) == 4  # three pairs, one picture of distributions
    assert all(address.startswith("data:image/png;base64,") for address in addresses)
    style = page.find(f"{XHTML}head/{XHTML}style")
    assert style is not None
    assert "url(" not in (style.text or "")
    assert "@import" not in (style.text or "")


def test_the_pages_pictures_are_pictures(page: ElementTree.Element) -> None:
    for each in page.iter(f"{XHTML}img"):
        png = base64.b64decode(each.attrib["src"].split(",")[1])
        assert imread(io.BytesIO(png)).std() > 0.05
        assert len(each.attrib["alt"]) > 80


def test_the_page_shows_every_image_kind_and_mark(evaluation: Evaluation, page: ElementTree.Element) -> None:
    cells = [["".join(cell.itertext()) for cell in row] for row in page.iter(f"{XHTML}tr")]
    for row in evaluation.rows:
        (found,) = (line for line in cells if line[:3] == [row.image, "day1", row.kind])
        assert len(found) == 3 + len(METRICS)
    assert ["SSIM", "noisy and prediction", "0", "0.007937", "**"] in cells


def test_a_report_stands_only_where_all_of_it_is_written(
    evaluation: Evaluation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kill while the table is written, after an earlier evaluation into the same folder."""
    write_report(evaluation, tmp_path)

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("dimstream_models.whole_files.os.fsync", die)
    with pytest.raises(KeyboardInterrupt):
        write_report(evaluation, tmp_path)
    assert not (tmp_path / "report.html").exists()
    json.loads((tmp_path / "summary.json").read_text())  # the earlier one, whole


def test_names_of_files_are_escaped(evaluation: Evaluation, tmp_path: Path) -> None:
    rows = tuple(replace(row, image="<b>&\"'") for row in evaluation.rows)
    changed = Evaluation(evaluation.bundle, "<i>", evaluation.settings, rows, ())
    write_report(changed, tmp_path)
    page = ElementTree.fromstring((tmp_path / "report.html").read_text())
    assert "<b>&\"'" in "".join(page.itertext())
    assert not list(page.iter(f"{XHTML}b"))


def test_predictions_on_another_scale_are_warned_of(evaluation: Evaluation) -> None:
    calm = list(evaluation.rows)
    assert not any("gain" in warning for warning in warnings(calm))
    far = [replace(row, line=(0.014, 0.0)) if row.kind == "fitted" else row for row in calm]
    assert any("the median gain of the fit to the truth is 0.014" in warning for warning in warnings(far))


def test_predictions_sharper_than_their_truth_are_warned_of(evaluation: Evaluation) -> None:
    def with_resolution(truth_px: float) -> list[Row]:
        sharpness = {"prediction": 3.0, "truth": truth_px}
        return [
            replace(row, figures={**row.figures, "rfrc_mean": Figure(sharpness.get(row.kind))})
            for row in evaluation.rows
        ]

    assert list(warnings(with_resolution(2.9))) == []
    (warning,) = warnings(with_resolution(4.0))
    assert "in finer detail (rolling FRC, median 60 nm) than two images of the truth (80 nm)" in warning


def test_few_pairs_are_warned_of(evaluation: Evaluation) -> None:
    one = [row for row in evaluation.rows if row.image == "day1/field3"]
    assert list(warnings(one))[-1] == "1 pair is too few for a distribution."


def test_scale_bars_are_round_and_fit() -> None:
    assert [scale_bar_nm(width) for width in (12_000, 6_000, 2_000, 700, 30)] == [2000, 1000, 500, 100, 10]


def test_pictures_are_drawn_of_whatever_there_is(evaluation: Evaluation) -> None:
    shown = evaluation.shown[0][1]
    blank = replace(shown, pixel_size_nm=None, resolution_px=np.full_like(shown.truth, np.nan))
    assert imread(io.BytesIO(draw_pair(blank))).shape[1] > 1000
    assert imread(io.BytesIO(draw_distributions(evaluation.rows[:5], []))).shape[1] > 1000


def test_the_command_writes_the_report(one: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "report"
    arguments = [
        "evaluate",
        str(BUNDLE),
        str(one),
        "--out",
        str(out),
        "--pixel-size-nm",
        "20",
        "--skip",
        "16",
    ]
    assert main([*arguments, "--line", "0,0,50,60"]) == 0
    sentence, place = capsys.readouterr().out.splitlines()
    assert sentence.startswith("On 1 pair the model is better than the noisy image by ")
    assert place == str(out / "report.html")
    assert sorted(path.name for path in out.iterdir()) == ["figures.csv", "report.html", "summary.json"]
    assert json.loads((out / "summary.json").read_text())["settings"]["line"] == [[0, 0], [50, 60]]


WEIGHTS = ("--lpips-trunk", "vgg.pth", "--lpips-trunk-sha256", "00" * 32, "--lpips-heads", "heads.pth")
REFUSED = {
    "no pairs": (["{tmp}/none", "--out", "{tmp}/out"], "none"),
    "a file where the folder goes": (
        ["{one}", "--out", "{one}"],
        "expected a writable folder for the report",
    ),
    "a skip of nothing": (["{one}", "--out", "{tmp}/out", "--skip", "0"], "a skip from 1 to 32 px"),
    "a trunk without its hash": (
        ["{one}", "--out", "{tmp}/out", "--lpips-trunk", "vgg.pth"],
        "--lpips-trunk-sha256",
    ),
    "a trunk that is not there": (
        ["{one}", "--out", "{tmp}/out", *WEIGHTS],
        "vgg.pth",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_the_command_says_what_is_wrong(
    case: str, one: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments, message = REFUSED[case]
    places = [each.format(tmp=tmp_path, one=one) for each in arguments]
    assert main(["evaluate", str(BUNDLE), *places]) == 2
    assert re.search(message, capsys.readouterr().err)
    assert not list(tmp_path.glob("out/*"))


@pytest.mark.parametrize("option", [["--pixel-size-nm", "0"], ["--data-range", "nan"], ["--line", "1,2,3"]])
def test_options_that_cannot_be_are_refused_by_the_parser(
    option: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["evaluate", str(BUNDLE), "pairs", "--out", str(tmp_path / "out"), *option])
    assert f"argument {option[0]}: expected " in capsys.readouterr().err
