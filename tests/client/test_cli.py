import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import tifffile

from dimstream_client import file_streaming
from dimstream_client.cli import main
from dimstream_client.commands.reading import movie_hint
from dimstream_client.commands.writing import write_whole
from dimstream_client.errors import Code, Problem
from dimstream_client.files import Scale, open_images
from dimstream_client.files.tiff_writer import StackWriter

RNG = np.random.default_rng(3)


def written(path, axes, shape, dtype="uint16"):
    data = RNG.poisson(3, shape).astype(dtype)
    with StackWriter(
        path, axes=axes, shape=shape, dtype=dtype, scale=Scale((0.02, 0.02), None, 0.6)
    ) as writer:
        for frame in data.reshape(-1, *shape[-2:]):
            writer.write(frame)
    return data


def flags(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


STACKS = {
    "YX": (12, 16),
    "TYX": (5, 12, 16),
    "ZYX": (5, 12, 16),
    "TZYX": (2, 3, 12, 16),
    "TCYX": (2, 3, 12, 16),
}


@pytest.mark.parametrize(("axes", "shape"), STACKS.items())
def test_a_stack_comes_back_with_its_axes_and_scale(tmp_path, peer, axes, shape):
    data = written(tmp_path / "in.tif", axes, shape)
    command = ["stream", str(tmp_path / "in.tif"), str(tmp_path / "out.ome.tif"), "--server", peer().endpoint]
    assert main(command) == 0
    with open_images(tmp_path / "out.ome.tif") as stack:
        assert (stack.axes, stack.shape, stack.dtype) == (axes, shape, "uint16")
        assert (stack.square_pixel_um, stack.frame_interval_s) == (0.02, 0.6)
        np.testing.assert_array_equal(stack.asarray(), data)
        lines = flags(tmp_path / "out.flags.jsonl")
        places = [stack.index(n) for n in range(len(stack))]
    assert [line["seq"] for line in lines] == list(range(len(places)))
    assert [tuple(line["index"].values()) for line in lines] == [(p.t, p.c, p.z, p.p) for p in places]
    assert {"flag", "reason", "ssim_prev", "t_ms", "round_trip_ms", "fractions", "t_acq"} <= lines[0].keys()


def test_frames_are_paced_and_progress_is_shown(tmp_path, peer, capsys):
    written(tmp_path / "in.tif", "TYX", (4, 8, 8))
    server = peer()
    assert main(["stream", str(tmp_path / "in.tif"), str(tmp_path / "o.tif"), "--server", server.endpoint,
                 "--interval", "0.05"]) == 0  # fmt: skip
    times = [line["t_acq"] for line in flags(tmp_path / "o.flags.jsonl")]
    assert times[-1] - times[0] > 0.1
    assert "4/4" in capsys.readouterr().err
    assert (server.opened[0].pixel_size_um, server.opened[0].frame_interval_s) == (0.02, 0.6)


def test_a_refused_frame_leaves_a_page_of_zeros_and_says_so(tmp_path, peer, capsys):
    data = written(tmp_path / "in.tif", "TYX", (6, 8, 8)) + 1
    server = peer(refuse={2: [Code.NOT_FINITE], 5: [Code.NOT_FINITE]})
    assert (
        main(["stream", str(tmp_path / "in.tif"), str(tmp_path / "o.tif"), "--server", server.endpoint]) == 1
    )
    pages = tifffile.imread(tmp_path / "o.tif")
    assert not pages[2].any()
    assert not pages[5].any()
    np.testing.assert_array_equal(pages[3], data[3] - 1)
    lines = flags(tmp_path / "o.flags.jsonl")
    assert [line["seq"] for line in lines if line["status"] == "refused"] == [2, 5]
    assert "2 frames have no result (zeros in the output); frame 2: " in capsys.readouterr().err


def test_latest_mode_keeps_pages_in_their_places(tmp_path, peer):
    data = written(tmp_path / "in.tif", "TYX", (30, 8, 8))
    server = peer()
    server.hold.set()
    threading.Timer(0.2, server.hold.clear).start()
    main(["stream", str(tmp_path / "in.tif"), str(tmp_path / "o.tif"), "--server", server.endpoint,
          "--mode", "latest", "--quiet"])  # fmt: skip
    pages = tifffile.imread(tmp_path / "o.tif")
    np.testing.assert_array_equal(pages[29], data[29])
    assert [line["status"] for line in flags(tmp_path / "o.flags.jsonl")][2] == "skipped"


def test_a_movie_saved_as_a_z_stack_can_be_told_so(tmp_path, peer):
    written(tmp_path / "in.tif", "ZYX", (3, 8, 8))
    command = ["stream", str(tmp_path / "in.tif"), str(tmp_path / "o.tif"), "--server", peer().endpoint]
    assert main([*command, "--axes", "TYX"]) == 0
    assert [line["index"]["t"] for line in flags(tmp_path / "o.flags.jsonl")] == [0, 1, 2]


def test_maps_are_written_beside_the_stack(tmp_path, peer, capsys):
    data = written(tmp_path / "in.tif", "TCYX", (3, 2, 8, 8))
    server = peer(refuse={4: [Code.NOT_FINITE]})
    assert main(["stream", str(tmp_path / "in.tif"), str(tmp_path / "o.ome.tif"), "--server", server.endpoint,
                 "--maps", "--split-every", "2", "--match-pixel-size", "--quiet"]) == 1  # fmt: skip
    with open_images(tmp_path / "o.maps.ome.tif") as maps:
        assert (maps.axes, maps.shape, maps.dtype) == ("TCYX", data.shape, "uint8")
        assert (maps.square_pixel_um, maps.frame_interval_s) == (0.02, 0.6)
        expected = data % 2
        expected[2, 0] = 0  # refused
        np.testing.assert_array_equal(maps.asarray(), expected)
    assert f"maps in {tmp_path / 'o.maps.ome.tif'}" in capsys.readouterr().out
    lines = flags(tmp_path / "o.flags.jsonl")
    assert lines[0]["quality"] == {
        "structure_score": 9.5, "unsupported_fraction": 0.25, "ssim_aligned": None,
        "correlation": None, "shift_px": None,
        "ssim_z": None, "p_signal": None, "p_dark": None, "suspect_since": None, "notes": [],
        "split": {"t_ms": 2.0, "ssim": 0.5, "refused": None}, "forecast": None,
    }  # fmt: skip
    asked = [line["quality"]["split"] is not None for line in lines if line["status"] == "done"]
    assert asked == [True, True, False, False, True]
    assert (server.opened[0].maps, server.opened[0].split_every) == (True, 2)
    assert server.opened[0].match_pixel_size


def test_error_bars_are_written_beside_the_stack(tmp_path, peer, capsys):
    data = written(tmp_path / "in.tif", "TYX", (3, 8, 8))
    server = peer(refuse={1: [Code.NOT_FINITE]})
    assert main(["stream", str(tmp_path / "in.tif"), str(tmp_path / "o.ome.tif"), "--server", server.endpoint,
                 "--sd", "--quiet"]) == 1  # fmt: skip
    with open_images(tmp_path / "o.sd.ome.tif") as deviations:
        assert (deviations.axes, deviations.dtype) == ("TYX", "float32")
        expected = data / 4
        expected[1] = 0  # refused
        np.testing.assert_array_equal(deviations.asarray(), expected)
    assert f"sd in {tmp_path / 'o.sd.ome.tif'}" in capsys.readouterr().out
    assert not (tmp_path / "o.maps.ome.tif").exists()


def test_without_maps_none_are_written(tmp_path, peer):
    written(tmp_path / "in.tif", "TYX", (2, 8, 8))
    server = peer()
    main(
        ["stream", str(tmp_path / "in.tif"), str(tmp_path / "o.tif"), "--server", server.endpoint, "--quiet"]
    )
    assert not (tmp_path / "o.maps.ome.tif").exists()
    assert (server.opened[0].maps, server.opened[0].split_every) == (False, 0)
    assert server.opened[0].match_pixel_size is None


@pytest.mark.parametrize(
    ("axes", "shape", "suspect", "says"),
    [
        ("TYX", (8, 8, 8), [], "8 ok; "),
        ("TYX", (8, 8, 8), [1, 2, 5, 6, 7], "3 ok, 5 suspect, suspect from frame 5 on; "),
        ("TYX", (8, 8, 8), [1, 2, 5, 6], "4 ok, 4 suspect, suspect from frame 5 to frame 6; "),
        ("TCYX", (4, 2, 8, 8), [2, 4, 6], "5 ok, 3 suspect, suspect from frame 2 on; "),  # of one channel
    ],
)
def test_the_summary_tells_since_when_frames_are_suspect(tmp_path, peer, capsys, axes, shape, suspect, says):
    written(tmp_path / "in.tif", axes, shape)
    command = ["stream", str(tmp_path / "in.tif"), str(tmp_path / "o.tif"), "--quiet", "--server"]
    assert main([*command, peer(suspect=suspect).endpoint]) == 0
    assert f"o.tif: {says}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("axes", "shape", "suspect", "stops_after"),
    [
        ("TYX", (9, 8, 8), [1, 2, 4, 5, 6], 6),
        ("TYX", (9, 8, 8), [1, 2, 4, 5, 7, 8], None),
        ("TCYX", (6, 2, 8, 8), [0, 2, 4, 6, 8, 10], None),  # one channel of two
        ("TCYX", (6, 2, 8, 8), [0, 1, 2, 3, 4, 5], 5),
    ],
)
def test_a_stream_that_stays_suspect_ends_with_a_code_of_its_own_and_can_go_on(
    tmp_path, peer, capsys, axes, shape, suspect, stops_after
):
    written(tmp_path / "in.tif", axes, shape)
    server = peer(suspect=suspect)
    command = ["stream", str(tmp_path / "in.tif"), str(tmp_path / "o.tif"), "--server", server.endpoint]
    stopped = main([*command, "--quiet", "--fail-on-suspect", "3", "--window", "1"])
    frames = int(np.prod(shape[:-2]))
    if stops_after is None:
        assert stopped == 0
        assert len(flags(tmp_path / "o.flags.jsonl")) == frames
        return
    assert stopped == 5
    assert f"are suspect, up to frame {stops_after}: " in capsys.readouterr().err
    assert len(flags(tmp_path / "o.flags.jsonl")) == stops_after + 1
    assert main([*command, "--quiet", "--resume", "--window", "1"]) == 0
    assert len(flags(tmp_path / "o.flags.jsonl")) == frames


def test_the_frame_interval_can_be_told(tmp_path, peer):
    written(tmp_path / "in.tif", "TYX", (2, 8, 8))
    server = peer()
    assert main(["stream", str(tmp_path / "in.tif"), str(tmp_path / "o.tif"), "--server", server.endpoint,
                 "--frame-interval", "4.5", "--quiet"]) == 0  # fmt: skip
    assert server.opened[0].frame_interval_s == 4.5
    with open_images(tmp_path / "o.tif") as stack:
        assert (stack.square_pixel_um, stack.frame_interval_s) == (0.02, 4.5)


@pytest.mark.parametrize(
    ("options", "code", "says"),
    [
        (["{dir}/none.tif", "{dir}/o.tif"], 3, "none.tif"),
        (["{dir}/text.tif", "{dir}/o.tif"], 3, "TIFF"),
        (["{dir}/in.tif", "{dir}/no/o.tif"], 3, "o.tif"),
        (["{dir}/in.tif", "{dir}/in.tif"], 2, "overwritten"),
        (["{dir}/in.tif", "{dir}/o.tif", "--model", "none"], 4, "unknown_model"),
        (
            ["{dir}/in.tif", "{dir}/o.tif", "--server", "tcp://127.0.0.1:9", "--timeout", "0.2"],
            4,
            "127.0.0.1:9",
        ),
        (["{dir}/in.tif", "{dir}/o.tif", "--server", "here"], 4, "expected tcp"),
    ],
)
def test_errors_are_one_line_and_nothing_is_written(tmp_path, peer, capsys, options, code, says):
    written(tmp_path / "in.tif", "TYX", (2, 8, 8))
    (tmp_path / "text.tif").write_text("no image")
    command = ["stream", "--server", peer().endpoint, "--quiet", *(o.format(dir=tmp_path) for o in options)]
    assert main(command) == code
    err = capsys.readouterr().err
    assert says in err
    assert err.count("\n") == 1
    assert not (tmp_path / "o.tif").exists()


def test_a_frame_that_cannot_be_read_fails_alone(tmp_path, peer, capsys):
    data = written(tmp_path / "in.tif", "TYX", (8, 8, 8), dtype="float32")
    for n in (2, 7):
        data[n, 0, 0] = np.nan
    tifffile.imwrite(tmp_path / "nan.tif", data, photometric="minisblack")
    server = peer()
    assert main(["stream", str(tmp_path / "nan.tif"), str(tmp_path / "o.tif"), "--server", server.endpoint,
                 "--quiet", "--out-dtype", "float32"]) == 1  # fmt: skip
    assert "2 frames have no result (zeros in the output); frame 2: " in capsys.readouterr().err
    assert server.skips() == [(2, 2), (7, 7)]
    data[[2, 7]] = 0
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "o.tif"), data)
    lines = flags(tmp_path / "o.flags.jsonl")
    assert [line["seq"] for line in lines] == list(range(8))
    assert [line["reason"] for line in lines if line["status"] == "unreadable"] == [
        f"frame {n} holds NaN or infinity, expected finite counts [not_finite]" for n in (2, 7)
    ]
    assert not (tmp_path / "o.resume.json").exists()


def test_a_stream_that_the_server_gave_up_leaves_nothing_to_resume(tmp_path, peer, capsys):
    written(tmp_path / "in.tif", "TYX", (6, 8, 8))
    server = peer(refuse={3: [Code.STREAM_CLOSED]})
    assert main(["stream", str(tmp_path / "in.tif"), str(tmp_path / "o.tif"), "--server", server.endpoint,
                 "--quiet"]) == 4  # fmt: skip
    assert "stream_closed" in capsys.readouterr().err
    assert not (tmp_path / "o.resume.json").exists()


def test_an_interrupted_stream_is_resumed_with_the_same_options_only(tmp_path, peer, capsys, monkeypatch):
    data = written(tmp_path / "in.tif", "TYX", (8, 8, 8))
    server = peer()
    command = ["stream", str(tmp_path / "in.tif"), str(tmp_path / "o.tif"), "--server", server.endpoint,
               "--quiet"]  # fmt: skip
    record = file_streaming.ResultRecorder.record

    def interrupted(recorder, result):
        if result.seq == 3:
            raise KeyboardInterrupt
        record(recorder, result)

    with monkeypatch.context() as patch:
        patch.setattr(file_streaming.ResultRecorder, "record", interrupted)
        assert main(command) == 130
    assert len(flags(tmp_path / "o.flags.jsonl")) == 3
    assert main(command) == 2
    assert main([*command, "--resume", "--out-dtype", "float32"]) == 3
    assert "out_dtype (uint16 then, float32 now)" in capsys.readouterr().err
    assert main([*command, "--resume"]) == 0
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "o.tif"), data)
    assert [line["seq"] for line in flags(tmp_path / "o.flags.jsonl")] == list(range(8))
    assert not (tmp_path / "o.resume.json").exists()


def test_times_follow_from_the_time_step_of_the_file(tmp_path, peer):
    written(tmp_path / "in.tif", "TZYX", (3, 2, 8, 8))
    server = peer()
    assert main(["stream", str(tmp_path / "in.tif"), str(tmp_path / "o.tif"), "--server", server.endpoint,
                 "--quiet"]) == 0  # fmt: skip
    expected = pytest.approx([0, 0, 0.6, 0.6, 1.2, 1.2])
    assert [message.t_acq for message in server.log if message.TYPE == "FRAME"] == expected
    assert [line["t_acq"] for line in flags(tmp_path / "o.flags.jsonl")] == expected


def test_wrong_usage_is_told_by_argparse(capsys):
    stream = ["stream", "a", "b", "--server", "x"]
    for command in (
        [], ["stream"], [*stream, "--window", "0"], [*stream, "--frame-interval", "0"],
        [*stream, "--split-every", "-1"], ["denoise", *stream[1:], "--output", "map"],
        ["ping", "--server", "x", "--timeout", "0"],
    ):  # fmt: skip
        with pytest.raises(SystemExit) as refused:
            main(command)
        assert refused.value.code == 2


def test_ping_answers(peer, capsys):
    assert main(["ping", "--server", peer().endpoint]) == 0
    assert "boot b" in capsys.readouterr().out


class Door(BaseHTTPRequestHandler):
    models = ({"id": "er light", "sha256": "ab" * 32, "name": "ER", "gain": 70.5, "offset": -2.0},)

    def do_GET(self):
        self.answer(200, json.dumps({"models": list(self.models)}).encode())

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked.append((self.path, self.headers["Content-Type"], self.headers["Accept"]))
        if self.path.startswith("/v1/models/none/"):
            members = {**vars(Problem.of(Code.UNKNOWN_MODEL, "there is no model 'none'")), "instance": "/x"}
            self.answer(404, json.dumps(members).encode())
        elif self.path.startswith("/v1/models/proxy/"):
            self.answer(502, b"<html>")
        else:
            self.answer(200, body[::-1])

    def answer(self, status, body):
        self.send_response(status)
        for name, value in self.server.told.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args): ...


@pytest.fixture
def door():
    server = HTTPServer(("127.0.0.1", 0), Door)
    server.asked, server.told = [], {}
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_file_is_denoised_in_one_request(tmp_path, door):
    written(tmp_path / "in.tif", "TYX", (2, 8, 8))
    command = ["denoise", str(tmp_path / "in.tif"), str(tmp_path / "o.tif"), "--server",
               f"http://127.0.0.1:{door.server_port}"]  # fmt: skip
    assert main(command) == 0
    assert (tmp_path / "o.tif").read_bytes() == (tmp_path / "in.tif").read_bytes()[::-1]
    asked = [("/v1/models/er%20light/denoise?out_dtype=uint16", "image/tiff", "image/tiff")]
    assert door.asked == asked
    # What was understood here is sent, so that the server need not understand it too.
    assert main([*command, "--overwrite", "--axes", "ZYX", "--z-step", "0.1"]) == 0
    assert door.asked == [*asked, *asked]
    (tmp_path / "sent.tif").write_bytes((tmp_path / "o.tif").read_bytes()[::-1])
    with open_images(tmp_path / "sent.tif") as stack, open_images(tmp_path / "in.tif") as source:
        assert (stack.axes, stack.scale.z_step_um, stack.square_pixel_um) == ("ZYX", 0.1, 0.02)
        np.testing.assert_array_equal(stack.asarray(), source.asarray())


def test_what_a_request_can_ask_for_reaches_the_server(tmp_path, door, capsys):
    written(tmp_path / "in.tif", "TYX", (2, 8, 8))
    door.told = {"Dimstream-Flags": "ok=0, unjudged=0, suspect=1", "Dimstream-Reason": "blank frame"}
    command = ["denoise", str(tmp_path / "in.tif"), str(tmp_path / "o.tif"), "--server",
               f"http://127.0.0.1:{door.server_port}"]  # fmt: skip
    assert main([*command, "--split-every", "1", "--frame-interval", "0.5", "--output", "support"]) == 0
    query = "out_dtype=uint16&split_every=1&output=support"
    assert door.asked[0][0] == f"/v1/models/er%20light/denoise?{query}"
    told = f"{tmp_path / 'o.tif'}: ok=0, unjudged=0, suspect=1; blank frame"
    assert capsys.readouterr().out.splitlines() == [
        f"{tmp_path / 'in.tif'}: TYX 2x8x8 uint16, pixels 0.02 um, 0.5 s between time points",
        told,
    ]


def test_a_place_that_cannot_be_written_is_told_before_anything_is_sent(tmp_path, door, capsys):
    written(tmp_path / "in.tif", "TYX", (2, 8, 8))
    for place in (tmp_path, tmp_path / "no" / "o.tif"):
        command = ["denoise", str(tmp_path / "in.tif"), str(place), "--server"]
        assert main([*command, f"http://127.0.0.1:{door.server_port}"]) == 3
        assert str(place) in capsys.readouterr().err
    assert door.asked == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_full_disk_is_told_by_the_name_of_the_file(tmp_path, door, capsys):
    written(tmp_path / "in.tif", "TYX", (2, 8, 8))
    full = tmp_path / "full.tif"
    full.symlink_to("/dev/full")
    command = ["denoise", str(tmp_path / "in.tif"), str(full), "--server"]
    assert main([*command, f"http://127.0.0.1:{door.server_port}"]) == 3
    assert capsys.readouterr().err == f"dimstream: {full}: No space left on device\n"


@pytest.mark.parametrize("address", ["http://127.0.0.1:99999", "http://127.0.0.1:abc", "http://[::1", ""])
def test_an_address_that_is_none_is_told_in_one_line(tmp_path, capsys, address):
    assert main(["models", "--server", address]) == 4
    err = capsys.readouterr().err
    assert "expected http://HOST:PORT" in err
    assert err.count("\n") == 1


def test_the_input_is_not_overwritten_by_maps(tmp_path, peer, capsys):
    written(tmp_path / "a.maps.ome.tif", "TYX", (2, 8, 8))
    command = ["stream", str(tmp_path / "a.maps.ome.tif"), str(tmp_path / "a.tif"), "--quiet", "--server"]
    assert main([*command, peer().endpoint, "--maps"]) == 2
    assert "a.maps.ome.tif would be overwritten" in capsys.readouterr().err


def test_the_input_is_not_overwritten_by_its_flags(tmp_path, peer, capsys):
    data = written(tmp_path / "a.flags.jsonl", "TYX", (2, 8, 8))
    command = ["stream", str(tmp_path / "a.flags.jsonl"), str(tmp_path / "a.tif"), "--server"]
    assert main([*command, peer().endpoint, "--quiet"]) == 2
    assert "a.flags.jsonl would be overwritten" in capsys.readouterr().err
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "a.flags.jsonl"), data)


def test_http_refusals_are_one_line(tmp_path, door, capsys):
    written(tmp_path / "in.tif", "TYX", (2, 8, 8))
    command = ["denoise", str(tmp_path / "in.tif"), str(tmp_path / "o.tif"), "--server",
               f"http://127.0.0.1:{door.server_port}"]  # fmt: skip
    assert main([*command, "--model", "none"]) == 4
    assert main([*command, "--model", "proxy"]) == 4
    assert main([*command[:-1], "http://127.0.0.1:9"]) == 4
    assert main([*command[:-1], "here:9"]) == 4
    lines = capsys.readouterr().err.splitlines()
    assert [any(word in line for word in words) for line, words in zip(
        lines, [["unknown_model"], ["HTTP 502"], ["no answer"], ["expected http"]], strict=True
    )] == [True] * 4  # fmt: skip
    assert not (tmp_path / "o.tif").exists()


def test_models_are_listed_with_their_scale(door, capsys, monkeypatch):
    raw = {"id": "raw", "sha256": "cd" * 32, "name": "Raw", "gain": None, "offset": None}
    monkeypatch.setattr(Door, "models", (*Door.models, raw))
    assert main(["models", "--server", f"http://127.0.0.1:{door.server_port}"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "er light\tabababababab\tER\t70.5 * prediction -2",
        "raw\tcdcdcdcdcdcd\tRaw\tno scale",
    ]


def test_the_version_is_told(capsys):
    with pytest.raises(SystemExit) as told:
        main(["--version"])
    assert told.value.code == 0
    assert capsys.readouterr().out == f"dimstream {version('dimstream-client')}\n"


@pytest.mark.parametrize("command", ["stream", "denoise"])
@pytest.mark.parametrize("out", ["denoised", "denoised.ome.tif"])
def test_an_input_that_is_not_there_is_said_before_anything_of_the_output(
    tmp_path, peer, capsys, monkeypatch, command, out
):
    monkeypatch.chdir(tmp_path)
    server = peer()
    assert main([command, "measurements", out, "--server", server.endpoint]) == 3
    assert capsys.readouterr().err == "dimstream: measurements: No such file or directory\n"
    assert not server.opened
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", ["stream", "denoise"])
@pytest.mark.parametrize(
    ("out", "code", "says"),
    [
        ("o.png", 2, "ends"),
        ("o.npy", 2, "ends"),
        ("o", 2, "ends"),
        ("-", 2, "ends"),
        ("", 2, "name of a file"),
        (".", 3, "is a folder; name a file in it, such as"),
        ("mine.tif", 2, "was not made by dimstream; name another, or replace it by --overwrite"),
        ("no/o.tif", 3, "there is no folder"),
    ],
)
def test_outputs_that_cannot_be_are_refused_before_anything_is_sent(
    tmp_path, peer, door, capsys, monkeypatch, command, out, code, says
):
    written(tmp_path / "in.tif", "TYX", (2, 8, 8))
    tifffile.imwrite(tmp_path / "mine.tif", np.zeros((8, 8), "uint16"))
    monkeypatch.chdir(tmp_path)
    server = peer()
    address = server.endpoint if command == "stream" else f"http://127.0.0.1:{door.server_port}"
    try:
        refused = main([command, "in.tif", out, "--server", address])
    except SystemExit as usage:
        refused = usage.code
    assert refused == code
    assert says.replace("ends", ".ome.tif at its end") in capsys.readouterr().err
    assert not server.opened
    assert not door.asked
    assert len(list(tmp_path.iterdir())) == 2


def test_results_are_replaced_and_other_files_only_where_that_is_said(tmp_path, peer):
    written(tmp_path / "in.tif", "TYX", (2, 8, 8))
    command = ["stream", str(tmp_path / "in.tif"), str(tmp_path / "o.tif"), "--server", peer().endpoint]
    assert main(command) == 0
    assert main(command) == 0
    (tmp_path / "o.tif").write_text("mine")
    assert main(command) == 2
    assert main([*command, "--overwrite"]) == 0
    assert main(["stream", str(tmp_path / "o.tif"), str(tmp_path / "in.tif"), *command[3:]]) == 0


def test_what_was_understood_is_printed_before_it_is_sent(tmp_path, peer, capsys):
    tifffile.imwrite(tmp_path / "in.tif", np.ones((5, 8, 8), "uint16"), metadata={"axes": "ZYX"})
    command = ["stream", str(tmp_path / "in.tif"), str(tmp_path / "o.tif"), "--model", "none", "--server"]
    assert main([*command, peer().endpoint]) == 4
    assert capsys.readouterr().out.splitlines() == [
        f"{tmp_path / 'in.tif'}: ZYX 5x8x8 uint16, pixel size unknown, z step unknown",
        "  note: no pixel size was found in the file",
        "  note: no z step was found in the file",
    ]
    told = ["--axes", "TYX", "--pixel-size", "0.02,0.05", "--frame-interval", "0.5"]
    assert main([*command, peer().endpoint, *told]) == 4
    assert "TYX 5x8x8 uint16, pixels 0.02 x 0.05 um, 0.5 s between" in capsys.readouterr().out


def test_a_z_stack_that_may_be_a_movie_is_told_so():
    assert "--axes TYX" in movie_hint("ZYX", {"unjudged": 3, "ok": 0})
    assert movie_hint("ZYX", {"unjudged": 2, "suspect": 1}) is None
    assert movie_hint("TZYX", {"unjudged": 3}) is None
    assert movie_hint("ZYX", {"unjudged": 0}) is None


@pytest.mark.parametrize("existed", [False, True])
def test_an_output_gets_its_name_when_it_is_whole(tmp_path, existed):
    out = tmp_path / "out.tif"
    if existed:
        out.write_bytes(b"old")
    write_whole(out, b"new")
    assert out.read_bytes() == b"new"
    assert [path.name for path in tmp_path.iterdir()] == ["out.tif"]


@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="needs a disk that is full")
def test_a_device_behind_a_link_is_not_replaced(tmp_path):
    (tmp_path / "out.tif").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left"):
        write_whole(tmp_path / "out.tif", b"new")
    assert Path("/dev/full").is_char_device()
    assert (tmp_path / "out.tif").is_symlink()
