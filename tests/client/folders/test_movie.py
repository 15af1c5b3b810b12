"""`dimstream stream FOLDER OUT` takes single images as one movie."""

import json

import numpy as np
import pytest
import tifffile

from dimstream_client.cli import main
from dimstream_client.files import Scale, open_images
from dimstream_client.files.ome_writer import PlaneNotes, ome_xml
from dimstream_client.folders.movie import open_folder

RNG = np.random.default_rng(5)


def single(path, shape=(8, 8), dtype="uint16", **options):
    data = RNG.poisson(3, shape).astype(dtype)
    path.parent.mkdir(exist_ok=True)
    tifffile.imwrite(path, data, photometric="minisblack", **options)
    return data


def flags(out):
    return [json.loads(line) for line in out.with_name("out.flags.jsonl").read_text().splitlines()]


def dated(path, seconds):
    """An OME-TIFF with the date at which it was taken."""
    xml = ome_xml("YX", (8, 8), "uint16", Scale(), PlaneNotes(started_at=1.7e9 + seconds))
    return single(path, description=xml, metadata=None)


@pytest.fixture
def stream(tmp_path, peer):
    server = peer()

    def run(*options, out="out.ome.tif"):
        command = ["stream", str(tmp_path / "in"), str(tmp_path / out), "--server", server.endpoint]
        return main([*command, "--quiet", *options])

    run.server, run.source, run.out = server, tmp_path / "in", tmp_path / "out.ome.tif"
    return run


def test_images_come_in_natural_order_with_their_names(stream, capsys):
    data = [single(stream.source / f"img{n}.tif") for n in (1, 2, 10)]
    (stream.source / "notes.txt").write_text("x")
    single(stream.source / "deeper" / "img4.tif")
    assert stream("--frame-interval", "0.5", "--pixel-size", "0.02,0.05") == 0
    with open_images(stream.out) as stack:
        assert (stack.axes, stack.shape, stack.scale.frame_interval_s) == ("TYX", (3, 8, 8), 0.5)
        assert stack.scale.pixel_size_um == (0.02, 0.05)
        assert stack.labels == ("img1.tif", "img2.tif", "img10.tif")
        np.testing.assert_array_equal(stack.asarray(), data)
    lines = flags(stream.out)
    assert [line["t_acq"] for line in lines] == [0.0, 0.5, 1.0]
    said = capsys.readouterr().out
    assert "one movie of 3 files, from img1.tif to img10.tif" in said
    assert "1 images in subfolders are not used" in said
    assert "1 files that are not images are not used" in said
    assert stream.server.opened[0].pixel_size_um is None  # the server knows square pixels only


def test_dates_of_the_files_are_the_times_of_the_frames(stream):
    for n, seconds in enumerate((0, 3, 10)):
        dated(stream.source / f"img{n}.ome.tif", seconds)
    assert stream() == 0
    sent = [message.t_acq for message in stream.server.log if message.TYPE == "FRAME"]
    assert sent == [1.7e9, 1.7e9 + 3, 1.7e9 + 10]
    with open_images(stream.out) as stack:
        assert [stack.t_acq(n) for n in range(3)] == sent


def test_dates_that_do_not_fit_the_names_are_told(tmp_path):
    for n, seconds in enumerate((0, 10, 3)):
        dated(tmp_path / "in" / f"img{n}.ome.tif", seconds)
    with open_folder(tmp_path / "in", open_images) as stack:
        assert "the dates in the files do not increase in the order of their names" in stack.remarks
    single(tmp_path / "in" / "img9.tif")
    with open_folder(tmp_path / "in", open_images) as stack:
        assert stack.t_acq(0) is None
        assert "some files have no date, so the times of all are left out" in stack.remarks


def test_z_stacks_are_time_points(stream):
    data = [single(stream.source / f"{n}.tif", (3, 8, 8), metadata={"axes": "ZYX"}) for n in range(2)]
    assert stream() == 0
    with open_images(stream.out) as stack:
        assert (stack.axes, stack.shape) == ("TZYX", (2, 3, 8, 8))
        np.testing.assert_array_equal(stack.asarray(), data)


@pytest.mark.parametrize(
    ("other", "says"),
    [
        ({"shape": (8, 9)}, "b.tif is YX (8, 9) uint16, the first image is YX (8, 8) uint16"),
        ({"dtype": "uint8"}, "uint8, the first image is"),
        ({"shape": (3, 8, 8), "metadata": {"axes": "TYX"}}, "expected single images"),
        (None, "b.tif: "),
    ],
)
def test_images_of_other_kinds_are_refused_before_anything_is_sent(stream, capsys, other, says):
    single(stream.source / "a.tif")
    if other is None:
        (stream.source / "b.tif").write_text("no image")
    else:
        single(stream.source / "b.tif", **other)
    assert stream() == 3
    assert says in capsys.readouterr().err
    assert stream.server.opened == []


def test_an_output_in_the_folder_is_no_image_of_it(stream):
    for n in range(2):
        single(stream.source / f"{n}.tif")
    assert stream(out="in/out.ome.tif") == 0
    assert stream(out="in/out.ome.tif") == 0
    with open_images(stream.source / "out.ome.tif") as stack:
        assert len(stack) == 2


def test_the_axes_of_a_folder_begin_with_time(stream, capsys):
    single(stream.source / "a.tif", (3, 8, 8))
    assert stream("--axes", "ZYX") == 2
    assert "begin with T" in capsys.readouterr().err
    assert stream("--axes", "TZYX") == 0
    with open_images(stream.out) as stack:
        assert (stack.axes, stack.shape) == ("ZYX", (3, 8, 8))  # of one file, so of one time point


def test_a_frame_with_nan_fails_alone(stream):
    for n in range(3):
        single(stream.source / f"{n}.tif", dtype="float32")
    bad = np.zeros((2, 8, 8), "float32")
    bad[1, 0, 0] = np.nan
    for n in range(3):
        tifffile.imwrite(stream.source / f"{n}.tif", bad, metadata={"axes": "CYX"}, photometric="minisblack")
    assert stream() == 1
    lines = flags(stream.out)
    assert [line["status"] for line in lines] == ["done", "unreadable"] * 3
    assert lines[1]["reason"].startswith("0.tif: frame 1 holds NaN")
