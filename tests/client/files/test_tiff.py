import contextlib
import io
import struct

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dimstream_client.errors import Code, TiffError
from dimstream_client.files import Scale, open_images
from dimstream_client.files.tiff_writer import StackWriter
from dimstream_client.messages import PlaneIndex

RNG = np.random.default_rng(7)


def counts(*shape, dtype="uint16"):
    return RNG.poisson(3, shape).astype(dtype)


def saved(data, **options):
    file = io.BytesIO()
    tifffile.imwrite(file, data, **{"photometric": "minisblack", **options})
    file.seek(0)
    return file


IMAGEJ = {"imagej": True, "resolution": (50.0, 50.0)}
OME = {"ome": True}
STACKS = {
    "one frame": ((16, 24), "YX", {}),
    "a plain movie": ((5, 16, 24), "TYX", {"metadata": {"axes": "TYX"}}),
    "a movie without named axes": ((5, 16, 24), "TYX", {}),
    "an ImageJ movie": ((5, 16, 24), "TYX", {**IMAGEJ, "metadata": {"axes": "TYX"}}),
    "an ImageJ z-stack": ((5, 16, 24), "ZYX", {**IMAGEJ, "metadata": {"axes": "ZYX"}}),
    "an ImageJ hyperstack": ((3, 4, 16, 24), "TZYX", {**IMAGEJ, "metadata": {"axes": "TZYX"}}),
    "ImageJ channels": ((3, 2, 16, 24), "TCYX", {**IMAGEJ, "metadata": {"axes": "TCYX"}}),
    "an ImageJ hyperstack of channels": ((3, 4, 2, 8, 9), "TZCYX", {**IMAGEJ, "metadata": {"axes": "TZCYX"}}),
    "an OME movie": ((5, 16, 24), "TYX", {**OME, "metadata": {"axes": "TYX"}}),
    "OME channels": ((2, 16, 24), "CYX", {**OME, "metadata": {"axes": "CYX"}}),
    "an OME stack": ((2, 3, 4, 16, 24), "TCZYX", {**OME, "metadata": {"axes": "TCZYX"}}),
    "compressed pages": ((5, 16, 24), "TYX", {"compression": "zlib", "metadata": {"axes": "TYX"}}),
    "tiled pages": ((5, 64, 48), "TYX", {"tile": (16, 16), "compression": "lzw"}),
    "big-endian": ((5, 16, 24), "TYX", {"byteorder": ">", "metadata": {"axes": "TYX"}}),
}  # fmt: skip


@pytest.mark.parametrize(("shape", "axes", "options"), STACKS.values(), ids=STACKS.keys())
def test_stacks_are_read_with_their_axes(shape, axes, options):
    data = counts(*shape)
    with open_images(saved(data, **options)) as stack:
        assert (stack.axes, stack.shape, stack.dtype) == (axes, shape, "uint16")
        np.testing.assert_array_equal(stack.asarray(), data)


def test_a_path_is_read_and_closed(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", counts(2, 8, 8))
    with open_images(tmp_path / "a.tif") as stack:
        assert len(stack) == 2


def test_frames_know_their_place():
    with open_images(saved(counts(3, 4, 8, 8), imagej=True, metadata={"axes": "TZYX"})) as stack:
        assert stack.index(0) == PlaneIndex()
        assert stack.index(6) == PlaneIndex(t=1, z=2)


def test_axes_can_be_told():
    with open_images(saved(counts(3, 8, 8), imagej=True, metadata={"axes": "ZYX"}), axes="tyx") as stack:
        assert stack.index(2) == PlaneIndex(t=2)


def test_stage_positions_of_ome_become_an_axis():
    file = io.BytesIO()
    with tifffile.TiffWriter(file, ome=True) as writer:
        data = counts(2, 3, 8, 8)
        for movie in data:
            writer.write(movie, metadata={"axes": "TYX"})
    file.seek(0)
    with open_images(file) as stack:
        assert (stack.axes, stack.shape) == ("PTYX", (2, 3, 8, 8))
        assert stack.index(4) == PlaneIndex(t=1, p=1)
        np.testing.assert_array_equal(stack.asarray(), data)


def test_a_large_imagej_file_of_one_page_is_read():
    # ImageJ writes stacks over 4 GB with one page and the rest of the frames right behind it.
    data = counts(3, 8, 8)
    file = io.BytesIO()
    tifffile.imwrite(file, data[0], description="ImageJ=1.53\nimages=3\nframes=3\n", metadata=None)
    content = file.getvalue()
    with tifffile.TiffFile(io.BytesIO(content)) as tiff:
        assert tiff.pages[0].dataoffsets[0] + 128 == len(content)
    with open_images(io.BytesIO(content + data[1:].tobytes())) as stack:
        np.testing.assert_array_equal(stack.asarray(), data)
    with pytest.raises(TiffError, match="truncated"):
        open_images(io.BytesIO(content + data[1].tobytes()))


SCALES = {
    "ImageJ": (
        {**IMAGEJ, "metadata": {"axes": "TYX", "unit": "um", "finterval": 0.6}},
        Scale((0.02, 0.02), None, 0.6),
    ),
    "ImageJ in nanometres": (
        {"imagej": True, "resolution": (0.05, 0.05),
         "metadata": {"axes": "ZYX", "unit": "nm", "spacing": 150.0}},
        Scale((0.02, 0.02), 0.15),
    ),
    "ImageJ with a speed of playing": (
        {**IMAGEJ, "metadata": {"axes": "TYX", "unit": "micron", "fps": 4.0}}, Scale((0.02, 0.02)),
    ),
    "ImageJ in pixels": ({**IMAGEJ, "metadata": {"axes": "TYX", "unit": "pixel"}}, Scale()),
    "OME": (
        {**OME, "metadata": {"axes": "TYX", "PhysicalSizeX": 20.0, "PhysicalSizeXUnit": "nm",
                             "TimeIncrement": 600, "TimeIncrementUnit": "ms", "Channel": {"Name": "SiR"}}},
        Scale((0.02, 0.02), None, 0.6, ("SiR",)),
    ),
    "the resolution tag": ({"resolution": (5e5, 5e5), "resolutionunit": "CENTIMETER"}, Scale((0.02, 0.02))),
    "a printer's resolution": ({"resolution": (72, 72), "resolutionunit": "INCH"}, Scale()),
}  # fmt: skip


@pytest.mark.parametrize(("options", "scale"), SCALES.values(), ids=SCALES.keys())
def test_pixel_size_and_time_step_are_read(options, scale):
    with open_images(saved(counts(4, 8, 8), **options)) as stack:
        assert stack.scale == scale


def test_signed_counts_and_doubles_are_cast():
    with open_images(saved(counts(2, 8, 8, dtype="int16"))) as stack:
        assert stack.asarray().dtype == np.uint16
    with open_images(saved(counts(2, 8, 8, dtype="float64") + 0.5)) as stack:
        assert stack.asarray().dtype == np.float32
    with open_images(saved(counts(2, 8, 8, dtype="int32"))) as stack:
        assert stack.asarray().dtype == np.float32


def test_counts_that_imagej_stored_with_an_offset_lose_it():
    signed = counts(8, 8)
    description = "ImageJ=1.52e\nunit=micron\ncf=0\nc0=-32768.0\nc1=1.0\nvunit=Gray Value\n"
    with open_images(saved(signed + 32768, description=description, metadata=None)) as stack:
        np.testing.assert_array_equal(stack.asarray(), signed)


def page_tag(content, tag, value):
    """Return the little-endian TIFF with the value of a short tag of its first page exchanged."""
    with tifffile.TiffFile(io.BytesIO(content)) as tiff:
        offset = tiff.pages[0].tags[tag].valueoffset
    return content[:offset] + struct.pack("<H", value) + content[offset + 2 :]


MOVIE = saved(counts(4, 32, 32)).getvalue()
PACKED = saved(counts(4, 32, 32), compression="zlib").getvalue()
REFUSED = {
    "nothing": (b"", Code.BAD_IMAGE, "empty"),
    "no TIFF": (b"\x89PNG\r\n", Code.BAD_IMAGE, "TIFF"),
    "no pages": (b"II*\x00\x00\x00\x00\x00", Code.BAD_IMAGE, "no pages"),
    "a cut header": (MOVIE[:6], Code.BAD_IMAGE, "TIFF"),
    "a cut movie": (MOVIE[: len(MOVIE) // 2], Code.BAD_IMAGE, "truncated|damaged"),
    "a cut packed movie": (PACKED[: len(PACKED) // 2], Code.BAD_IMAGE, "truncated|damaged"),
    "an encryption that is not known": (page_tag(MOVIE, 259, 60000), Code.BAD_IMAGE, "TIFF"),
    "a mask": (page_tag(MOVIE, 262, 4), Code.BAD_IMAGE, "greyscale"),
    "RGB": (saved(counts(8, 8, 3, dtype="uint8"), photometric="rgb"), Code.BAD_IMAGE, "RGB"),
    "more than float32 holds": (saved(counts(8, 8, dtype="int32") + 2**25), Code.WRONG_DTYPE, "at most"),
    "float64 below zero": (saved(counts(8, 8, dtype="float64") - 3.5), Code.WRONG_DTYPE, "holds -3.5"),
    "complex": (saved(counts(8, 8, dtype="complex64")), Code.WRONG_DTYPE, "complex64"),
    "negative counts": (saved(counts(8, 8, dtype="int16") - 9), Code.WRONG_DTYPE, "holds -"),
    "NaN": (saved(np.full((8, 8), np.nan, np.float32)), Code.NOT_FINITE, "NaN"),
    "doubles beyond float32": (saved(np.full((8, 8), 1e300)), Code.WRONG_DTYPE, "float32"),
    "too many unnamed axes": (saved(counts(2, 3, 8, 8)), Code.BAD_IMAGE, "say which"),
    "a lifetime axis": (saved(counts(3, 8, 8), metadata={"axes": "HYX"}), Code.BAD_IMAGE, "HYX"),
}


@pytest.mark.parametrize(("content", "code", "says"), REFUSED.values(), ids=REFUSED.keys())
def test_files_that_are_no_stack_of_counts_are_refused(content, code, says):
    file = io.BytesIO(content) if isinstance(content, bytes) else content
    with pytest.raises(TiffError, match=says) as refused, open_images(file) as stack:
        stack.asarray()
    assert refused.value.code == code


def test_images_of_different_kinds_are_refused():
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        writer.write(counts(8, 8))
        writer.write(counts(9, 9))
    with pytest.raises(TiffError, match="different kinds"):
        open_images(file)


def test_a_declared_giant_is_refused_before_memory_is_taken():
    giant = page_tag(page_tag(saved(counts(32, 32), compression="zlib").getvalue(), 256, 60000), 257, 60000)
    with pytest.raises(TiffError, match="7200000000 bytes") as refused:
        open_images(io.BytesIO(giant), max_bytes=2**28)
    assert refused.value.code == Code.OVERSIZE


def ome(attributes, inside="<TiffData/>", outside=""):
    """Return a frame whose OME-XML says this."""
    xml = (
        '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">'
        f'{outside}<Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint16" SizeX="32" '
        f'SizeY="32" SizeZ="1" SizeC="1" {attributes}><Channel ID="C:0"/>{inside}</Pixels></Image></OME>'
    )
    return saved(counts(32, 32), description=xml, metadata=None)


MODULO = (
    '<StructuredAnnotations><XMLAnnotation ID="A:0" Namespace="openmicroscopy.org/omero/dimension/modulo">'
    '<Value><Modulo><ModuloAlongT Type="lifetime" Start="0" End="1000000000"/></Modulo></Value>'
    "</XMLAnnotation></StructuredAnnotations>"
)
ENDLESS = {
    "time points": ome('SizeT="1000000000"'),
    "planes of an entry": ome('SizeT="1"', '<TiffData IFD="0" PlaneCount="1000000000"/>'),
    "lifetimes": ome('SizeT="1"', outside=MODULO),
}


@pytest.mark.parametrize("file", ENDLESS.values(), ids=ENDLESS.keys())
def test_a_declared_multitude_is_refused_before_memory_is_taken(file):
    with pytest.raises(TiffError, match="1000000000 planes, at most 1000000") as refused:
        open_images(file)
    assert refused.value.code == Code.OVERSIZE


def test_a_chain_of_too_many_pages_is_refused_before_they_are_read(monkeypatch):
    monkeypatch.setattr("dimstream_client.files.ome.MAX_PLANES", 3)
    with pytest.raises(TiffError, match="4 planes, at most 3") as refused:
        open_images(saved(counts(5, 8, 8)[:, :, :7], metadata=None))
    assert refused.value.code == Code.OVERSIZE


@pytest.mark.parametrize("bits", [0, 33, 65535])
def test_samples_of_an_unknown_size_are_refused(bits):
    frame = page_tag(saved(counts(32, 32)).getvalue(), 258, bits)
    with pytest.raises(TiffError, match=f"samples of {bits} bits") as refused:
        open_images(io.BytesIO(frame))
    assert refused.value.code == Code.BAD_IMAGE


def test_a_folder_is_told_as_such(tmp_path):
    with pytest.raises(IsADirectoryError):
        open_images(tmp_path)


def test_an_empty_path_and_a_missing_one(tmp_path):
    (tmp_path / "a.tif").touch()
    with pytest.raises(TiffError, match="empty"):
        open_images(tmp_path / "a.tif")
    with pytest.raises(FileNotFoundError):
        open_images(tmp_path / "b.tif")


@settings(max_examples=3 * settings.default.max_examples, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from([MOVIE, PACKED]), st.lists(st.tuples(st.integers(0, 700), st.integers(0, 255))))
def test_damaged_files_raise_nothing_but_tiff_errors(content, changes):
    damaged = bytearray(content)
    for place, value in changes:
        damaged[place] = value
    with contextlib.suppress(TiffError), open_images(io.BytesIO(bytes(damaged)), max_bytes=2**20) as stack:
        stack.asarray()


WRITTEN = {
    "YX": (16, 24), "TYX": (3, 16, 24), "TZYX": (2, 3, 16, 24), "TCYX": (2, 3, 16, 24),
    "CZYX": (2, 3, 16, 24), "TZCYX": (2, 3, 2, 16, 24), "PTYX": (2, 3, 16, 24),
}  # fmt: skip


@pytest.mark.parametrize(("axes", "shape"), WRITTEN.items())
@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_what_is_written_is_read_again(tmp_path, axes, shape, dtype):
    data = counts(*shape, dtype=dtype)
    channels = ("488 <µ>", "SiR", "c")[: dict(zip(axes, shape, strict=True)).get("C", 1)]
    scale = Scale((0.02, 0.02), 0.15 if "Z" in axes else None, 0.6, channels)
    with StackWriter(tmp_path / "a.ome.tif", axes=axes, shape=shape, dtype=dtype, scale=scale) as writer:
        for frame in data.reshape(-1, *shape[-2:]):
            writer.write(frame)
    with open_images(tmp_path / "a.ome.tif") as stack:
        assert (stack.axes, stack.shape, stack.dtype, stack.scale) == (axes, shape, dtype, scale)
        np.testing.assert_array_equal(stack.asarray(), data)


def test_a_stack_is_written_to_a_file_in_memory():
    file = io.BytesIO()
    data = counts(3, 8, 8)
    with StackWriter(file, axes="TYX", shape=data.shape, dtype="uint16") as writer:
        for frame in data:
            writer.write(frame)
    file.seek(0)
    np.testing.assert_array_equal(tifffile.imread(file), data)


def test_a_stack_that_ends_early_declares_what_it_holds(tmp_path):
    data = counts(6, 8, 8)
    with StackWriter(tmp_path / "a.tif", axes="TZYX", shape=(3, 4, 8, 8), dtype="uint16") as writer:
        for frame in data:
            writer.write(frame)
    with open_images(tmp_path / "a.tif") as stack:
        assert stack.axes == "TYX"
        np.testing.assert_array_equal(stack.asarray(), data)


def test_a_frame_of_another_kind_is_not_written(tmp_path):
    with StackWriter(tmp_path / "a.tif", axes="TYX", shape=(3, 8, 8), dtype="uint16") as writer:
        for frame in (counts(8, 9), counts(8, 8, dtype="uint8")):
            with pytest.raises(ValueError, match="expected"):
                writer.write(frame)
        writer.write(counts(8, 8))


@pytest.mark.parametrize("side_um", [1e-300, 2e-6, 1e-6, 0.02, 1e9, 1e300])
def test_any_pixel_size_is_written_and_read_again(side_um):
    file = io.BytesIO()
    writer = StackWriter(
        file, axes="YX", shape=(8, 9), dtype="uint16", scale=Scale(pixel_size_um=(side_um, side_um))
    )
    writer.write(counts(8, 9))
    writer.close()
    with open_images(file) as stack:
        assert stack.scale.pixel_size_um == pytest.approx((side_um, side_um), rel=1e-6)
