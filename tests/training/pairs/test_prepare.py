"""`dimstream-train prepare`, from files to a folder that can be trained on, or to nothing at all."""

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import tifffile
from training.pairs.experiments import DOSE_RATIO, SIDE_PX, expose_pair, write_day

from dimstream_models.training.cli import main
from dimstream_models.training.errors import InvalidPairs
from dimstream_models.training.pairs.prepare_folder import prepare
from dimstream_models.training.pairs.prepared import Prepared, PrepareSettings, read_prepared


@pytest.mark.slow
def test_pairs_are_registered_cropped_and_whole(prepared: Prepared) -> None:
    assert len(prepared.fields) == 7
    for field in prepared.fields:
        assert field.shift_px == pytest.approx((1.4, -2.3), abs=0.1)
        assert field.moved
        low, high = prepared.open(field)
        assert high is not None
        assert low.shape == high.shape == field.shape == (SIDE_PX - 3, SIDE_PX - 4)
        assert low.dtype == high.dtype == np.uint16
        seed = int(field.name.rpartition("-")[2])
        np.testing.assert_array_equal(low, expose_pair(seed)[0][3:, :-4])  # low dose is never interpolated
        assert field.correlation is not None
        assert field.correlation > 0.95


def test_roles_follow_the_days_and_no_field_of_view_has_two(prepared: Prepared) -> None:
    assert {field.day for field in prepared.of("test")} == {"day-2"}
    assert {field.day for field in prepared.of("training")} == {"day-1"}
    assert len(prepared.of("validation")) == 1
    assert prepared.index.roles.startswith(
        "day-2 for test, 1 for validation of 4 fields of view, drawn with seed 0"
    )


def test_the_dose_ratio_is_that_of_the_training_fields(prepared: Prepared) -> None:
    assert prepared.dose_ratio() == pytest.approx(DOSE_RATIO, rel=0.05)


def test_each_field_says_where_it_came_from(prepared: Prepared, two_days: list[Path]) -> None:
    (low, high) = prepared.fields[0].sources
    assert (low.path, high.path) == tuple(str(two_days[0] / dose / "field-0.tif") for dose in ("low", "high"))
    assert (low.plane, low.stack) == (0, None)


def test_the_command_prints_the_choice_of_roles(
    two_days: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["prepare", *map(str, two_days), "--out", str(tmp_path / "new" / "out")]) == 0
    printed = capsys.readouterr().out
    assert "training: images 5, fields of view 5" in printed
    assert "1 for validation and 1 for test of 7 fields of view, drawn with seed 0" in printed
    assert len(read_prepared(tmp_path / "new" / "out").fields) == 7


def test_preparing_again_gives_the_same_data(
    two_days: list[Path], tmp_path: Path, prepared: Prepared
) -> None:
    again = prepare(two_days, tmp_path / "again", PrepareSettings(test_days=("day-2",)))
    assert again.sha256 == prepared.sha256


def test_pairs_over_the_bound_are_all_named_and_nothing_is_left(tmp_path: Path) -> None:
    day = write_day(tmp_path / "day", range(4))
    for name, by in (("field-1", 30), ("field-3", -25)):
        image = tifffile.imread(day / "high" / f"{name}.tif")
        tifffile.imwrite(day / "high" / f"{name}.tif", np.roll(image, by, axis=0))
    with pytest.raises(
        InvalidPairs, match="expected pairs of a noisy and a clean image, within 10 px"
    ) as caught:
        prepare([day], tmp_path / "out", PrepareSettings())
    refused = re.findall(r"  (day/field-\d): .* move (\S+) px down", str(caught.value))
    assert [name for name, _ in refused] == ["day/field-1", "day/field-3"]
    assert [float(by) for _, by in refused] == pytest.approx([-30, 25], abs=0.3)
    assert os.listdir(tmp_path) == ["day"]


def test_pairs_over_the_bound_can_be_left_out_and_are_listed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    day = write_day(tmp_path / "day", range(5))
    shutil.copy(day / "high" / "field-0.tif", day / "high" / "field-4.tif")  # another field
    out = tmp_path / "out"
    assert main(["prepare", str(day), "--out", str(out), "--leave-out-refused", "--max-shift", "3"]) == 0
    assert "left out: day/field-4: high dose would have to move" in capsys.readouterr().out
    assert [field.name for field in read_prepared(out).fields] == [f"day/field-{n}" for n in range(4)]
    assert "day/field-4" in (out / "report.html").read_text()


@pytest.mark.slow
def test_without_registration_images_stay_as_they_are(tmp_path: Path) -> None:
    day = write_day(tmp_path / "day", range(3), (4.0, 0.0))
    pairs = prepare([day], tmp_path / "out", PrepareSettings(registered=False))
    for field in pairs.fields:
        assert (field.shift_px, field.moved, field.shape) == (None, False, (SIDE_PX, SIDE_PX))
        np.testing.assert_array_equal(pairs.open(field), expose_pair(int(field.name[-1]), (4.0, 0.0)))


@pytest.mark.slow
def test_planes_of_a_stack_are_fields_of_view_and_frames_of_a_movie_are_one(tmp_path: Path) -> None:
    (tmp_path / "fields").mkdir()
    fields = np.array([expose_pair(seed) for seed in range(6)])
    movie = np.array([np.random.default_rng(n).poisson(expose_pair(7)[1] / 10) for n in range(6)]).astype(
        np.uint16
    )
    for plane, dose in enumerate(("low", "high")):
        tifffile.imwrite(tmp_path / "fields" / f"{dose}.tif", fields[:, plane], photometric="minisblack")
    tifffile.imwrite(tmp_path / "movie.tif", movie, photometric="minisblack")
    pairs = prepare([tmp_path / "fields"], tmp_path / "out", PrepareSettings())
    assert len({field.field_of_view for field in pairs.fields}) == 6
    assert [field.name for field in pairs.fields] == [f"fields[{n}]" for n in range(6)]
    with pytest.raises(InvalidPairs, match="of 1 in all"):
        prepare([tmp_path / "movie.tif"], tmp_path / "movie", PrepareSettings(registered=False))
    told = prepare([tmp_path / "movie.tif"], tmp_path / "movie", PrepareSettings(fields_of_view="planes"))
    assert len({field.field_of_view for field in told.fields}) == 6
    with pytest.raises(InvalidPairs, match="of 1 in all"):
        prepare([tmp_path / "fields"], tmp_path / "again", PrepareSettings(fields_of_view="files"))


def test_a_list_gives_roles_days_and_fields(tmp_path: Path) -> None:
    day = write_day(tmp_path / "day", range(4))
    with (tmp_path / "list.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["low", "high", "day", "field", "role"])
        for seed, role in enumerate(("training", "training", "validation", "test")):
            name = f"field-{seed}.tif"
            writer.writerow(
                [f"day/low/{name}", day / "high" / name, f"day-{seed}", f"cell-{seed // 2}", role]
            )
    pairs = prepare([tmp_path / "list.csv"], tmp_path / "out", PrepareSettings())
    assert [field.role for field in pairs.fields] == ["training", "training", "validation", "test"]
    assert pairs.index.roles == "roles as listed"


def test_offsets_are_subtracted(tmp_path: Path) -> None:
    day = write_day(tmp_path / "day", range(3))
    for path in day.glob("*/*.tif"):
        tifffile.imwrite(path, tifffile.imread(path) + np.uint16(100))
    settings = PrepareSettings(registered=False, subtract_low=100, subtract_high=100)
    pairs = prepare([day], tmp_path / "out", settings)
    np.testing.assert_array_equal(pairs.open(pairs.fields[0]), expose_pair(0))


def test_low_dose_alone_is_stored_alone(tmp_path: Path) -> None:
    day = write_day(tmp_path / "day", range(3))
    shutil.rmtree(day / "high")
    pairs = prepare([day], tmp_path / "out", PrepareSettings())
    assert all(not field.has_high and field.mean_high is None for field in pairs.fields)
    low, high = pairs.open(pairs.fields[1])
    np.testing.assert_array_equal(low, expose_pair(1)[0])
    assert high is None


def image(values: object, dtype: type = np.uint16) -> np.ndarray:
    return np.broadcast_to(np.asarray(values, dtype), (SIDE_PX, SIDE_PX))


UNFIT = {
    "another size": (
        image(1)[1:],
        r"expected images of one shape, got \(1, 96, 96\) in .* and \(1, 95, 96\)",
    ),
    "another type": (
        image(1, np.uint8),
        "expected both images to have the same type, got uint16 at low dose and uint8",
    ),
    "averages among counts": (
        image(0.5, np.float32),
        "expected whole counts like the other images of high dose, got 0.5",
    ),
    "nothing on it": (image(7), "day/field-1: one of its images shows nothing"),
}


@pytest.mark.parametrize(("high", "reason"), UNFIT.values(), ids=UNFIT)
def test_pairs_that_do_not_fit_are_refused_by_name(tmp_path: Path, high: np.ndarray, reason: str) -> None:
    day = write_day(tmp_path / "day", range(3))
    tifffile.imwrite(day / "high" / "field-1.tif", high)
    with pytest.raises(InvalidPairs, match=reason) as caught:
        prepare([day], tmp_path / "out", PrepareSettings())
    assert "day/field-1" in str(caught.value)
    assert os.listdir(tmp_path) == ["day"]


@pytest.mark.parametrize("shape", [(15, 64), (1, 200), (2, 3)])
@pytest.mark.parametrize("registered", [True, False])
def test_images_smaller_than_any_patch_are_refused_by_name(
    tmp_path: Path, shape: tuple[int, int], registered: bool
) -> None:
    image = np.random.default_rng(0).poisson(5.0, shape).astype(np.uint16)
    for dose in ("low", "high"):
        tifffile.imwrite(tmp_path / f"{dose}.tif", image)
    with pytest.raises(InvalidPairs, match=rf"at least 16 px a side.*got {shape[0]} x {shape[1]} px"):
        prepare([tmp_path], tmp_path / "out", PrepareSettings(registered=registered))


def test_images_of_nothing_are_stored_and_reported_without_a_complaint(tmp_path: Path) -> None:
    for dose in ("low", "high"):
        tifffile.imwrite(tmp_path / f"{dose}.tif", np.zeros((4, 32, 32), np.uint16), photometric="minisblack")
    settings = PrepareSettings(registered=False, fields_of_view="planes")
    assert len(prepare([tmp_path], tmp_path / "out", settings).fields) == 4


def test_pairs_and_low_dose_alone_are_not_mixed(tmp_path: Path, two_days: list[Path]) -> None:
    shutil.copytree(two_days[0] / "low", tmp_path / "alone" / "low")
    with pytest.raises(InvalidPairs, match="got none for alone/field-0, alone/field-1"):
        prepare([two_days[1], tmp_path / "alone"], tmp_path / "out", PrepareSettings())


@pytest.mark.slow
def test_pixel_sizes_must_agree_unless_one_is_told(tmp_path: Path) -> None:
    day = write_day(tmp_path / "day", range(3))
    for seed, nm in enumerate((20, 20, 35)):
        for dose, counts in zip(("low", "high"), expose_pair(seed), strict=True):
            scale = {"resolution": (1000 / nm, 1000 / nm), "metadata": {"unit": "um"}}
            tifffile.imwrite(day / dose / f"field-{seed}.tif", counts, imagej=True, **scale)
    with pytest.raises(InvalidPairs, match="got 20 nm in day/field-0 and 35 nm in day/field-2"):
        prepare([day], tmp_path / "out", PrepareSettings())
    assert prepare([day], tmp_path / "told", PrepareSettings(pixel_size_nm=25)).pixel_size_nm == 25
    (day / "low" / "field-2.tif").unlink()
    (day / "high" / "field-2.tif").unlink()
    stated = prepare([day], tmp_path / "out", PrepareSettings(test_share=0))
    assert stated.pixel_size_nm == pytest.approx(20)


@pytest.mark.slow
def test_a_folder_is_replaced_only_when_told_and_only_by_a_whole_one(
    tmp_path: Path, two_days: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    arguments = ["prepare", *map(str, two_days), "--out", str(out)]
    assert main(arguments) == 0
    before = read_prepared(out).sha256
    assert main(arguments) == 2
    assert "give --replace" in capsys.readouterr().err
    assert main([*arguments, "--replace", "--test-day", "never"]) == 2
    assert read_prepared(out).sha256 == before
    assert main([*arguments, "--replace", "--seed", "5"]) == 0
    assert read_prepared(out).index.settings.seed == 5
    assert os.listdir(tmp_path) == ["out"]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").touch()
    assert main(["prepare", *map(str, two_days), "--out", str(tmp_path / "mine"), "--replace"]) == 2
    assert "is no prepared folder" in capsys.readouterr().err


def test_options_out_of_range_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prepare", str(tmp_path), "--out", str(tmp_path / "out"), "--max-shift", "0"]) == 2
    assert "max_shift_px" in capsys.readouterr().err


KILLED = """
import os, signal, sys
from dimstream_models.training.pairs import report
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs start deaf to Ctrl-C
def stop(*_):
    os.kill(os.getpid(), signal.{signal})
report.draw_histograms = stop
from dimstream_models.training.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SIGKILL", "SIGINT"])
def test_a_stopped_command_leaves_nothing_that_looks_finished(
    tmp_path: Path, two_days: list[Path], name: str
) -> None:
    out = tmp_path / "out"
    command = [
        sys.executable,
        "-c",
        KILLED.format(signal=name),
        "prepare",
        *map(str, two_days),
        "--out",
        str(out),
    ]
    ended = subprocess.run(command, capture_output=True, check=False)
    assert ended.returncode == {"SIGKILL": -signal.SIGKILL, "SIGINT": 130}[name]
    assert not out.exists()
    assert not list(tmp_path.rglob("prepared.json"))
    if name == "SIGINT":
        assert not list(tmp_path.iterdir())


class Pictures(HTMLParser):
    """Collects where a page's pictures come from, and what it would have to fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.pictures: list[str] = []
        self.fetched: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("src", "href") and value:
                (self.pictures if value.startswith("data:image/png;base64,") else self.fetched).append(value)


def test_the_report_stands_alone_and_shows_everything(prepared: Prepared) -> None:
    text = (prepared.folder / "report.html").read_text()
    page = Pictures()
    page.feed(text)
    assert (len(page.pictures), page.fetched) == (3 + 6, [])  # shifts, histograms, noise; six overlays
    assert all(field.name in text for field in prepared.fields)
    assert prepared.index.roles in text
    assert re.search(r"low dose: variance/mean (0\.9\d*|1\.0\d*|1) .*: as for photon counts", text)


def test_the_index_is_json_with_a_version(prepared: Prepared) -> None:
    index = json.loads((prepared.folder / "prepared.json").read_text())
    assert index["format_version"] == 1
    assert index["settings"]["max_shift_px"] == 10
