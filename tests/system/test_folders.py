"""A folder denoised by both endpoints of the real server: the same pixels, the same flags."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from image_cases import make_cases
from numpy.typing import NDArray

from dimstream_client.cli import main
from dimstream_client.files import Scale, open_images
from dimstream_client.files.ome_writer import PlaneNotes
from dimstream_client.files.tiff_writer import StackWriter
from dimstream_server.server_process import RunningServer

pytestmark = pytest.mark.slow

TIMES = [0.0, 0.5, 3.0, 10.0]
LABELS = ["a", "b", "c", "d"]


def flags(folder: Path) -> list[dict[str, Any]]:
    with (folder / "flags.csv").open(newline="", encoding="utf-8") as table:
        return list(csv.DictReader(table))


@pytest.fixture
def night(tmp_path: Path, sample: NDArray[np.uint16]) -> Path:
    """A movie with times and labels of its own, a single image, a set of files, a bad file."""
    folder = tmp_path / "in"
    folder.mkdir()
    notes = PlaneNotes(times_s=TIMES, labels=LABELS)
    shape = (4, *sample.shape[1:])
    scale = Scale((0.02, 0.05), None, None)
    with StackWriter(
        folder / "movie.ome.tif", axes="TYX", shape=shape, dtype="uint16", scale=scale, notes=notes
    ) as writer:
        for frame in sample[:4]:
            writer.write(frame)
    np.save(folder / "single.npy", sample[0])
    make_cases(tmp_path / "cases")
    for path in (tmp_path / "cases" / "ome-in-several-files").iterdir():
        path.rename(folder / path.name)
    (folder / "bad.tif").write_text("no image")
    return folder


def test_both_endpoints_give_a_folder_the_same(server: RunningServer, night: Path, tmp_path: Path) -> None:
    outs = {"tcp": tmp_path / "tcp", "http": tmp_path / "http"}
    addresses = {"tcp": server.zmq, "http": server.http}
    for kind, out in outs.items():
        command = ["denoise", str(night), str(out), "--server", addresses[kind], "--quiet"]
        assert main(command) == 1  # of the bad file
        assert main(command) == 1  # again: nothing is to be done
    names = sorted(path.name for path in outs["tcp"].glob("*.ome.tif"))
    assert names == ["movie.ome.tif", "single.ome.tif", "z0.ome.tif"]
    for name in names:
        np.testing.assert_array_equal(*(tifffile.imread(out / name) for out in outs.values()))
    for out in outs.values():
        with open_images(out / "movie.ome.tif") as stack:
            assert [stack.delta_t_s(n) for n in range(4)] == TIMES
            assert stack.labels == tuple(LABELS)
            assert stack.scale.pixel_size_um == (0.02, 0.05)
    by_stream, by_request = (flags(out) for out in outs.values())
    assert len(by_stream) == 4 + 1 + 4
    for one, other in zip(by_stream, by_request, strict=True):
        del one["t_acq"], other["t_acq"]  # of the image without times it is that of the streaming
        assert one == other
    assert [float(row["t_acq"]) for row in flags(outs["tcp"]) if row["file"] == "movie.ome.tif"] == TIMES
