"""Frames of a measurement that runs, from a stand-in for Imspector, with stacks of its own library."""

import sys
from itertools import pairwise

import numpy as np
import pytest

specpy = pytest.importorskip("specpy", reason="specpy has no wheel for this machine")
from imspector_stand_in import StandIn, stack_of, until  # noqa: E402

from dimstream_client import Client  # noqa: E402
from dimstream_client.errors import ImspectorError  # noqa: E402
from dimstream_client.imspector import Imspector, ImspectorFrames, connect, follow  # noqa: E402
from dimstream_client.imspector import measurement as measurements  # noqa: E402
from dimstream_client.imspector import program as programs  # noqa: E402
from dimstream_client.imspector.scan_lines import FramePlace, LineCounter  # noqa: E402

RNG = np.random.default_rng(4)
SIDE = 12


def movie(stacks=1, frames=6, shape=(SIDE, SIDE), dtype="uint16"):
    return RNG.poisson(3, (stacks, frames, *shape)).astype(dtype)


def imspector(stand_in):
    return Imspector(stand_in, specpy.ValueTree.Status)


def frames_of(stand_in, **options):
    return ImspectorFrames(imspector(stand_in), **{"pause_s": 0.0, "loop": True, **options})


def test_a_loop_gives_every_frame_though_each_is_written_over_the_last():
    data = movie(frames=20)
    stand_in = StandIn([stack_of("STED {1}", (1, 1, SIDE, SIDE))], data)
    with frames_of(stand_in) as frames:
        assert (frames.shape, frames.dtype, frames.channels) == ((SIDE, SIDE), "uint16", ("STED {1}",))
        assert frames.pixel_size_um == 0.02
        taken = list(frames)
    np.testing.assert_array_equal([frame.pixels for frame in taken], data[0])
    assert [frame.index.t for frame in taken] == list(range(20))
    assert all(a.t_acq <= b.t_acq for a, b in pairwise(taken))
    assert stand_in.calls == [
        *("connect_end", "connect_end", "enable_loop", "start", "disconnect_end", "disconnect_end", "pause")
    ]


def test_a_single_measurement_of_z_stacks_over_time_ends_by_itself():
    data = movie(frames=6)
    stand_in = StandIn([stack_of("a", (2, 3, SIDE, SIDE))], data)
    with frames_of(stand_in, loop=False) as frames:
        taken = list(frames)
    assert [(frame.index.t, frame.index.z) for frame in taken] == [
        *((0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2))
    ]
    np.testing.assert_array_equal([frame.pixels for frame in taken], data[0])


def test_stacks_by_number_or_name_are_channels():
    data = movie(stacks=3, frames=2)
    stand_in = StandIn([stack_of(name, (1, 1, SIDE, SIDE)) for name in "abc"], data)
    with frames_of(stand_in, stacks=[2, "a"]) as frames:
        assert frames.channels == ("c", "a")
        taken = list(frames)
    assert [(frame.index.t, frame.index.c) for frame in taken] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    np.testing.assert_array_equal(taken[2].pixels, data[2, 1])
    np.testing.assert_array_equal(taken[3].pixels, data[0, 1])


def test_imspector_never_waits_and_what_is_dropped_is_counted(caplog):
    data = movie(frames=10)
    stand_in = StandIn([stack_of("a", (1, 1, SIDE, SIDE))], data)
    with frames_of(stand_in, queue_frames=4) as frames:
        until(lambda: not stand_in.active)  # it has ended, and nobody has taken a frame
        taken = list(frames)
    assert [frame.index.t for frame in taken] == [0, 1, 2, 3]
    assert (frames.dropped, frames.lost_at_end) == (6, 6)
    assert caplog.text.count("are dropped") == 1


def test_a_frame_that_is_broken_off_is_left_out(caplog):
    stand_in = StandIn([stack_of("a", (1, 1, SIDE, SIDE))], movie(frames=5))
    stand_in.lines_after_which_it_stops = 2 * SIDE + 5
    with frames_of(stand_in) as frames:
        assert len(list(frames)) == 2
    assert "was not finished, after 5 lines" in caplog.text


def test_each_call_that_changes_something_is_given_time(monkeypatch):
    pauses = []
    monkeypatch.setattr(measurements.time, "sleep", pauses.append)
    stand_in = StandIn([stack_of("a", (1, 1, SIDE, SIDE))], movie(frames=1))
    with frames_of(stand_in, pause_s=0.125):
        assert pauses == [0.125] * 4
    stand_in.join()
    assert pauses == [0.125] * len(stand_in.calls)


def test_it_is_started_by_hand_and_stopped_from_a_result(peer):
    """`follow` streams it all; what was dropped is named to the server as a gap."""
    data = movie(frames=30)
    stand_in = StandIn([stack_of("a", (1, 1, SIDE, SIDE))], data)
    results = []

    def on_result(result):
        results.append(result)
        if result.seq == 4:
            release.append(True)

    release = []
    stand_in.each_frame = lambda n: until(lambda: n < 8 or bool(release) or stand_in._paused.is_set())
    server = peer()
    with Client(server.endpoint) as client, frames_of(stand_in) as frames:
        closed = follow(frames, client, on_result=on_result, window=2)
    assert closed.counts == {"frames": 30}
    np.testing.assert_array_equal([result.pixels for result in results], data[0])
    request = server.opened[0]
    assert (request.pixel_size_um, request.channels, request.window) == (0.02, ("a",), 2)


def test_dropped_frames_are_gaps_at_the_server(peer):
    stand_in = StandIn([stack_of("a", (1, 1, SIDE, SIDE))], movie(frames=9))
    server = peer()
    with Client(server.endpoint) as client, frames_of(stand_in, queue_frames=3) as frames:
        until(lambda: not stand_in.active)
        follow(frames, client, on_result=lambda result: None)
    assert server.seqs() == [0, 1, 2]
    assert server.skips() == [(3, 8)]


def test_a_measurement_whose_size_is_changed_ends_in_words():
    stack = stack_of("a", (1, 1, SIDE, SIDE))
    stand_in = StandIn([stack], movie(frames=3))
    with frames_of(stand_in, loop=None) as frames:
        frames.shape = (SIDE + 1, SIDE)  # as if it had been another when the stack was looked at
        stand_in.enable_loop(True)
        stand_in.start()
        with pytest.raises(ImspectorError, match="its size has changed; begin again"):
            list(frames)


def bad(present, **options):
    def build():
        frames_of(StandIn(present, movie()), **options)

    return build


SQUARE = (1, 1, SIDE, SIDE)
REFUSED = {
    "no such stack": (bad([stack_of("a", SQUARE)], stacks=["b"]), r"no stack 'b'; the measurement has"),
    "none named": (bad([stack_of("a", SQUARE)], stacks=[]), "no stack was named"),
    "sizes": (
        bad([stack_of("a", SQUARE), stack_of("b", (1, 1, 8, 8))], stacks=[0, 1]),
        "have different sizes",
    ),
    "not square": (bad([stack_of("a", (1, 1, 8, SIDE))]), "say how many lines a frame has"),
    "types": (
        bad([stack_of("a", SQUARE), stack_of("b", SQUARE, "float32")], stacks=[0, 1]),
        "expected one type",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_streamed_is_refused(case):
    build, says = REFUSED[case]
    with pytest.raises(ImspectorError, match=says):
        build()


def test_frames_that_are_not_square_with_their_lines_stated():
    data = movie(frames=3, shape=(8, SIDE))
    stand_in = StandIn([stack_of("a", (1, 1, 8, SIDE))], data)
    with frames_of(stand_in, lines_per_frame=8) as frames:
        np.testing.assert_array_equal([frame.pixels for frame in frames], data[0])


TYPES = [("int16", "uint16"), ("uint32", "float32"), ("float32", "float32")]


@pytest.mark.parametrize(("stored", "given"), TYPES)
def test_types_that_become_those_of_a_stream(stored, given):
    data = movie(frames=2, dtype=stored)
    with frames_of(StandIn([stack_of("a", SQUARE, stored)], data)) as frames:
        assert frames.dtype == given
        for frame, expected in zip(frames, data[0], strict=True):
            assert frame.pixels.dtype == given
            np.testing.assert_array_equal(frame.pixels, expected)


def test_counts_below_zero_end_in_words():
    data = movie(dtype="int16")
    data[0, 0, 0, 0] = -3
    stand_in = StandIn([stack_of("a", SQUARE, "int16")], data)
    with frames_of(stand_in) as frames, pytest.raises(ImspectorError, match="holds -3, expected counts"):
        list(frames)


def test_lengths_that_are_none_give_no_pixel_size():
    stack = stack_of("a", SQUARE)
    stack.set_lengths([float(SIDE), float(SIDE), 1.0, 1.0])  # steps, as an empty stack has them
    assert frames_of(StandIn([stack], movie())).pixel_size_um is None


def test_lines_are_counted_to_frames():
    counter = LineCounter(2, planes=2, slots=1)
    places = [counter.end_of_line() for _ in range(8)]
    assert places[1::2] == [FramePlace(z, 0, t) for t in (0, 1) for z in (0, 1)]
    assert places[::2] == [None] * 4
    counter.end_of_line()
    assert counter.end_of_measurement() == 1
    assert (counter.end_of_line(), counter.end_of_line()) == (None, FramePlace(0, 0, 3))
    assert counter.end_of_measurement() == 0


def test_every_call_is_one_of_specpy():
    """The library itself has what is called here, under the names that are used."""
    callbacks, control = ("connect_end", "disconnect_end"), ("enable_loop", "start", "pause", "value_at")
    for name in ("active_measurement", *callbacks, *control):
        assert callable(getattr(specpy.Application, name))
    assert all(callable(getattr(specpy.Measurement, name)) for name in ("stack", "stack_names"))
    assert all(callable(getattr(specpy.Stack, name)) for name in ("data", "lengths", "name", "shape"))
    assert specpy.ValueTree.Status is not None


def test_without_imspector_or_specpy_it_says_so(monkeypatch):
    def none(*_):
        raise RuntimeError("connection refused")

    monkeypatch.setattr(specpy, "get_application", none)
    with pytest.raises(ImspectorError, match="start it, and its server"):
        connect()
    monkeypatch.setitem(sys.modules, "specpy", None)
    with pytest.raises(ImspectorError, match=r"dimstream-client\[imspector\]"):
        connect("microscope")


def test_an_older_specpy_calls_the_sides_of_a_stack_otherwise():
    class Old:
        def sizes(self):
            return [3, 4, 1, 1]

    assert programs.shape_of(Old()) == (3, 4, 1, 1)


def test_stacks_of_a_real_file(tmp_path, shared):
    """Those that Imspector itself has saved, read by its library, are as is expected here."""
    path = shared / "12_formats" / "data_analysis_example.msr"
    file = specpy.File(str(path), specpy.File.Read)
    stacks = [file.read(n) for n in range(file.number_of_stacks())]
    stack = stacks[0]
    side = programs.shape_of(stack)
    stand_in = StandIn([stack], movie())
    frames = frames_of(stand_in, stacks=[stack.name()], lines_per_frame=side[1])
    assert frames.shape == (side[1], side[0])
    assert frames.channels == (stack.name(),)
