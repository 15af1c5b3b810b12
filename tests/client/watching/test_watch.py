"""`dimstream watch FOLDER` against a peer that echoes pixels, by a clock that the test winds on."""

import csv
import errno
import json
import os
import shutil
import threading
from collections import deque

import numpy as np
import pytest
import tifffile
from image_cases import make_cases
from scripted_clock import ScriptedClock

from dimstream_client.cli import main
from dimstream_client.errors import Code
from dimstream_client.folders.record import FolderRecord
from dimstream_client.folders.scanning import RECORD
from dimstream_client.watching import clock as clocks
from dimstream_client.watching import series_route
from dimstream_client.watching.series_streams import MOST_OPEN

RNG = np.random.default_rng(5)


def image(path, side=8):
    data = RNG.poisson(3, (side, side)).astype("uint16")
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(path, data)
    return data


def rows(path):
    with path.open(newline="", encoding="utf-8") as table:
        return list(csv.DictReader(table))


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def code_of(command):
    try:
        return command()
    except SystemExit as ended:
        return ended.code


class Day:
    """A folder, a server, and what happens in the course of a day."""

    def __init__(self, tmp_path, server, clock):
        self.folder, self.out = tmp_path / "in", tmp_path / "out"
        self.folder.mkdir()
        self.server, self.clock = server, clock
        self.data = {}

    def write(self, name, **options):
        self.data[name] = image(self.folder / name, **options)

    def at(self, seconds, name, **options):
        self.clock.at(seconds, lambda: self.write(name, **options))

    def watch(self, *options, beside=False, quiet_s="60"):
        out = [] if beside else [str(self.out)]
        command = ["watch", str(self.folder), *out, "--server", self.server.endpoint, *options]
        return main([*command, "--until-quiet-s", quiet_s])

    def states(self, name="summary.csv"):
        return {row["file"]: row["state"] for row in rows(self.out / name)}

    def assert_denoised(self):
        for name, data in self.data.items():
            out = self.out / name.replace(".tif", ".ome.tif")
            np.testing.assert_array_equal(tifffile.imread(out), data, err_msg=name)


@pytest.fixture
def clock(monkeypatch):
    clock = ScriptedClock()
    monkeypatch.setattr(clocks, "SystemClock", lambda: clock)
    return clock


@pytest.fixture
def day(tmp_path, peer, clock):
    return Day(tmp_path, peer(), clock)


def test_files_are_denoised_as_they_appear_each_compared_with_the_one_before(day, capsys):
    day.write("img1.tif")
    for n in range(2, 12):
        day.at(5 * n, f"img{n}.tif")
    (day.folder / "notes.txt").write_text("x")
    assert day.watch() == 0
    day.assert_denoised()
    assert len(day.server.opened) == 1
    frames = [message for message in day.server.log if message.TYPE == "FRAME"]
    assert [frame.index.t for frame in frames] == list(range(11))
    assert list(day.states()) == [f"img{n}.tif" for n in range(1, 12)]
    assert [row["t"] for row in rows(day.out / "flags.csv")] == [str(t) for t in range(11)]
    told = capsys.readouterr().out
    assert "img2.tif: done, 1 ok" in told
    assert "files: 11 done; frames: 11 ok" in told


def test_outputs_lie_next_to_the_images_and_are_not_read_again(day):
    day.write("img1.tif")
    day.at(3, "img2.tif")
    assert day.watch(beside=True) == 0
    names = {path.name for path in day.folder.iterdir() if not path.name.startswith(".")}
    ours = {f"img{n}.denoised{end}" for n in (1, 2) for end in (".ome.tif", ".flags.jsonl")}
    assert names == {"img1.tif", "img2.tif", *ours, "dimstream-flags.csv", "dimstream-summary.csv"}
    assert day.watch(beside=True) == 0
    assert len(day.server.seqs()) == 2
    command = ["denoise", str(day.folder), str(day.out), "--server", day.server.endpoint, "--quiet"]
    assert main(command) == 0
    assert not list(day.out.glob("*denoised*"))


def test_a_file_is_read_when_it_has_come_to_rest(day):
    """It comes in pieces, more than one look apart, and can be read only when it is whole."""
    whole = day.folder.parent / "whole.tif"
    data = RNG.poisson(3, (64, 64)).astype("uint16")
    tifffile.imwrite(whole, data)
    content = whole.read_bytes()
    for second, end in ((1, 100), (2, 2000), (3, 4000), (4, len(content))):
        day.clock.at(second, lambda end=end: (day.folder / "img1.tif").write_bytes(content[:end]))
    assert day.watch() == 0
    day.data["img1.tif"] = data
    day.assert_denoised()
    assert len(day.server.seqs()) == 1


def test_what_never_can_be_read_has_failed_and_holds_up_its_series_only_for_a_while(day, capsys):
    day.write("img1.tif")
    (day.folder / "img2.tif").write_text("no image")
    day.write("img3.tif")
    day.write("other.tif")
    assert day.watch("--give-up-s", "10") == 1
    assert day.states() == {
        "img1.tif": "done", "img2.tif": "failed", "img3.tif": "done", "other.tif": "done",
    }  # fmt: skip
    told = capsys.readouterr().out
    assert told.count("img2.tif waits: the first bytes, b'no image', are of no file type") == 1
    assert told.count("img2.tif: failed: the first bytes") == 2  # once more in the summary
    day.write("img2.tif")  # it is there after all
    assert day.watch() == 0
    day.assert_denoised()


def test_it_continues_where_it_ended_and_compares_with_the_file_before(day):
    day.write("img1.tif")
    assert day.watch() == 0
    day.write("img2.tif")
    assert day.watch() == 0
    frames = [message for message in day.server.log if message.TYPE == "FRAME"]
    assert [(frame.seq, frame.index.t) for frame in frames] == [(0, 0), (0, 0), (1, 1)]
    np.testing.assert_array_equal(frames[1].pixels, day.data["img1.tif"])
    assert [line["seq"] for line in lines(day.out / "img2.flags.jsonl")] == [0]
    day.assert_denoised()


def test_a_file_that_comes_late_is_compared_with_the_one_before_it(day):
    for second, n in ((0, 1), (5, 3), (20, 2), (30, 4)):
        day.at(second, f"img{n}.tif")
    assert day.watch() == 0
    day.assert_denoised()
    sent = [m.pixels for m in day.server.log if m.TYPE == "FRAME"]
    order = [next(n for n in range(1, 5) if (day.data[f"img{n}.tif"] == p).all()) for p in sent]
    assert order == [1, 3, 1, 2, 3, 4]


def test_in_order_of_time(day):
    for n, name in enumerate(("b2.tif", "b1.tif")):
        day.write(name)
        os.utime(day.folder / name, (10 + n, 10 + n))
    assert day.watch("--order", "time") == 0
    assert list(day.states()) == ["b1.tif", "b2.tif"]  # the table is sorted by name
    sent = [m.pixels for m in day.server.log if m.TYPE == "FRAME"]
    np.testing.assert_array_equal(sent[0], day.data["b2.tif"])


def test_series_have_streams_of_their_own_and_few_are_open(day):
    series = MOST_OPEN + 2
    for t in range(2):
        for k in range(series):
            day.at(10 * t + k, f"cell{k}_t{t}.tif")
    assert day.watch() == 0
    day.assert_denoised()
    closed = [message for message in day.server.log if message.TYPE == "CLOSE"]
    assert len(day.server.opened) == len(closed) == 2 * series


def test_frames_of_another_size_get_another_stream(day):
    day.at(0, "img1.tif")
    day.at(5, "img2.tif", side=12)
    assert day.watch() == 0
    day.assert_denoised()
    assert [message.shape for message in day.server.opened] == [(8, 8), (12, 12)]


def test_a_file_that_is_replaced_is_done_again(day):
    day.at(0, "img1.tif")
    day.at(20, "img1.tif", side=12)
    assert day.watch() == 0
    day.assert_denoised()


def test_a_file_that_is_cut_short_later_has_failed(day):
    day.at(0, "img1.tif")
    day.clock.at(20, lambda: os.truncate(day.folder / "img1.tif", 50))
    assert day.watch() == 1
    assert day.states() == {"img1.tif": "failed"}


def test_a_file_that_is_renamed_while_it_is_read_is_done_under_its_new_name(day, monkeypatch):
    day.write("img1.tif")
    real = series_route.checksum_of

    def rename(pixels):
        if (day.folder / "img1.tif").exists():
            (day.folder / "img1.tif").rename(day.folder / "img2.tif")
        return real(pixels)

    monkeypatch.setattr(series_route, "checksum_of", rename)
    assert day.watch() == 0
    day.data["img2.tif"] = day.data.pop("img1.tif")
    day.assert_denoised()
    assert not list(day.out.glob(".*part*"))


def test_a_folder_that_goes_away_is_waited_for(day, capsys):
    away = day.folder.with_name("away")
    day.at(0, "img1.tif")
    day.clock.at(10, lambda: day.folder.rename(away))
    day.clock.at(500, lambda: away.rename(day.folder))
    day.at(510, "img2.tif")
    assert day.watch(beside=True) == 0
    assert (day.folder / "img2.denoised.ome.tif").exists()
    told = capsys.readouterr().err
    assert "cannot be listed; waiting" in told
    assert "is available again" in told
    assert len(day.server.seqs()) == 2


def test_outputs_that_go_away_are_waited_for_and_not_made_elsewhere(day):
    away = day.out.with_name("away")
    day.at(0, "img1.tif")
    day.clock.at(10, lambda: day.out.rename(away))
    day.at(20, "img2.tif")
    day.clock.at(100, lambda: not day.out.exists() and away.rename(day.out))
    assert day.watch() == 0
    day.assert_denoised()


def test_a_full_disk_is_waited_for(day, monkeypatch, capsys):
    """The record cannot be written for a while, and half a line of it is not left there."""
    day.at(0, "img1.tif")
    day.at(20, "img2.tif")
    real, full = FolderRecord._write, {"is": False}

    def write(self, fields):
        if full["is"]:
            with (self.folder / RECORD).open("ab") as file:
                raise OSError(errno.ENOSPC, "No space left on device", file.name)
        real(self, fields)

    monkeypatch.setattr(FolderRecord, "_write", write)
    day.clock.at(15, lambda: full.update({"is": True}))
    day.clock.at(300, lambda: full.update({"is": False}))
    assert day.watch() == 0
    day.assert_denoised()
    assert capsys.readouterr().err.count("its output cannot be written: No space left") == 1


def test_two_programs_on_one_folder_are_refused(day, capsys):
    day.write("img1.tif")
    answers = []
    day.clock.at(1, lambda: answers.append(day.watch()))
    assert day.watch() == 0
    assert answers == [3]
    assert "another program writes into" in capsys.readouterr().err


def test_other_options_are_refused_in_a_folder_that_is_begun(day, capsys):
    day.write("img1.tif")
    assert day.watch() == 0
    assert day.watch("--time-number", "none") == 3
    assert "made with other options" in capsys.readouterr().err


def test_files_of_others_are_not_replaced(day):
    day.out.mkdir()
    (day.out / "img1.ome.tif").write_text("mine")
    day.write("img1.tif")
    assert day.watch() == 1
    assert (day.out / "img1.ome.tif").read_text() == "mine"
    assert day.states() == {"img1.tif": "failed"}


def test_names_that_differ_in_their_ending_only(day):
    day.write("a1.tif")
    np.save(day.folder / "a1.npy", day.data["a1.tif"])
    assert day.watch() == 0
    assert {path.name for path in day.out.glob("*.ome.tif")} == {"a1.ome.tif", "a1.tif.ome.tif"}


@pytest.mark.parametrize(
    ("option", "says"),
    [
        (("--time-number", "t[0-9]+"), "has 0 groups, expected one"),
        (("--time-number", "(["), "is not a regular expression"),
        (("--give-up-s", "1"), "is less than --settle-s"),
        (("--poll-s", "0"), "0 seconds"),
    ],
    ids=str,
)
def test_options_that_cannot_be_are_refused(day, capsys, option, says):
    assert code_of(lambda: day.watch(*option)) == 2
    assert says in capsys.readouterr().err


def test_ctrl_c_ends_it_in_order(day, capsys):
    def interrupt():
        raise KeyboardInterrupt

    day.write("img1.tif")
    day.clock.at(30, interrupt)
    assert day.watch(quiet_s="1000") == 0
    assert day.states() == {"img1.tif": "done"}
    assert "the same command continues" in capsys.readouterr().out


def test_a_server_that_is_away_is_waited_for(day, capsys):
    def leave():
        day.server.leave()
        threading.Timer(0.5, day.server.away.clear).start()

    day.at(0, "img1.tif")
    day.clock.at(10, leave)
    day.at(11, "img2.tif")
    assert day.watch("--timeout", "0.3") == 0
    day.assert_denoised()
    assert "waits, nothing is lost" in capsys.readouterr().err


def test_a_server_that_forgets_its_streams_is_given_the_frame_before(day):
    day.at(0, "img1.tif")
    day.clock.at(10, day.server.forget)
    day.at(20, "img2.tif")
    assert day.watch() == 0
    day.assert_denoised()
    assert [message.stream is None for message in day.server.opened] == [True, False, True]
    sent = [message.index.t for message in day.server.log if message.TYPE == "FRAME"]
    assert sent[-2:] == [0, 1]


class Growing:
    """A movie to which frames are appended, as tifffile writes it."""

    def __init__(self, path, frames=12, side=8):
        self.path, self.data = path, RNG.poisson(3, (frames, side, side)).astype("uint16")

    def append(self, n):
        tifffile.imwrite(self.path, self.data[n], append=n > 0, metadata=None)


@pytest.fixture
def growing(day):
    movie = Growing(day.folder / "movie.tif")
    for n in range(len(movie.data)):
        day.clock.at(1 + n, lambda n=n: movie.append(n))
    return movie


def test_a_movie_is_denoised_while_it_grows(day, growing):
    """But for its last frame, which may be half written."""
    seen = []
    for second in (5.9, 9.9):
        day.clock.at(second, lambda: seen.append(len(day.server.seqs())))
    assert day.watch() == 0
    np.testing.assert_array_equal(tifffile.imread(day.out / "movie.ome.tif"), growing.data)
    assert seen == [4, 8]
    assert day.server.seqs() == list(range(12))
    assert [line["seq"] for line in lines(day.out / "movie.flags.jsonl")] == list(range(12))
    with tifffile.TiffFile(day.out / "movie.ome.tif") as file:
        assert file.is_bigtiff
        assert (file.series[0].axes, file.series[0].shape) == ("TYX", (12, 8, 8))


def test_a_movie_that_still_grows_is_continued_after_a_restart(day, growing):
    def interrupt():
        raise KeyboardInterrupt

    day.clock.at(6.9, interrupt)
    assert day.watch() == 0
    assert day.server.seqs() == list(range(5))
    assert day.watch() == 0
    np.testing.assert_array_equal(tifffile.imread(day.out / "movie.ome.tif"), growing.data)
    frames = [message for message in day.server.log if message.TYPE == "FRAME"]
    assert [frame.index.t for frame in frames] == [*range(5), 4, *range(5, 12)]


def test_a_movie_that_is_written_again_while_it_grows_is_done_again(day, growing, capsys):
    other = Growing(growing.path, frames=6)
    day.clock.at(20, lambda: growing.path.unlink())
    for n in range(6):
        day.clock.at(20.1 + n, lambda n=n: other.append(n))
    growing.append = lambda n: n < 5 and Growing.append(growing, n)
    assert day.watch("--settle-s", "30") == 0
    np.testing.assert_array_equal(tifffile.imread(day.out / "movie.ome.tif"), other.data)
    assert "have changed since they were read; it is denoised again" in capsys.readouterr().out


def test_a_frame_that_cannot_be_taken_is_named(day):
    bad = RNG.poisson(3, (3, 8, 8)).astype("float32")
    bad[1, 0, 0] = np.nan
    tifffile.imwrite(day.folder / "nan.tif", bad, photometric="minisblack", metadata={"axes": "TYX"})
    assert day.watch() == 1
    assert day.states() == {"nan.tif": "incomplete"}
    statuses = [(line["status"], line["flag"]) for line in lines(day.out / "nan.flags.jsonl")]
    assert statuses == [("done", "ok"), ("unreadable", "unjudged"), ("done", "ok")]


def test_a_frame_that_the_server_refuses_is_named(day):
    day.server.refuse = {1: deque([Code.NOT_FINITE])}
    data = RNG.poisson(3, (3, 8, 8)).astype("uint16")
    tifffile.imwrite(day.folder / "movie.tif", data, photometric="minisblack", metadata={"axes": "TYX"})
    code = day.watch()
    statuses = [line["status"] for line in lines(day.out / "movie.flags.jsonl")]
    assert (code, statuses) == (1, ["done", "refused", "done"])


def test_a_set_of_files_is_one_image(day, tmp_path):
    make_cases(tmp_path / "cases")
    for path in (tmp_path / "cases" / "ome-in-several-files").iterdir():
        path.rename(day.folder / path.name)
    assert day.watch() == 0
    states = list(day.states().values())
    assert states.count("done") == 1
    assert set(states) == {"done", "part of a set"}
    sent = len(day.server.seqs())
    assert day.watch() == 0
    assert len(day.server.seqs()) == sent


def test_real_snaps_of_imswitch_are_one_series(day, shared):
    for n, path in enumerate(sorted((shared / "06_sted_live_movies" / "imswitch_series").glob("*.hdf5"))):
        day.clock.at(5 * n, lambda path=path: shutil.copy(path, day.folder))
    assert day.watch() == 0
    frames = [message for message in day.server.log if message.TYPE == "FRAME"]
    assert [(frame.seq, frame.index.t) for frame in frames] == [(0, 0), (1, 1), (2, 2)]
    assert len(day.server.opened) == 1
    assert day.server.opened[0].pixel_size_um == 0.03
