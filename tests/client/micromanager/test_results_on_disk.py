"""`dimstream micromanager --out`: images that other readers understand, and runs that end early."""

import errno
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile

from dimstream_client.cli import main
from dimstream_client.files import open_images
from dimstream_client.micromanager import ResultFolder

pytest.importorskip("pymmcore_plus")

PLAN = """
time_plan: {interval: 0, loops: 2}
channels: [DAPI, FITC]
z_plan: {range: 1, step: 0.5}
stage_positions: [{x: 0, y: 0, z: 0}, {x: 10, y: 0, z: 0}]
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    movie = np.random.default_rng(0).poisson(5.0, (60, 16, 24)).astype(np.uint16)
    movie[:, 0, 0] = np.arange(60)
    np.save("movie.npy", movie)
    return tmp_path


def lines(path):
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


def movie_command(server, frames, *more):
    command = ["micromanager", "movie.npy", "--frames", str(frames), "--exposure-ms", "1", "--quiet"]
    return [*command, "--interval-s", "0.01", "--out", "run", *more, "--server", server.endpoint]


def resume(server, out):
    return main(["micromanager", "--resume", "--out", out, "--quiet", "--server", server.endpoint])


def test_every_plane_of_the_demo_camera_lies_where_its_event_says(folder, peer):
    from mm_test_adapters import device_adapter_path

    Path("plan.yaml").write_text(PLAN)
    command = ["micromanager", str(Path(device_adapter_path()) / "MMConfig_demo.cfg"), "--quiet"]
    command += ["--adapters", device_adapter_path(), "--mda", "plan.yaml", "--exposure-ms", "1"]
    assert main([*command, "--out", "run", "--server", peer().endpoint]) == 0
    found = lines("run/run-0001.flags.jsonl")
    assert len(found) == 24
    with tifffile.TiffFile("run/run-0001.ome.tif") as file:
        assert file.is_ome
        assert len(file.series) == 2
        assert all(set("TZC") < set(one.axes) for one in file.series)
        pages = [page.asarray() for page in file.pages]
        for line, page in zip(found, pages, strict=True):
            at = line["index"]
            series = file.series[at["p"]]
            place = tuple(at[axis.lower()] for axis in series.axes[:-2])
            assert np.array_equal(series.asarray()[place], page)
    with open_images(Path("run/run-0001.ome.tif")) as stack:
        assert stack.scale.channels == ("DAPI", "FITC")
        assert stack.scale.z_step_um == 0.5
        assert stack.scale.square_pixel_um == 1.0
    assert sorted(path.name for path in Path("run").iterdir() if path.name[0] != ".") == [
        "run-0001.flags.jsonl",
        "run-0001.ome.tif",
        "spool",
    ]
    assert not list(Path("run/spool").iterdir())


def test_another_run_gets_files_of_its_own_and_a_frame_that_failed_is_zeros(folder, peer):
    assert main(movie_command(peer(), 4)) == 0
    assert main(movie_command(peer(refuse={1: ["not_finite"]}), 4)) == 1
    first, second = (tifffile.imread(f"run/run-000{n}.ome.tif") for n in (1, 2))
    assert first[:, 0, 0].tolist() == [0, 1, 2, 3]
    assert second[:, 0, 0].tolist() == [0, 0, 2, 3]
    assert [line["seq"] for line in lines("run/run-0002.flags.jsonl")] == [0, 2, 3]


@pytest.mark.slow
def test_what_a_killed_computer_had_acquired_is_finished_by_resume(folder, peer, eventually, capfd):
    server = peer()
    server.until = 5
    program = "import sys; from dimstream_client.cli import main; sys.exit(main(sys.argv[1:]))"
    with subprocess.Popen([sys.executable, "-c", program, *movie_command(server, 40)]) as process:
        try:
            eventually(lambda: len(list(Path("run").glob("spool/*/*.frame"))) >= 30, timeout_s=240)
        finally:
            process.kill()
    assert len(lines("run/run-0001.flags.jsonl")) == 5
    with Path("run/run-0001.flags.jsonl").open("a") as file:
        file.write('{"seq": 5, "half a line')
    assert main(movie_command(server, 4)) == 2
    assert "finish it by --resume" in capfd.readouterr().err
    shutil.copytree("run", "moved")
    server.until = float("inf")
    resumed_where_it_was(server)
    assert resume(server, "run") == 0
    assert "there is nothing to resume" in capfd.readouterr().out
    sent_again_to_a_server_that_knows_nothing(peer())
    assert "sent again, as a stream of their own" in capfd.readouterr().err


def resumed_where_it_was(server):
    assert resume(server, "run") == 0
    found = lines("run/run-0001.flags.jsonl")
    assert len(found) >= 30
    assert [line["seq"] for line in found] == list(range(len(found)))
    assert [line["event"] for line in found] == [{"t": n} for n in range(len(found))]
    assert {line["settings"]["exposure_ms"] for line in found} == {1.0}
    with tifffile.TiffFile("run/run-0001.ome.tif") as file:
        assert file.series[0].axes == "TYX"
        assert file.asarray()[:, 0, 0].tolist() == list(range(len(found)))
    assert not list(Path("run/spool").iterdir())


def sent_again_to_a_server_that_knows_nothing(server):
    assert resume(server, "moved") == 0
    first, second = (tifffile.imread(f"moved/run-000{n}.ome.tif")[:, 0, 0].tolist() for n in (1, 2))
    assert first == [0, 1, 2, 3, 4]
    assert second == [0] * 5 + list(range(5, len(second)))  # each frame at its own time point
    assert len(second) >= 30
    assert [line["event"]["t"] for line in lines("moved/run-0002.flags.jsonl")] == second[5:]
    assert not list(Path("moved/spool").iterdir())


def test_results_wait_while_the_disk_is_full_and_none_is_lost(folder, peer, monkeypatch, caplog):
    from dimstream_client.files.page_writer import PageWriter

    monkeypatch.setattr("dimstream_client.micromanager.result_images._RETRY_S", 0.01)
    full = iter(range(3))
    write = PageWriter.write

    def write_or_fail(self, pixels, **options):
        if self.written == 2 and next(full, None) is not None:
            self._writer.filehandle.write(b"half a page")
            raise OSError(errno.ENOSPC, "No space left on device")
        write(self, pixels, **options)

    monkeypatch.setattr(PageWriter, "write", write_or_fail)
    assert main(movie_command(peer(), 6)) == 0
    assert sum("cannot be written, its results wait" in one.message for one in caplog.records) == 1
    assert tifffile.imread("run/run-0001.ome.tif")[:, 0, 0].tolist() == [0, 1, 2, 3, 4, 5]


def test_two_programs_do_not_write_into_one_folder(folder, peer, capfd):
    with ResultFolder("run", spool="run/spool"):
        assert main(movie_command(peer(), 2)) == 3
    assert "another program writes into run" in capfd.readouterr().err


WRONG = {
    "no folder to resume": (["--resume", "--out", "none"], "nothing to resume"),
    "resuming nowhere": (["--resume"], "--resume needs --out"),
    "flags and a folder": (["movie.npy", "--frames", "1", "--out", "o", "--flags", "f"], "leave --flags out"),
    "no microscope": (["--frames", "1"], "name the configuration"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_does_not_fit_together_is_refused(folder, peer, capfd, name):
    words, said = WRONG[name]
    assert main(["micromanager", *words, "--server", peer().endpoint]) in (2, 3)
    assert said in capfd.readouterr().err
