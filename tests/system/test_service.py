"""The service as its users meet it: commands, hostile neighbours, a stop in the middle."""

import json
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zmq
from matplotlib.image import imread
from numpy.typing import NDArray
from shipped import BUNDLE

from dimstream_client import Client, StreamError
from dimstream_client.cli import main as dimstream
from dimstream_server.demo import main as demo
from dimstream_server.server_process import RunningServer

pytestmark = pytest.mark.slow

STACKS = {
    "TYX": (3, 40, 48),
    "ZYX": (3, 40, 48),
    "TZYX": (2, 3, 40, 48),
    "TCYX": (2, 2, 40, 48),
}


def test_the_demo_leaves_what_it_promises(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "denoised.resume.json").write_text("left by a demo that was interrupted")
    assert demo(["--out", str(tmp_path), "--interval", "0"]) == 0
    assert (
        "bundle er-sted-light, the one that ships: trained on simulated frames only"
        in capsys.readouterr().out
    )
    for name in ("movie.ome.tif", "truth.ome.tif"):
        assert (tmp_path / name).read_bytes() == (BUNDLE / "sample" / name).read_bytes()
    with tifffile.TiffFile(tmp_path / "denoised.ome.tif") as file:
        assert file.series[0].axes == "TYX"
        metadata = file.ome_metadata or ""
    assert 'PhysicalSizeX="0.02"' in metadata
    assert 'TimeIncrement="4.6"' in metadata
    records = [json.loads(line) for line in (tmp_path / "denoised.flags.jsonl").read_text().splitlines()]
    assert [record["seq"] for record in records] == list(range(48))
    assert {"ssim_prev", "flag", "reason", "t_ms"} <= set(records[0])
    flags = [record["flag"] for record in records]
    assert flags == ["unjudged"] + ["ok"] * 29 + ["suspect"] * 10 + ["unjudged"] + ["ok"] * 7
    assert [record["quality"]["suspect_since"] for record in records] == [None] * 30 + [30] * 10 + [None] * 8
    maps = tifffile.imread(tmp_path / "denoised.maps.ome.tif")
    assert (maps.shape, maps.dtype) == ((48, 256, 256), np.uint8)
    predicted = (maps & 4) > 0
    assert ((maps & 8) > 0)[30:40][predicted[30:40]].all()
    assert ((maps & 8) > 0)[:30].sum() < 0.1 * predicted[:30].sum()
    invented = tifffile.imread(tmp_path / "denoised.ome.tif")[30:40]
    assert invented.dtype == np.float32  # fractions of a count
    picture = imread(tmp_path / "summary.png")[..., :3]
    height, width, _ = picture.shape
    panel = picture[int(0.40 * height) : int(0.55 * height), int(0.27 * width) : int(0.43 * width)]
    assert (panel.max(axis=-1) > 0.3).mean() > 0.05, "the invention is not to be seen in the second row"


def test_the_zeromq_port_given_as_http_is_named(
    server: RunningServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tifffile.imwrite(tmp_path / "in.tif", np.ones((2, 8, 8), np.uint16))
    address = server.zmq.replace("tcp:", "http:")
    command = ["denoise", str(tmp_path / "in.tif"), str(tmp_path / "o.tif"), "--server", address]
    assert dimstream([*command, "--timeout", "10"]) == 4
    assert "does not speak HTTP; is this the server's ZeroMQ port?" in capsys.readouterr().err


def test_a_frame_that_is_refused_costs_no_other_anything(
    server: RunningServer, sample: NDArray[np.uint16]
) -> None:
    """Whatever was sent behind it comes again: the same as if the program had skipped it."""
    frames = sample[:12, :64, :72].astype(np.float32)
    frames[5, 0, 0] = np.nan

    def run(client: Client, *, skips: bool) -> tuple[list[Any], list[Any]]:
        results, errors = [], []
        with client.open(frames.shape[1:], "float32", window=8) as stream:
            for seq, frame in enumerate(frames):
                if skips and seq == 5:
                    stream.skip(reason="not finite")
                else:
                    stream.send(frame)
            stream.finish()
            while True:
                try:
                    if (result := stream.take(timeout_s=60)) is None:
                        return results, errors
                    results.append(result)
                except StreamError as error:
                    errors.append((len(results), error.seq, error.code))

    with Client(server.zmq) as client:
        expected, none = run(client, skips=True)
        found, errors = run(client, skips=False)
    assert (none, errors) == ([], [(5, 5, "not_finite")])
    for one, other in zip(found, expected, strict=True):
        assert (one.seq, one.flag, one.reason, one.ssim_prev) == (
            *(other.seq, other.flag, other.reason, other.ssim_prev),
        )
        np.testing.assert_array_equal(one.pixels, other.pixels)


@pytest.mark.parametrize(("axes", "shape"), STACKS.items(), ids=STACKS)
def test_stacks_keep_axes_and_pixel_size(
    server: RunningServer, tmp_path: Path, axes: str, shape: tuple[int, ...]
) -> None:
    stack = np.random.default_rng(0).poisson(2.0, shape).astype(np.uint16)
    source, streamed, posted = (tmp_path / name for name in ("in.ome.tif", "streamed.ome.tif", "posted.tif"))
    metadata = {
        "axes": axes,
        "PhysicalSizeX": 0.02,
        "PhysicalSizeXUnit": "µm",
        "PhysicalSizeY": 0.02,
        "PhysicalSizeYUnit": "µm",
    }
    tifffile.imwrite(source, stack, ome=True, photometric="minisblack", metadata=metadata)
    assert dimstream(["stream", str(source), str(streamed), "--server", server.zmq]) == 0
    assert dimstream(["denoise", str(source), str(posted), "--server", server.http]) == 0
    for path in (streamed, posted):
        with tifffile.TiffFile(path) as file:
            assert (file.series[0].axes, file.series[0].shape) == (axes, shape)
            assert 'PhysicalSizeX="0.02"' in (file.ome_metadata or "")
    assert np.array_equal(tifffile.imread(streamed), tifffile.imread(posted))
    flags = (tmp_path / "streamed.flags.jsonl").read_text().splitlines()
    assert len(flags) == int(np.prod(shape[:-2]))


def test_maps_are_the_same_through_both_commands(
    server: RunningServer, sample: NDArray[np.uint16], tmp_path: Path
) -> None:
    source, streamed, posted = (tmp_path / name for name in ("in.tif", "streamed.tif", "posted.tif"))
    tifffile.imwrite(source, sample[:3, :96, :96], metadata={"axes": "TYX"}, photometric="minisblack")
    asked = ["--split-every", "2", "--frame-interval", "4.6"]
    assert dimstream(["stream", str(source), str(streamed), "--server", server.zmq, "--maps", *asked]) == 0
    command = ["denoise", str(source), str(posted), "--server", server.http, "--output", "support", *asked]
    assert dimstream(command) == 0
    maps = tifffile.imread(tmp_path / "streamed.maps.ome.tif")
    assert (maps.dtype, maps.shape) == (np.uint8, (3, 96, 96))
    assert set(np.unique(maps & 3)) <= {0, 1, 2}
    assert (maps & 4).any()
    assert np.array_equal(maps, tifffile.imread(posted))
    lines = [json.loads(line) for line in (tmp_path / "streamed.flags.jsonl").read_text().splitlines()]
    assert [line["quality"]["split"] is not None for line in lines] == [True, False, True]


def test_every_plane_has_its_own_memory(server: RunningServer, sample: NDArray[np.uint16]) -> None:
    alone = sample[:4, :64, :64]
    from dimstream_client import PlaneIndex

    mixed = [
        (frame, PlaneIndex(t=t, c=c))
        for t, cell in enumerate(alone)
        for c, frame in enumerate((cell, sample[t, 64:128, 64:128]))
    ]
    with Client(server.zmq) as client:
        expected = [result.ssim_prev for result in client.stream(alone)]
        found = [result.ssim_prev for result in client.stream(mixed) if result.index.c == 0]
    assert found == expected


def test_hostile_bytes_leave_others_alone(server: RunningServer, sample: NDArray[np.uint16]) -> None:
    rng = np.random.default_rng(0)
    with Client(server.zmq) as client, zmq.Context() as context, context.socket(zmq.DEALER) as hostile:
        hostile.setsockopt(zmq.LINGER, 0)
        hostile.connect(server.zmq)
        results = client.stream([frame[:64, :64] for frame in sample[:20]])
        for _ in range(20):
            next(results)
            hostile.send_multipart(
                [rng.bytes(int(rng.integers(0, 200))) for _ in range(int(rng.integers(1, 5)))]
            )
            hostile.send_multipart([b"DIM1FRAME", rng.bytes(40), rng.bytes(10)])
        assert hostile.poll(60_000)
        header = json.loads(hostile.recv_multipart()[1])
        assert header["code"] in {"bad_magic", "bad_header", "unknown_type"}
        assert client.ping().queue >= 0


def test_sigterm_answers_every_accepted_frame(tmp_path: Path, eventually: Any) -> None:
    ready = tmp_path / "ready.json"
    command = [sys.executable, "-m", "dimstream_server.cli", "serve", "--bundle", str(BUNDLE)]
    ends = ["--zmq", "tcp://127.0.0.1:0", "--http", "127.0.0.1:0", "--ready-file", str(ready)]
    frame = np.random.default_rng(0).poisson(1.0, (256, 256)).astype(np.uint16)
    answered: list[int] = []
    with subprocess.Popen([*command, *ends]) as process:
        try:
            eventually(ready.exists)
            where = json.loads(ready.read_text())

            def accepted() -> int:
                with urllib.request.urlopen(f"{where['http']}/v1/streams", timeout=60) as answer:
                    (listed,) = json.load(answer)["streams"]
                return int(listed["next_seq"])

            with Client(where["zmq"]) as client:
                take = lambda result: answered.append(result.seq)  # noqa: E731
                stream = client.open(frame.shape, "uint16", window=8, on_result=take)
                for _ in range(8):
                    stream.send(frame)
                eventually(lambda: accepted() == 8)
                process.send_signal(signal.SIGTERM)
                eventually(lambda: len(answered) == 8)
            assert process.wait(60) == 0
        finally:
            process.kill()
    assert answered == list(range(8))
