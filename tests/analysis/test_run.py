"""`dimstream-analyse run`: from a movie on disk to tables, gone on with after a stop, flags obeyed."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pandas as pd
import pytest
import tifffile

from dimstream_models.analysis import chunks
from dimstream_models.analysis.analysing import GivenLabels, analyse_movie
from dimstream_models.analysis.cli import main
from dimstream_models.analysis.collating import LEFT_OUT
from dimstream_models.analysis.frame import analyse_frame
from dimstream_models.analysis.labels import OURS
from dimstream_models.analysis.movies import read_movie
from dimstream_models.er_figures import FIGURES

FRAMES = 20  # more than a chunk
SIDE = 96


def label_movie() -> np.ndarray:
    """A lattice of tubules whose middle wall is missing in frames 6 to 9 and 15, and a sheet that grows."""
    movie = np.zeros((FRAMES, SIDE, SIDE), np.uint8)
    for t, labels in enumerate(movie):
        for at in (16, 48, 80):
            labels[at - 2 : at + 3] = labels[:, at - 2 : at + 3] = 1
        if t in (6, 7, 8, 9, 15):
            labels[20:45, 46:51] = 0
        labels[60 - t // 5 : 70, 60 - t // 5 : 70] = 2
    return movie


@pytest.fixture
def movie(tmp_path: Path) -> Path:
    return write_movie(tmp_path)


def write_movie(folder: Path) -> Path:
    labels = label_movie()
    rng = np.random.default_rng(0)
    images = rng.poisson(2 + 40.0 * (labels > 0)).astype(np.uint16)
    scale = {"PhysicalSizeX": 0.02, "PhysicalSizeY": 0.02, "TimeIncrement": 4.0, "TimeIncrementUnit": "s"}
    units = {"PhysicalSizeXUnit": "µm", "PhysicalSizeYUnit": "µm"}
    for name, stack in (("movie.ome.tif", images), ("labels.ome.tif", labels)):
        tifffile.imwrite(folder / name, stack, ome=True, metadata={"axes": "TYX", **scale, **units})
    return folder / "movie.ome.tif"


@dataclass(frozen=True)
class Undisturbed:
    """A movie that was analysed in one go: its folder of results, and what the command said."""

    movie: Path
    out: Path
    said: str


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    movie, said = write_movie(tmp_path_factory.mktemp("undisturbed")), io.StringIO()
    with contextlib.redirect_stdout(said):
        assert run(movie, movie.with_name("out")) == 0
    return Undisturbed(movie, movie.with_name("out"), said.getvalue())


def run(movie: Path, out: Path, *more: str | Path) -> int:
    labels = ["--labels", str(movie.with_name("labels.ome.tif"))]
    return main(["run", str(movie), *labels, "--out", str(out), "--workers", "1", *map(str, more)])


def flags(path: Path, of: dict[int, dict[str, Any]], *, pages: bool = False) -> Path:
    lines = [
        {"seq": n, "status": "done", "flag": "ok", "t_acq": 1e9 + 4.0 * n} | of.get(n, {})
        for n in range(FRAMES)
    ]
    if pages:
        lines = [{"event": "skip", "seq_from": 90, "seq_to": 91}] + [
            line | {"page": n} for n, line in enumerate(lines)
        ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


@pytest.mark.slow
def test_tables_hold_every_figure_of_every_frame(undisturbed: Undisturbed) -> None:
    frames = pd.read_parquet(undisturbed.out / "frames.parquet")
    with (undisturbed.out / "frames.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == list(frames.columns)
    assert frames.time_s.tolist() == [4.0 * n for n in range(FRAMES)]
    assert frames.analysed.all()
    for number, labels in enumerate(label_movie()):
        found = analyse_frame(labels).figures
        assert frames.gaps[number] == int(rows[number]["gaps"]) == found["gaps"]
        assert frames.tubule_length_um[number] == pytest.approx(0.02 * found["tubule_length"])
        assert float(rows[number]["gaps_area_um2"]) == pytest.approx(0.0004 * found["gaps_area"])
    assert set(frames.columns) >= {figure.column(scaled=True) for figure in FIGURES.values()}
    assert np.isnan(frames.ssim[0])
    assert frames.ssim[1:].between(0, 1).all()


@pytest.mark.slow
def test_what_changes_is_counted_and_followed(undisturbed: Undisturbed) -> None:
    frames = pd.read_parquet(undisturbed.out / "frames.parquet")
    changes = {name: dict(frames[name][frames[name] > 0]) for name in ("gaps_merged", "gaps_split")}
    assert changes == {"gaps_merged": {6: 1, 15: 1}, "gaps_split": {10: 1, 16: 1}}
    assert pd.isna(frames.gaps_born[0])
    gaps = pd.read_parquet(undisturbed.out / "gaps.parquet")
    split = gaps[gaps.beginning == "split"]
    assert sorted(zip(split.first_frame, split.last_frame, split.ending, strict=True)) == [
        (10, 14, "merged"),
        (16, 19, "unseen"),
    ]
    assert split.last_s.tolist() == [4.0 * n for n in split.last_frame]


@pytest.mark.slow
def test_labels_and_persistence_maps_are_kept(undisturbed: Undisturbed) -> None:
    labels = label_movie()
    assert np.array_equal(tifffile.imread(undisturbed.out / "labels.tif"), labels)
    assert matplotlib.image.imread(undisturbed.out / "figures.png").std() > 0.05
    shares = tifffile.imread(undisturbed.out / "persistence.tif")
    for channel, expected in enumerate((labels > 0, labels == 1, labels == 2)):
        assert np.allclose(shares[channel], expected.mean(axis=0), atol=1e-6)


@pytest.mark.slow
def test_the_summary_has_means_rates_and_lifetimes(undisturbed: Undisturbed) -> None:
    summary = json.loads((undisturbed.out / "summary.json").read_text())
    minutes, area = 19 * 4 / 60, (SIDE * 0.02) ** 2
    assert (summary["analysed"], summary["pairs"], summary["left_out"]) == (FRAMES, 19, {})
    assert summary["observed_min"] == pytest.approx(minutes)
    assert summary["rates"]["gaps_split_per_um2_min"]["value"] == pytest.approx(2 / (minutes * area))
    assert summary["lifetimes"]["gaps"] == {
        "tracks": 2,
        "ended": 1,
        "median_frames": 5.0,
        "median_s": 20.0,
    }
    assert "20 of 20 frames analysed (left out: none), pixels of 20 nm" in undisturbed.said


@pytest.mark.slow
def test_frames_that_cannot_be_trusted_are_left_out_and_counted(movie: Path, tmp_path: Path) -> None:
    lines = flags(tmp_path / "f.jsonl", {0: {"flag": "unjudged"}, 7: {"flag": "suspect"}})
    assert run(movie, tmp_path / "out", "--flags", lines) == 0
    frames = pd.read_parquet(tmp_path / "out" / "frames.parquet")
    assert frames.frame[~frames.analysed].tolist() == [0, 7]
    assert frames.flag[[0, 7]].tolist() == ["unjudged", "suspect"]
    assert frames.foreground[[0, 7]].isna().all()
    assert frames.frame[frames.junctions_born.isna()].tolist() == [0, 1, 7, 8]
    assert frames.frame[frames.ssim.isna()].tolist() == [0, 1, 7, 8]
    gaps = pd.read_parquet(tmp_path / "out" / "gaps.parquet")
    assert not ((gaps.first_frame < 7) & (gaps.last_frame > 7)).any()
    labels = tifffile.imread(tmp_path / "out" / "labels.tif")
    assert (labels[[0, 7]] == LEFT_OUT).all()
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert (summary["left_out"], summary["pairs"]) == ({"unjudged": 1, "suspect": 1}, 16)
    assert run(movie, tmp_path / "all", "--flags", lines, "--take", "ok", "unjudged") == 0
    summary = json.loads((tmp_path / "all" / "summary.json").read_text())
    assert summary["left_out"] == {"suspect": 1}


def test_a_recording_brings_its_flags_and_times(movie: Path, tmp_path: Path) -> None:
    recording = tmp_path / "recording"
    recording.mkdir()
    shutil.copy(movie, recording / "denoised.ome.tif")
    late = {n: {"seq": n + 2, "t_acq": 1e9 + 4.0 * (n + 2)} for n in range(12, FRAMES)}
    flags(recording / "frames.jsonl", late | {3: {"status": "failed", "flag": None}}, pages=True)
    found = read_movie(recording)
    assert [record.number for record in found.records if not record.counts] == [3]
    assert [record.number for record in found.records if not record.follows] == [0, 12]
    assert found.records[12].time_s == 56.0
    assert found.records[3].flag == "failed"


@pytest.mark.slow
def test_a_stopped_analysis_goes_on_where_it_was(
    undisturbed: Undisturbed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[int] = []
    real = chunks.analyse_chunk

    def once(job: chunks.Job, start: int) -> int:
        if done:
            raise KeyboardInterrupt
        done.append(start)
        return real(job, start)

    monkeypatch.setattr("dimstream_models.analysis.analysing.analyse_chunk", once)
    assert run(undisturbed.movie, tmp_path / "out") == 130
    assert not (tmp_path / "out" / "frames.csv").exists()
    monkeypatch.undo()
    later: list[int] = []
    monkeypatch.setattr(
        "dimstream_models.analysis.analysing.analyse_chunk",
        lambda job, start: (later.append(start), real(job, start))[1],
    )
    assert run(undisturbed.movie, tmp_path / "out") == 0
    assert (done, later) == ([0], [16])
    names = ("frames.csv", "junctions.csv", "gaps.csv", "summary.json")
    for name in names:
        assert (tmp_path / "out" / name).read_bytes() == (undisturbed.out / name).read_bytes(), name
    later.clear()
    assert run(undisturbed.movie, tmp_path / "out") == 0
    assert not later


@pytest.mark.slow
def test_several_processes_find_the_same(undisturbed: Undisturbed, tmp_path: Path) -> None:
    movie = undisturbed.movie
    source = GivenLabels(movie.with_name("labels.ome.tif"), OURS)
    one = analyse_movie(read_movie(movie), source, undisturbed.out, workers=1)  # as it is there
    assert analyse_movie(read_movie(movie), source, tmp_path / "two", workers=2) == one


@pytest.mark.slow
def test_the_classical_segmenter_needs_no_labels(
    movie: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(["run", str(movie), "--classical", "--out", str(out), "--workers", "1"]) == 0
    labels = tifffile.imread(out / "labels.tif")
    assert ((labels > 0) == (label_movie() > 0)).mean() > 0.9
    assert "simulated scenes at 1 ph" in capsys.readouterr().out


@pytest.mark.slow
def test_without_a_scale_everything_is_in_pixels(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "m.tif", label_movie()[:3], photometric="minisblack")
    words = ["run", str(tmp_path / "m.tif"), "--labels", str(tmp_path / "m.tif")]
    assert main([*words, "--out", str(tmp_path / "o"), "--workers", "1"]) == 0
    columns = set(pd.read_parquet(tmp_path / "o" / "frames.parquet").columns)
    assert {"gaps_area_px2", "junction_density_per_px2", "tubule_length_px"} <= columns
    rates = json.loads((tmp_path / "o" / "summary.json").read_text())["rates"]
    assert "gaps_lost_per_px2_frame" in rates


def refused(capsys: pytest.CaptureFixture[str], code: int) -> str:
    assert code == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith("dimstream-analyse: ")
    return said


def test_what_cannot_be_analysed_is_refused(
    movie: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "there is none" in refused(capsys, run(tmp_path / "none.tif", tmp_path / "o"))
    assert "denoised.ome.tif" in refused(capsys, run(tmp_path, tmp_path / "o"))
    short = flags(tmp_path / "f.jsonl", {})
    short.write_text(short.read_text().split("\n", 1)[1])
    assert f"each of the {FRAMES} frames, got 19" in refused(
        capsys, run(movie, tmp_path / "o", "--flags", short)
    )
    bad = flags(tmp_path / "f.jsonl", {n: {"flag": "suspect"} for n in range(FRAMES)})
    assert "--take" in refused(capsys, run(movie, tmp_path / "o", "--flags", bad))
    assert "tubule=1" in refused(capsys, run(movie, tmp_path / "o", "--label-values", "x"))
    assert "--label-values" in refused(
        capsys, run(movie, tmp_path / "o", "--label-values", "tubule=1,sheet=5")
    )
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a").write_text("x")
    assert "new or an empty folder" in refused(capsys, run(movie, tmp_path / "full"))


@pytest.mark.slow
def test_other_settings_do_not_go_on_with_a_folder(
    undisturbed: Undisturbed, capsys: pytest.CaptureFixture[str]
) -> None:
    again = run(undisturbed.movie, undisturbed.out, "--sheet-tubules", "tubule")
    assert "other settings" in refused(capsys, again)


def test_labels_must_fit_the_movie(movie: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    labels = movie.with_name("labels.ome.tif")
    tifffile.imwrite(labels, label_movie()[:5], metadata={"axes": "TYX"})
    said = refused(capsys, run(movie, tmp_path / "o"))
    assert f"labels of {FRAMES} frames, as the movie has, got 5" in said
    tifffile.imwrite(labels, label_movie()[:, :50], metadata={"axes": "TYX"})
    assert "labels of (96, 96), got (50, 96)" in refused(capsys, run(movie, tmp_path / "p"))
