"""`analysis.csv` beside a recording: read by another program, whole after a kill, bounded while it waits."""

import threading
from pathlib import Path

import pandas as pd
import pytest

from dimstream_models.er_figures import FIGURES
from dimstream_server.recording import AnalysedFrame, AnalysisLog
from dimstream_server.recording.analysis_log import ANALYSIS_LOG, MOST_WAITING, read_analysis
from dimstream_server.recording.description import DESCRIPTION

TIMEOUT_S = 60


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / DESCRIPTION).write_text("{}")
    return tmp_path


def found(seq: int, **figures: float | None) -> AnalysedFrame:
    return AnalysedFrame(seq, (0, 1, 2), "ok", 1_000_000_000.25 + seq, "Drawn(radius_px=1, x=2)", figures)


def append(folder: Path, *frames: AnalysedFrame, pixel_um: float | None = 0.02) -> None:
    log = AnalysisLog()
    for one in frames:
        log.append(folder, one, pixel_um).result(TIMEOUT_S)
    log.close()


def test_lines_are_a_table_in_micrometres(folder: Path) -> None:
    append(folder, found(3, gaps=2, gaps_area=100.0, junction_density=0.001), found(7, gaps=None))
    table = pd.read_csv(folder / ANALYSIS_LOG)
    assert table.seq.tolist() == [3, 7]
    assert table[["c", "z", "p"]].to_numpy().tolist() == [[0, 1, 2]] * 2
    assert table.analysis[0] == "Drawn(radius_px=1, x=2)"
    assert table.analysed_at.tolist() == [1_000_000_003.25, 1_000_000_007.25]
    assert table.gaps[0] == 2
    assert table.gaps_area_um2[0] == pytest.approx(100 * 0.02**2)
    assert table.junction_density_per_um2[0] == pytest.approx(0.001 / 0.02**2)
    assert table.loc[1, [one.column(scaled=True) for one in FIGURES.values()]].isna().all()


def test_what_was_written_is_read_again_in_pixels(folder: Path) -> None:
    append(folder, found(3, gaps=2, gaps_area=100.0))
    (one,) = read_analysis(folder, 0.02)
    assert (one.seq, one.plane, one.flag) == (3, (0, 1, 2), "ok")
    assert one.figures["gaps_area"] == pytest.approx(100.0)
    assert one.figures["tubes"] is None


@pytest.mark.parametrize("cut", [1, 40])
def test_half_a_line_of_a_kill_is_cut_and_the_rest_goes_on(folder: Path, cut: int) -> None:
    append(folder, found(1, gaps=1), found(2, gaps=2))
    path = folder / ANALYSIS_LOG
    path.write_bytes(path.read_bytes()[:-cut])
    append(folder, found(3, gaps=3))
    assert pd.read_csv(path).seq.tolist() == [1, 3]


def test_half_a_head_is_made_whole(folder: Path) -> None:
    (folder / ANALYSIS_LOG).write_text("seq,c,z")
    append(folder, found(3, gaps=3))
    assert pd.read_csv(folder / ANALYSIS_LOG).gaps.tolist() == [3]


def test_other_columns_get_a_file_of_their_own(folder: Path) -> None:
    append(folder, found(1, gaps=1))
    append(folder, found(2, gaps=2), pixel_um=None)
    assert pd.read_csv(folder / ANALYSIS_LOG).seq.tolist() == [1]
    assert pd.read_csv(folder / "analysis-2.csv").seq.tolist() == [2]


def test_a_recording_that_was_deleted_stays_so(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="but it was deleted"):
        append(tmp_path, found(1, gaps=1))
    assert not list(tmp_path.iterdir())


def test_so_many_lines_wait_and_no_more(folder: Path) -> None:
    log, gate = AnalysisLog(), threading.Event()
    log._thread.submit(gate.wait, TIMEOUT_S)  # a disk that does not answer
    waiting = [log.append(folder, found(seq, gaps=1), None) for seq in range(MOST_WAITING)]
    assert log.is_full
    gate.set()
    for one in waiting:
        one.result(TIMEOUT_S)
    assert not log.is_full
    log.close()
    assert len(pd.read_csv(folder / ANALYSIS_LOG)) == MOST_WAITING
