"""`dimstream denoise FOLDER OUT_FOLDER` against a peer that echoes pixels."""

import csv
import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import tifffile
from image_cases import make_cases

from dimstream_client import file_streaming, folder_lock
from dimstream_client.cli import main
from dimstream_client.errors import Code
from dimstream_client.folders.record import LOCK
from dimstream_client.folders.scanning import RECORD, natural_key, scan

RNG = np.random.default_rng(11)
DIMSTREAM = Path(sys.executable).with_name("dimstream")


def movie(path, frames=3, side=8, dtype="uint16"):
    data = RNG.poisson(3, (frames, side, side)).astype(dtype)
    path.parent.mkdir(parents=True, exist_ok=True)
    metadata = {"axes": "TYX", "finterval": 0.5, "unit": "um"}
    tifffile.imwrite(path, data, imagej=dtype != "float64", metadata=metadata, resolution=(50, 50))
    return data


def rows(path):
    with path.open(newline="", encoding="utf-8") as table:
        return list(csv.DictReader(table))


def states(out):
    return {row["file"]: row["state"] for row in rows(out / "summary.csv")}


@pytest.fixture
def night(tmp_path, peer):
    """Three movies in a folder, and what denoises it."""
    data = {name: movie(tmp_path / "in" / f"{name}.tif") for name in ("img2", "img10", "sub/img1")}
    server = peer()

    def run(*options, out="out", quiet=True):
        command = [
            "denoise",
            str(tmp_path / "in"),
            str(tmp_path / out),
            "--server",
            server.endpoint,
            *options,
        ]
        return main([*command, "--quiet"] if quiet else command)

    run.data, run.server, run.source, run.out = data, server, tmp_path / "in", tmp_path / "out"
    return run


def test_every_image_is_denoised_in_natural_order_and_told(night, capsys):
    (night.source / "notes.txt").write_text("x")
    assert night(quiet=False) == 0
    for name, data in night.data.items():
        np.testing.assert_array_equal(tifffile.imread(night.out / f"{name}.ome.tif"), data)
    names = ["img2.tif", "img10.tif", "sub/img1.tif"]
    files = rows(night.out / "summary.csv")
    assert [row["file"] for row in files] == names
    assert [(row["state"], row["frames"], row["ok"], row["suspect"]) for row in files] == [
        ("done", "3", "3", "0")
    ] * 3
    frames = rows(night.out / "flags.csv")
    assert [(row["file"], row["frame"], row["t"]) for row in frames] == [
        (name, str(n), str(n)) for name in names for n in range(3)
    ]
    assert [float(row["t_acq"]) for row in frames] == [0.0, 0.5, 1.0] * 3
    assert {(row["flag"], row["structure_score"], row["status"]) for row in frames} == {("ok", "9.5", "done")}
    told = capsys.readouterr().out
    assert "not read, because they are not images: 1 .txt" in told
    assert "[1/3] img2.tif: TYX 3x8x8 uint16, pixels 0.02 um, 0.5 s between time points" in told
    assert "files: 3 done; frames: 9 ok" in told


def test_what_is_done_is_not_done_again(night, capsys):
    assert night() == 0
    assert night() == 0
    assert len(night.server.opened) == 3
    movie(night.source / "img3.tif")
    assert night(quiet=False) == 0
    assert len(night.server.opened) == 4
    assert list(states(night.out)) == ["img2.tif", "img3.tif", "img10.tif", "sub/img1.tif"]
    assert "[1/4] img2.tif: done before, 3 ok" in capsys.readouterr().out
    assert len(rows(night.out / "flags.csv")) == 12


def test_what_is_not_whole_or_has_changed_is_done_again(night):
    assert night() == 0
    cut = night.out / "img2.ome.tif"
    os.truncate(cut, cut.stat().st_size - 8)
    (night.out / "sub" / "img1.flags.jsonl").unlink()
    changed = movie(night.source / "img10.tif")
    assert night() == 0
    assert len(night.server.opened) == 6
    np.testing.assert_array_equal(tifffile.imread(cut), night.data["img2"])
    np.testing.assert_array_equal(tifffile.imread(night.out / "img10.ome.tif"), changed)


def test_bad_files_hold_nothing_up(night, capsys):
    (night.source / "bad.tif").write_text("no image")
    (night.source / "empty.tif").touch()
    (night.source / "zeiss.czi").write_bytes(b"ZISRAWFILE")
    bad = RNG.poisson(3, (3, 8, 8)).astype("float32")
    bad[1, 0, 0] = np.nan
    tifffile.imwrite(night.source / "nan.tif", bad, photometric="minisblack", metadata={"axes": "TYX"})
    assert night() == 1
    assert states(night.out) == {
        **dict.fromkeys(("bad.tif", "empty.tif", "zeiss.czi"), "failed"),
        **dict.fromkeys(("img2.tif", "img10.tif", "sub/img1.tif"), "done"),
        "nan.tif": "incomplete",
    }
    reasons = {row["file"]: row["reason"] for row in rows(night.out / "summary.csv")}
    assert "export" in reasons["zeiss.czi"]
    assert "1 frame has no result" in reasons["nan.tif"]
    flags = [row for row in rows(night.out / "flags.csv") if row["file"] == "nan.tif"]
    assert [(row["status"], row["flag"]) for row in flags] == [
        ("done", "ok"), ("unreadable", "unjudged"), ("done", "ok"),
    ]  # fmt: skip
    captured = capsys.readouterr()
    assert "4 of 7 files failed or are incomplete" in captured.err
    assert not list(night.out.glob(".*part*"))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes are of Unix")
def test_a_pipe_holds_nothing_up(night, tmp_path):
    os.mkfifo(tmp_path / "in" / "img1.tif")
    assert night() == 1
    assert states(tmp_path / "out") == {
        "img1.tif": "failed", "img2.tif": "done", "img10.tif": "done", "sub/img1.tif": "done",
    }  # fmt: skip


@contextmanager
def growing(path):
    """A file into which another program writes all the time."""
    ended = threading.Event()

    def write():
        while not ended.wait(0.002):
            with path.open("ab") as file:
                file.write(bytes(8))

    thread = threading.Thread(target=write)
    thread.start()
    yield
    ended.set()
    thread.join()


def test_a_file_that_grows_while_it_is_read_is_done_when_it_is_whole(night, capsys):
    movie(night.source / "img2.tif", frames=30)
    with growing(night.source / "img2.tif"):
        assert night() == 1
    assert states(night.out) == {"img2.tif": "failed", "img10.tif": "done", "sub/img1.tif": "done"}
    assert "img2.tif changed while it was read" in capsys.readouterr().out
    assert not [path for path in night.out.iterdir() if "img2" in path.name]
    assert night() == 0
    assert set(states(night.out).values()) == {"done"}


def test_a_single_file_that_grows_while_it_is_streamed_is_told(night, tmp_path, capsys):
    movie(tmp_path / "grows.tif", frames=30)
    command = [str(tmp_path / "grows.tif"), str(tmp_path / "x.ome.tif"), "--server", night.server.endpoint]
    with growing(tmp_path / "grows.tif"):
        assert main(["stream", *command, "--quiet"]) == 1
    assert "grows.tif changed while it was read" in capsys.readouterr().err
    assert main(["stream", *command, "--quiet"]) == 0


FULL_DISK = """
import resource, sys
from dimstream_client.cli import main
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="limits of file sizes are of Unix")
def test_a_full_disk_ends_the_run_in_words(night, tmp_path):
    movie(tmp_path / "in" / "img1.tif", side=200)
    command = ["denoise", str(tmp_path / "in"), str(tmp_path / "out"), "--server", night.server.endpoint]
    ended = subprocess.run([sys.executable, "-c", FULL_DISK, *command], capture_output=True, text=True)
    assert ended.returncode == 3, ended.stderr
    assert "No space left on device" in ended.stderr
    assert night() == 0
    assert set(states(tmp_path / "out").values()) == {"done"}


def test_a_frame_that_the_server_refuses_is_missing(night):
    night.server.refuse = {1: deque([Code.NOT_FINITE])}
    assert night() == 1
    assert sorted(states(night.out).values()) == ["done", "done", "incomplete"]


def test_a_set_of_files_is_one_image(tmp_path, peer, night):
    make_cases(tmp_path / "cases")
    for path in (tmp_path / "cases" / "ome-in-several-files").iterdir():
        path.rename(night.source / path.name)
    for opened in (4, 4):
        assert night() == 0
        assert len(night.server.opened) == opened
        found = states(night.out)
        assert {name: state for name, state in found.items() if name[0] == "z"} == {
            "z0.ome.tif": "done",
            **dict.fromkeys(("z1.ome.tif", "z2.ome.tif", "z3.ome.tif"), "part of a set"),
        }
    assert tifffile.imread(night.out / "z0.ome.tif").shape == (4, 64, 64)
    assert len([row for row in rows(night.out / "flags.csv") if row["file"] == "z0.ome.tif"]) == 4


def test_outputs_are_not_read_where_they_lie_in_the_folder(night, tmp_path, capsys):
    for out in ("in/a", "in/b", "in/b"):
        assert night(out=out) == 0
        assert len(states(tmp_path / out)) == 3
    assert "a contains the outputs of an earlier run and was not read" in capsys.readouterr().out


def test_hidden_files_and_links_to_folders_are_passed_over(night):
    movie(night.source / ".hidden.tif")
    movie(night.source / ".trash" / "x.tif")
    (night.source / "loop").symlink_to(night.source)
    found = scan(night.source)
    assert [path.as_posix() for path in found.files] == ["img2.tif", "img10.tif", "sub/img1.tif"]
    assert found.notes == ["loop is a link to a folder and was not entered"]


@pytest.mark.parametrize(
    ("source", "out", "code", "says"),
    [
        ("in", "in", 2, "the input folder"),
        ("in/sub", "in", 2, "contains the input folder"),
        ("in", "file", 2, "is a file"),
        ("void", "out", 3, "no images"),
        ("in", "file/out", 3, "Not a directory"),
    ],
)
def test_folders_that_make_no_sense_are_refused(night, tmp_path, capsys, source, out, code, says):
    (tmp_path / "file").touch()
    (tmp_path / "void").mkdir()
    command = ["denoise", str(tmp_path / source), str(tmp_path / out), "--server", night.server.endpoint]
    assert main(command) == code
    assert says in capsys.readouterr().err
    assert night.server.opened == []


def test_two_programs_refuse_each_other(night, capsys):
    night.out.mkdir()
    with (night.out / LOCK).open("ab") as held:
        folder_lock.take(held)
        assert night() == 3
    assert "another program writes into" in capsys.readouterr().err
    assert night() == 0


def test_other_options_do_not_mix_with_what_is_done(night, capsys):
    assert night() == 0
    assert night("--split-every", "2") == 3
    assert "split_every 0 (now 2)" in capsys.readouterr().err
    assert night("--split-every", "2", "--overwrite") == 0
    assert len(night.server.opened) == 6
    assert night("--split-every", "2") == 0
    assert len(night.server.opened) == 6


def test_files_of_others_are_not_replaced(night):
    night.out.mkdir()
    (night.out / "img2.ome.tif").write_text("mine")
    assert night() == 1
    assert (night.out / "img2.ome.tif").read_text() == "mine"
    assert states(night.out)["img2.tif"] == "failed"
    assert night("--overwrite") == 0
    np.testing.assert_array_equal(tifffile.imread(night.out / "img2.ome.tif"), night.data["img2"])


def test_images_of_one_name_get_an_output_each(night):
    single = RNG.poisson(3, (8, 8)).astype("uint16")
    np.save(night.source / "img2.npy", single)
    assert night() == 0
    np.testing.assert_array_equal(tifffile.imread(night.out / "img2.npy.ome.tif"), single)
    np.testing.assert_array_equal(tifffile.imread(night.out / "img2.tif.ome.tif"), night.data["img2"])
    np.testing.assert_array_equal(tifffile.imread(night.out / "img10.ome.tif"), night.data["img10"])


def test_a_server_that_goes_away_is_waited_for(night):
    def come_and_go():
        while len(night.server.opened) < 2:
            time.sleep(0.01)
        night.server.away.set()
        time.sleep(1.5)
        night.server.away.clear()

    going = threading.Thread(target=come_and_go)
    going.start()
    assert night("--timeout", "0.5") == 0
    going.join()
    for name, data in night.data.items():
        np.testing.assert_array_equal(tifffile.imread(night.out / f"{name}.ome.tif"), data)


def test_a_server_that_forgets_its_streams_gets_the_movie_again(night):
    """As one without a journal does that is started again."""
    night.server.until = 1

    def forget():
        while not any(message.TYPE == "FRAME" for message in night.server.log):
            time.sleep(0.01)
        night.server.forget()
        night.server.away.set()
        time.sleep(0.5)
        night.server.until = math.inf
        night.server.away.clear()

    forgetting = threading.Thread(target=forget)
    forgetting.start()
    assert night("--timeout", "0.5") == 0
    forgetting.join()
    for name, data in night.data.items():
        np.testing.assert_array_equal(tifffile.imread(night.out / f"{name}.ome.tif"), data)


def test_a_server_that_stays_away_ends_the_run(night, capsys):
    night.server.away.set()
    assert night("--timeout", "0.3", "--outage", "0.5") == 4
    night.server.away.clear()
    assert night("--model", "none") == 4
    assert "unknown_model" in capsys.readouterr().err
    assert set(states(night.out).values()) == {"not reached"}


@pytest.mark.parametrize("files", ["1", "2"])
def test_an_interrupted_movie_is_gone_on_with(night, monkeypatch, files):
    record = file_streaming.ResultRecorder.record

    def interrupted(recorder, result):
        if result.seq == 2:
            raise KeyboardInterrupt
        record(recorder, result)

    with monkeypatch.context() as patch:
        patch.setattr(file_streaming.ResultRecorder, "record", interrupted)
        assert night("--files", files) == 130
    assert set(states(night.out).values()) == {"not reached"}
    assert not (night.out / "img2.ome.tif").exists()
    begun = len(night.server.opened)
    assert night("--files", files) == 0
    assert "s0" in {opened.stream for opened in night.server.opened[begun:]}  # resumed
    np.testing.assert_array_equal(tifffile.imread(night.out / "img2.ome.tif"), night.data["img2"])
    assert not list(night.out.glob(".*part*"))


@pytest.mark.slow
def test_a_killed_program_is_gone_on_with(night):
    night.data["img2"] = movie(night.source / "img2.tif", frames=40)
    command = [str(DIMSTREAM), "denoise", str(night.source), str(night.out), "--server"]
    part = night.out / ".img2.part.flags.jsonl"
    for frames in (5, 20, 35):
        night.server.until = frames
        with subprocess.Popen([*command, night.server.endpoint], stdout=subprocess.DEVNULL) as program:
            while not part.exists() or part.read_bytes().count(b"\n") < frames:
                assert program.poll() is None
                time.sleep(0.005)
            program.send_signal(signal.SIGKILL)
    night.server.until = math.inf
    assert night() == 0
    assert [opened.stream for opened in night.server.opened] == [None, "s0", "s0", "s0", None, None]
    for name, data in night.data.items():
        np.testing.assert_array_equal(tifffile.imread(night.out / f"{name}.ome.tif"), data)
    frames = rows(night.out / "flags.csv")
    assert [int(row["frame"]) for row in frames if row["file"] == "img2.tif"] == list(range(40))


def test_several_files_at_once_give_the_same_outputs(night, capsys):
    (night.source / "bad.tif").write_bytes(b"no image")
    assert night("--files", "3", "--batch", quiet=False) == 1
    assert states(night.out) == {
        "bad.tif": "failed",
        "img2.tif": "done",
        "img10.tif": "done",
        "sub/img1.tif": "done",
    }
    assert {opened.priority for opened in night.server.opened} == {"batch"}
    assert night("--files", "3", "--batch") == 1
    assert len(night.server.opened) == 3
    assert night(out="alone") == 1
    for name, data in night.data.items():
        path = night.out / f"{name}.ome.tif"
        np.testing.assert_array_equal(tifffile.imread(path), data)
        assert path.read_bytes() == (night.out.parent / "alone" / f"{name}.ome.tif").read_bytes()
    told = capsys.readouterr().out
    assert "[3/4] img10.tif: done, 3 ok" in told
    assert "[3/4] img10.tif: done before, 3 ok" not in told


@pytest.mark.slow
def test_files_that_are_killed_together_are_gone_on_with(night):
    for name in ("img2", "img10"):
        night.data[name] = movie(night.source / f"{name}.tif", frames=40)
    options = ["--files", "2", "--server", night.server.endpoint]
    command = [str(DIMSTREAM), "denoise", str(night.source), str(night.out), *options]
    parts = [night.out / f".{name}.part.flags.jsonl" for name in ("img2", "img10")]
    for frames in (5, 25):
        night.server.until = frames
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as program:
            while not any(part.exists() and part.read_bytes().count(b"\n") >= frames for part in parts):
                assert program.poll() is None
                time.sleep(0.005)
            program.send_signal(signal.SIGKILL)
    night.server.until = math.inf
    assert night("--files", "2") == 0
    begun = [opened.stream for opened in night.server.opened]
    assert begun.count(None) == len(night.data), "a movie was begun twice"
    for name, data in night.data.items():
        np.testing.assert_array_equal(tifffile.imread(night.out / f"{name}.ome.tif"), data)
    listed = [(row["file"], int(row["frame"])) for row in rows(night.out / "flags.csv")]
    assert listed[:40] == [("img2.tif", n) for n in range(40)]
    assert len(set(listed)) == len(listed) == 83


@pytest.mark.parametrize("where", ["file", "http"])
def test_several_files_at_once_are_of_a_folder_and_streamed(night, where, capsys):
    if where == "file":
        given = [str(night.source / "img2.tif"), "out.ome.tif", "--server", night.server.endpoint]
    else:
        given = [str(night.source), str(night.out), "--server", "http://127.0.0.1:9"]
    assert main(["denoise", *given, "--files", "2"]) == 2
    assert "leave" in capsys.readouterr().err


@pytest.mark.parametrize("written", ["record", "flags", "output"])
def test_a_kill_while_an_output_gets_its_name_is_mended(night, written, monkeypatch):
    """Whatever of the three steps was the last."""
    assert night() == 0
    out, flags = night.out / "img2.ome.tif", night.out / "img2.flags.jsonl"
    if written == "record":
        out.unlink()
        flags.unlink()
    elif written == "flags":
        out.unlink()
    with (night.out / RECORD).open("ab") as record:
        record.write(b'{"file": "half')
    assert night() == 0
    assert len(night.server.opened) == (3 if written == "output" else 4)
    np.testing.assert_array_equal(tifffile.imread(out), night.data["img2"])
    lines = (night.out / RECORD).read_bytes().splitlines()
    assert all(json.loads(line) for line in lines)


def test_natural_order_is_that_of_people():
    order = ["a/2.tif", "a/10.tif", "b1.tif", "img.tif", "img002.tif", "img2.tif", "IMG3.tif", "img10.tif"]
    assert sorted(map(Path, sorted(order)), key=natural_key) == list(map(Path, order))
