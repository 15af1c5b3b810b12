"""What is taken of an incomplete stack, which image of several, which axes, and what is refused by name."""

import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st

from dimstream_client.errors import TiffError
from dimstream_client.files import list_images, open_images
from dimstream_client.files.formats import ENDINGS
from dimstream_client.files.missing_planes import whole_box
from dimstream_client.files.ome_writer import PlaneNotes
from dimstream_client.files.tiff_writer import StackWriter

RNG = np.random.default_rng(4)


def counts(*shape: int) -> Any:
    return RNG.poisson(5, shape).astype(np.uint16)


def saved(data: Any, **options: Any) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, data, **{"photometric": "minisblack", **options})
    return file.getvalue()


@given(st.data())
def test_what_is_kept_of_an_incomplete_stack_is_all_there(data: st.DataObject) -> None:
    shape = data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=4).map(tuple))
    n = int(np.prod(shape))
    there = np.array(data.draw(st.lists(st.booleans(), min_size=n, max_size=n))).reshape(shape)
    there.flat[data.draw(st.integers(0, n - 1))] = True
    kept = whole_box(there)
    assert all(len(places) for places in kept)
    assert there[np.ix_(*kept)].all()


def test_a_run_that_was_stopped_keeps_its_whole_time_points() -> None:
    data = counts(5, 3, 8, 9)
    content = saved(data, ome=True, metadata={"axes": "TZYX"})
    content = content.replace(b'SizeT="5"', b'SizeT="9"').replace(b'PlaneCount="15"', b'PlaneCount="14"')
    with pytest.raises(TiffError, match=r"declares 27 planes .* and 14 are there"):
        open_images(content)
    with open_images(content, take_incomplete=True) as stack:
        np.testing.assert_array_equal(stack.asarray(), data[:4])
        assert "27 planes are declared, 14 are there, 12 are taken" in stack.remarks


def test_more_pages_than_are_declared_are_said_and_left_out() -> None:
    data = counts(6, 8, 9)
    content = saved(data, ome=True, metadata={"axes": "TYX"})
    content = content.replace(b'SizeT="6"', b'SizeT="4"').replace(b'PlaneCount="6"', b'PlaneCount="4"')
    with pytest.raises(TiffError, match=r"declares 4 planes .* and 6 are there"):
        open_images(content)
    with open_images(content, take_incomplete=True) as stack:
        np.testing.assert_array_equal(stack.asarray(), data[:4])
        assert "4 planes are declared and taken, 2 pages more are left out" in stack.remarks


@pytest.mark.parametrize("declared", [3, 7])
def test_imagej_that_declares_other_planes_than_there_are_is_refused(declared: int) -> None:
    data = counts(5, 8, 9)
    told = f"ImageJ=1.53t\nimages={declared}\nframes={declared}\n"
    content = saved(data, description=told, metadata=None)
    with pytest.raises(TiffError, match=rf"declares {declared} planes .* and 5 are there"):
        open_images(content)
    with open_images(content, take_incomplete=True) as stack:
        np.testing.assert_array_equal(stack.asarray(), data[:declared])


def test_a_script_that_was_stopped_is_refused_with_both_numbers() -> None:
    content = saved(counts(4, 8, 9), description='{"shape": [9, 8, 9]}', metadata=None)
    with pytest.raises(TiffError, match=r"declares 9 planes .* and 4 are there"):
        open_images(content)


def images(*stacks: tuple[Any, str, str]) -> bytes:
    file = io.BytesIO()
    with tifffile.TiffWriter(file, ome=True) as writer:
        for data, axes, name in stacks:
            writer.write(data, photometric="minisblack", metadata={"axes": axes, "Name": name})
    return file.getvalue()


def test_an_image_of_several_is_chosen_by_name_or_number_with_its_own_scale() -> None:
    file = io.BytesIO()
    data = [counts(3, 8, 9), counts(16, 16)]
    with tifffile.TiffWriter(file, ome=True) as writer:
        for pixels, axes, um in zip(data, ("TYX", "YX"), (0.02, 0.5), strict=True):
            told = {"axes": axes, "PhysicalSizeX": um, "PhysicalSizeY": um, "Name": axes.lower()}
            writer.write(pixels, photometric="minisblack", metadata=told)
    for series, at in {0: 0, "0": 0, "tyx": 0, 1: 1, "yx": 1}.items():
        with open_images(file, series=series) as stack:
            np.testing.assert_array_equal(stack.asarray(), data[at])
            assert stack.scale.pixel_size_um == ((0.02, 0.02), (0.5, 0.5))[at]
    for series in (2, -1, "x", "9" * 50):
        with pytest.raises(TiffError, match="0: 'tyx' TYX"):
            open_images(file, series=series)


def test_images_of_one_kind_are_positions_and_can_be_taken_alone() -> None:
    data = counts(2, 3, 8, 9)
    content = images((data[0], "TYX", "A1"), (data[1], "TYX", "A2"))
    assert [image.name for image in list_images(content)] == ["A1", "A2"]
    with open_images(content) as stack:
        assert (stack.axes, stack.shape) == ("PTYX", (2, 3, 8, 9))
        assert "2 images of one kind are taken as stage positions (P)" in stack.remarks
    with open_images(content, series="A2") as stack:
        np.testing.assert_array_equal(stack.asarray(), data[1])


@given(st.permutations("TCZP"), st.integers(2, 4))
def test_positions_come_first_and_every_plane_keeps_its_place(order: list[str], n: int) -> None:
    axes = "".join(order[:n])
    shape = (2, 3, 4, 2)[:n]
    planes = np.arange(np.prod(shape), dtype=np.uint16).reshape(*shape, 1, 1) * np.ones((2, 2), np.uint16)
    with (
        open_images(saved(planes, metadata=None), axes=axes + "YX")
        if n == 1
        else open_images(npy(planes), axes=axes + "YX") as stack
    ):
        assert sorted(stack.axes) == sorted(axes + "YX")
        assert stack.axes.find("P") <= 0
        for k in range(len(stack)):
            at = stack.index(k)
            place = tuple(getattr(at, axis.lower()) for axis in axes)
            assert int(stack.read(k)[0, 0]) == int(planes[place][0, 0])


def npy(data: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, data)
    return file.getvalue()


AXES = {
    "TXY": "YX after any", "TTX": "YX after any", "AYX": "YX after any", "TYX": "TYX",
    "tzyx": "file has shape",
    "": "file has shape", "YX": "file has shape", "ZYX": "ZYX", "PYX": "PYX",
}  # fmt: skip


@pytest.mark.parametrize(("axes", "what"), AXES.items())
def test_axes_that_are_told_are_taken_or_refused_in_words(axes: str, what: str) -> None:
    content = saved(counts(3, 8, 9))
    if what == axes:
        with open_images(content, axes=axes) as stack:
            assert stack.axes == axes
    else:
        with pytest.raises(TiffError, match=what):
            open_images(content, axes=axes)


def test_labels_and_names_of_channels_come_back(tmp_path: Path) -> None:
    path = tmp_path / "a.ome.tif"
    notes = PlaneNotes((0.0, 1.0, 5.0), ("first <&>", "", "third"), 1.7e9)
    with StackWriter(path, axes="TYX", shape=(3, 8, 9), dtype="uint16", notes=notes) as writer:
        for plane in counts(3, 8, 9):
            writer.write(plane)
    with open_images(path) as stack:
        assert stack.labels == notes.labels
        assert [stack.t_acq(n) for n in range(3)] == [1.7e9, 1.7e9 + 1, 1.7e9 + 5]
    told = {"axes": "TYX", "Labels": ["a", "b", "c"]}
    with open_images(saved(counts(3, 8, 9), imagej=True, metadata=told)) as stack:
        assert stack.labels == ("a", "b", "c")


OTHERS = {
    "x.czi": (b"ZISRAWFILE" + bytes(40), "Zeiss files .* in Fiji"),
    "x.nd2": (b"\xda\xce\xbe\x0a" + bytes(40), "Nikon"),
    "x.lif": (b"\x70\0\0\0" + bytes(40), "Leica"),
    "x.vsi": (b"II*\0garbage", "Olympus"),
    "x.oir": (bytes(64), "Olympus"),
    "x.ims": (b"\x89HDF\r\n\x1a\n" + bytes(40), "HDF5|Imaris"),
    "x.jpg": (b"\xff\xd8\xff" + bytes(40), "JPEG"),
    "x.npz": (b"PK\x03\x04" + bytes(40), "NumPy archive"),
}


@pytest.mark.parametrize(("name", "told"), OTHERS.items())
def test_other_makers_files_are_refused_by_name_with_how_to_export(
    tmp_path: Path, name: str, told: tuple[bytes, str]
) -> None:
    (tmp_path / name).write_bytes(told[0])
    with pytest.raises(TiffError, match=rf"({told[1]}).*are not read|{told[1]}"):
        open_images(tmp_path / name)


def test_whatever_its_name_the_bytes_decide(tmp_path: Path) -> None:
    data = counts(3, 8, 9)
    for k, content in enumerate((saved(data), npy(data), saved(data, ome=True, metadata={"axes": "TYX"}))):
        for ending in (*ENDINGS, ".dat", ".vsi2", ""):
            path = tmp_path / f"{k}{ending}"
            path.write_bytes(content)
            with open_images(path) as stack:
                assert (stack.axes, stack.shape) == ("TYX", (3, 8, 9))


KINDS = {"bool": "uint8", "int8": "uint8", "uint8": "uint8", "int16": "uint16", "uint16": "uint16"}


@pytest.mark.parametrize(
    "dtype", [*KINDS, "uint32", "int32", "int64", "uint64", "float16", "float32", "float64"]
)
def test_every_type_of_count_is_given_as_one_of_three_and_unchanged(dtype: str) -> None:
    data = RNG.poisson(1, (3, 8, 9)).astype(dtype)
    contents = [npy(data)] + ([saved(data)] if dtype not in ("int64", "uint64") else [])
    for content in contents:
        with open_images(content) as stack:
            assert stack.dtype == KINDS.get(dtype, "float32")
            np.testing.assert_array_equal(stack.asarray(), data)


def test_nan_in_the_first_of_several_frames_fails_it_alone() -> None:
    data = counts(3, 8, 9).astype(np.float32)
    data[0, 0, 0] = np.nan
    with open_images(npy(data)) as stack:
        with pytest.raises(TiffError, match="frame 0 holds NaN"):
            stack.read(0)
        np.testing.assert_array_equal(stack.read(1), data[1])
    with pytest.raises(TiffError, match="frame 0 holds NaN"):
        open_images(npy(data[0]))


def packed(data: Any, bits: int) -> bytes:
    """A page whose samples have so many bits; each row begins with a byte."""
    rows = ["".join(format(int(value), f"0{bits}b") for value in row) for row in data]
    rows = [row + "0" * (-len(row) % 8) for row in rows]
    pixels = b"".join(int(row, 2).to_bytes(len(row) // 8, "big") for row in rows)
    height, width = data.shape
    tags = [(256, 3, width), (257, 3, height), (258, 3, bits), (259, 3, 1), (262, 3, 1), (273, 4, 8)]
    tags += [(277, 3, 1), (278, 3, height), (279, 4, len(pixels))]
    pixels += b"\0" * (len(pixels) % 2)
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    head = b"II*\0" + struct.pack("<I", 8 + len(pixels))
    return head + pixels + struct.pack("<H", len(tags)) + entries + bytes(4)


@pytest.mark.parametrize("bits", [1, 2, 4, 6, 8, 10, 12, 14])
@pytest.mark.parametrize("width", [8, 9, 15])
def test_samples_of_any_number_of_bits_are_counts(bits: int, width: int) -> None:
    data = RNG.integers(0, 2**bits, (5, width))
    with open_images(packed(data, bits)) as stack:
        assert stack.dtype == ("uint8" if bits <= 8 else "uint16")
        np.testing.assert_array_equal(stack.read(0), data)
    with pytest.raises(TiffError, match=r"truncated|cannot be read"):
        open_images(packed(data, bits)[:20])
