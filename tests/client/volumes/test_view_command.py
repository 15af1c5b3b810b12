import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import imagecodecs
import numpy as np
import pytest

from dimstream_client.cli import main
from dimstream_client.files import Scale, open_images
from dimstream_client.files.tiff_writer import StackWriter

SHA = "ab" * 32
SCALE = Scale((0.02, 0.02), 0.05, 10.2, ("ER",))
KEPT = (2, 5)
"""First and last plane with a sample, of 8."""


def written(path, axes="ZYX", shape=(8, 12, 16), scale=SCALE, dtype="uint16"):
    """A stack with a sample in the planes `KEPT`, as far as its flags say."""
    data = np.random.default_rng(4).integers(1, 60000, shape).astype(dtype)
    with StackWriter(path, axes=axes, shape=shape, dtype=dtype, scale=scale) as writer:
        for frame in data.reshape(-1, *shape[-2:]):
            writer.write(frame)
    with open_images(path) as stack:
        places = [stack.index(n) for n in range(len(stack))]
    lines = [line(place, structure_score=20.0 if KEPT[0] <= place.z <= KEPT[1] else 1.0) for place in places]
    save(path.with_name("out.flags.jsonl"), lines)
    return data


def line(at, **quality):
    known = {
        "structure_score": 20.0,
        "unsupported_fraction": 0.1,
        "ssim_z": 0.8 if at.z else None,
        "split": None,
        **quality,
    }
    flag = {"flag": "unjudged", "reason": "first frame"} if at.t == 0 else {"flag": "ok", "reason": None}
    return {"index": vars(at), "status": "done", **flag, "model_sha256": SHA, "quality": known}


def save(path, lines):
    path.write_text("".join(json.dumps(one) + "\n" for one in lines))


def loaded(path):
    return [json.loads(one) for one in path.read_text().splitlines()]


def picture(path):
    return imagecodecs.png_decode(path.read_bytes())


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out.ome.tif"


def test_a_stack_is_drawn_and_its_crop_is_proposed(out, capsys):
    written(out)
    assert main(["view", str(out)]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first == (
        f"{out}: keep z 2 to 5 of 0 to 7; by ssim 0.2915, structure score 5, split 0.4092 (shipped defaults)"
    )
    assert second.startswith("written: ")
    assert picture(out.with_name("out.orthogonal.png")).shape == (12 + 6 + 20, 16 + 6 + 20)
    report = json.loads(out.with_name("out.volume.json").read_text())
    assert report["volumes"][0]["crop"] == {"first": 2, "last": 5, "untrusted": [], "left_out": []}
    assert [plane["trusted"] for plane in report["volumes"][0]["planes"]] == [
        KEPT[0] <= z <= KEPT[1] for z in range(8)
    ]
    assert report["thresholds_from"] == "shipped defaults"


def test_the_projection_is_the_maximum_of_what_is_kept(out):
    data = written(out)
    main(["view", str(out)])
    black, white = np.quantile(data, [0.001, 0.999])
    expected = (data[2:6].max(axis=0) - black) / (white - black) * 255
    drawn = picture(out.with_name("out.projection.png"))
    np.testing.assert_allclose(drawn, np.clip(expected, 0, 255), atol=0.51)


def test_the_cropped_stack_keeps_its_pixels_and_scale(out):
    data = written(out, "TZYX", (2, 8, 12, 16))
    cropped = out.with_name("cropped.ome.tif")
    assert main(["view", str(out), "--crop", str(cropped)]) == 0
    with open_images(cropped) as stack:
        assert (stack.axes, stack.shape, stack.scale) == ("TZYX", (2, 4, 12, 16), SCALE)
        np.testing.assert_array_equal(stack.asarray(), data[:, 2:6])


def test_planes_along_any_axes_are_found(out):
    data = written(out, "TCZYX", (2, 2, 8, 12, 16), Scale((0.02, 0.02), 0.02), "float32")
    assert main(["view", str(out), "--time", "1", "--channel", "1", "--row", "3", "--column", "2"]) == 0
    drawn = picture(out.with_name("out.orthogonal.png"))
    black, white = np.quantile(data[:, 1], [0.001, 0.999])
    expected = (data[1, 1, :, 3] - black) / (white - black) * 255
    np.testing.assert_allclose(drawn[12 + 6 + 2 : 12 + 6 + 6, :16], np.clip(expected[2:6], 0, 255), atol=0.51)


def test_channels_are_cropped_together_to_what_all_keep(out, capsys):
    data = written(out, "CZYX", (2, 8, 12, 16))
    lines = loaded(out.with_name("out.flags.jsonl"))
    lines[8 + 2]["quality"]["structure_score"] = 1.0
    save(out.with_name("out.flags.jsonl"), lines)
    assert main(["view", str(out), "--crop", str(out.with_name("c.ome.tif"))]) == 0
    told = capsys.readouterr().out
    assert "channel 0, position 0: keep z 2 to 5 of" in told
    assert "channel 1, position 0: keep z 3 to 5 of" in told
    with open_images(out.with_name("c.ome.tif")) as stack:
        np.testing.assert_array_equal(stack.asarray(), data[:, 3:6])


def test_all_times_are_drawn_on_one_scale(out, tmp_path, capsys):
    shape = (11, 8, 12, 16)
    data = written(out, "TZYX", shape)
    assert main(["view", str(out), "--all-times", "--out-dir", str(tmp_path / "pictures")]) == 0
    names = sorted(path.name for path in (tmp_path / "pictures").glob("*.orthogonal.png"))
    assert names == [f"out.t{t:02d}.orthogonal.png" for t in range(11)]
    assert "keep z 2 to 5 of 0 to 7 in at least 90% of the 11 time points" in capsys.readouterr().out
    black, white = np.quantile(data, [0.001, 0.999])
    for t in (0, 10):
        drawn = picture(tmp_path / "pictures" / f"out.t{t:02d}.projection.png")
        expected = (data[t, 2:6].max(axis=0) - black) / (white - black) * 255
        np.testing.assert_allclose(drawn, np.clip(expected, 0, 255), atol=0.51)


def test_holes_and_planes_apart_are_named(out, capsys):
    written(out)
    lines = loaded(out.with_name("out.flags.jsonl"))
    for z, structure in {0: 20.0, 3: 1.0, 5: 1.0, 7: 20.0}.items():
        lines[z]["quality"]["structure_score"] = structure
    save(out.with_name("out.flags.jsonl"), lines)
    main(["view", str(out), "--structure-score", "10"])
    told = capsys.readouterr().out.splitlines()[0].removeprefix(f"{out}: ").split("; ")
    assert told == [
        "keep z 0 to 4 of 0 to 7",
        "inside, not trusted: z 1, 3",
        "trusted, but apart: z 7",
        "by ssim 0.2915, structure score 10, split 0.4092 (--structure-score, shipped defaults)",
    ]


def test_without_flags_it_is_drawn_as_it_is_and_says_so(out, capsys):
    data = written(out, scale=Scale((0.02, 0.02), 0.02))
    out.with_name("out.flags.jsonl").unlink()
    assert main(["view", str(out), "--plane", "0"]) == 0
    assert "so no crop is proposed" in capsys.readouterr().err
    assert not out.with_name("out.volume.json").exists()
    black, white = np.quantile(data, [0.001, 0.999])
    expected = np.clip((data[0] - black) / (white - black) * 255, 0, 255)
    np.testing.assert_allclose(picture(out.with_name("out.orthogonal.png"))[:12, :16], expected, atol=0.51)


def test_an_unknown_z_step_is_said(out, capsys):
    written(out, scale=Scale((0.02, 0.02)))
    assert main(["view", str(out)]) == 0
    assert "1 pixel thick; give --aspect" in capsys.readouterr().err
    assert picture(out.with_name("out.orthogonal.png")).shape == (12 + 6 + 8, 16 + 6 + 8)
    assert main(["view", str(out), "--aspect", "3"]) == 0
    assert capsys.readouterr().err == ""
    assert picture(out.with_name("out.orthogonal.png")).shape == (12 + 6 + 24, 16 + 6 + 24)


def test_nothing_trusted_is_told_and_not_cropped(out, capsys):
    written(out)
    command = ["view", str(out), "--structure-score", "50", "--crop", str(out.with_name("c.ome.tif"))]
    assert main(command) == 1
    told = capsys.readouterr()
    assert "no plane of 8 is trusted" in told.out
    assert "nothing was cropped" in told.err
    assert not out.with_name("c.ome.tif").exists()


REFUSED = {
    "movie": ("TYX", [], 3, "expected a z-stack, of several planes along Z, got axes TYX"),
    "movie of one plane": ("YX", [], 3, "--axes ZYX"),
    "no such time": ("ZYX", ["--time", "1"], 2, "--time from 0 to 0, got 1"),
    "no such plane": ("ZYX", ["--plane", "8"], 2, "--plane from 0 to 7, got 8"),
    "no such column": ("ZYX", ["--column", "-1"], 2, "--column from 0 to 15, got -1"),
    "no such channel": ("ZYX", ["--channel", "1"], 2, "--channel from 0 to 0"),
    "no such flags": ("ZYX", ["--flags", "{dir}/none.jsonl"], 3, "none.jsonl"),
    "flags that are none": ("ZYX", ["--flags", "{dir}/out.ome.tif"], 3, "none in line 1"),
    "flags of a longer stack": ("ZYX", ["--flags", "{dir}/longer.jsonl"], 3, "which it does not have"),
    "overwritten": ("ZYX", ["--crop", "{dir}/out.ome.tif"], 2, "would be overwritten"),
    "aspect": ("ZYX", ["--aspect", "1e9"], 2, "give --aspect"),
    "no server": ("ZYX", ["--server", "http://127.0.0.1:9"], 4, "no answer"),
}


@pytest.mark.parametrize(("axes", "options", "code", "says"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_done_is_one_line_and_nothing_is_written(out, capsys, axes, options, code, says):
    written(out, axes, (8, 12, 16)[-len(axes) :])
    if axes == "ZYX":
        lines = loaded(out.with_name("out.flags.jsonl"))
        save(out.with_name("longer.jsonl"), [*lines, {**lines[0], "index": {"t": 0, "c": 0, "z": 8, "p": 0}}])
    before = out.read_bytes()
    assert main(["view", str(out), *(option.format(dir=out.parent) for option in options)]) == code
    err = capsys.readouterr().err
    assert says in err
    assert err.count("\n") == 1
    assert out.read_bytes() == before
    assert not list(out.parent.glob("*.png"))


def test_a_crop_without_flags_is_refused(out, capsys):
    written(out)
    out.with_name("out.flags.jsonl").unlink()
    assert main(["view", str(out), "--crop", str(out.with_name("c.ome.tif"))]) == 3
    assert "give --flags" in capsys.readouterr().err


@contextmanager
def door(*models):
    class Door(BaseHTTPRequestHandler):
        def do_GET(self):
            body = json.dumps({"models": models}).encode()
            self.send_response(200 if self.path == "/v1/models" else 404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args): ...

    server = HTTPServer(("127.0.0.1", 0), Door)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def model(name="er", sha=SHA, **thresholds):
    known = {
        "ssim": 0.3,
        "background_max": 5,
        "signal_min": 25,
        "structure_score": 6,
        "split": 0.5,
        **thresholds,
    }
    return {"id": name, "sha256": sha, "name": "ER", "thresholds": known}


def test_thresholds_are_those_of_the_model_that_denoised(out, capsys):
    written(out)
    with door(model("other", "cd" * 32, ssim=0.9), model()) as server:
        assert main(["view", str(out), "--server", server]) == 0
        assert main(["view", str(out), "--server", server, "--ssim", "0.7"]) == 0
    first, _, second, _ = capsys.readouterr().out.splitlines()
    assert first.endswith("by ssim 0.3, structure score 6, split 0.5 (model er)")
    assert second.endswith("by ssim 0.7, structure score 6, split 0.5 (--ssim, model er)")


@pytest.mark.parametrize(
    ("models", "says"),
    [([model(sha="cd" * 32)], "the one model that denoised"), ([model(ssim=None)], "give --ssim")],
)
def test_thresholds_that_the_server_does_not_have_are_asked_for(out, capsys, models, says):
    written(out)
    with door(*models) as server:
        assert main(["view", str(out), "--server", server]) == 2
    assert says in capsys.readouterr().err
