"""Files of odd kinds: copies among pages, damaged or differently encoded OME-XML, planes told twice."""

import io
import os
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from tests.client.files.test_dialects import OME, PLACES, mmstack, ome_set

from dimstream_client.errors import TiffError
from dimstream_client.files import files_of_set, list_images, open_images

RNG = np.random.default_rng(11)
DATA: NDArray[np.uint16] = RNG.poisson(5, (4, 12, 16)).astype(np.uint16)


def pages(*planes: Any, description: bytes | None = None, **options: Any) -> bytes:
    """Write pages that have no other metadata, the first with a description."""
    file = io.BytesIO()
    with tifffile.TiffWriter(file, ome=False) as writer:
        for number, plane in enumerate(planes):
            kind = {"photometric": "minisblack", "metadata": None, **options}
            more = plane[1] if isinstance(plane, tuple) else {}
            pixels = plane[0] if isinstance(plane, tuple) else plane
            text = description if number == 0 else None
            writer.write(pixels, contiguous=False, description=text, **{**kind, **more})
    return file.getvalue()


def halved(plane: Any, **more: Any) -> tuple[Any, dict[str, Any]]:
    return plane[::2, ::2], {"subfiletype": 1, **more}


def images(n: int = 4, pieces: str = "<TiffData/>", more: str = "") -> str:
    return (
        f'<Image ID="Image:0" {more}><Pixels ID="P:0" DimensionOrder="XYZCT" Type="uint16" SizeX="16" '
        f'SizeY="12" SizeZ="1" SizeC="1" SizeT="{n}">{pieces}</Pixels></Image>'
    )


@pytest.mark.parametrize("metadata", [None, {}], ids=["plain", "tifffile"])
def test_a_pyramid_of_pages_that_are_marked_as_copies_is_its_first_level(metadata: Any) -> None:
    content = pages((DATA[0], {"metadata": metadata}), halved(DATA[0]), halved(DATA[0][::2, ::2]))
    with open_images(content) as stack:
        np.testing.assert_array_equal(stack.asarray(), DATA[0])
        assert "2 reduced pages (thumbnails, pyramids, masks) are left out" in stack.remarks


def test_a_mask_of_transparent_pixels_is_no_frame() -> None:
    content = pages(DATA[0], (DATA[0] > 4, {"subfiletype": 4, "photometric": "mask"}))
    with open_images(content) as stack:
        np.testing.assert_array_equal(stack.asarray(), DATA[0])


def test_pages_that_are_called_copies_and_are_as_large_are_frames() -> None:
    with open_images(pages(DATA[0], *((plane, {"subfiletype": 1}) for plane in DATA[1:]))) as stack:
        np.testing.assert_array_equal(stack.asarray(), DATA)


def test_levels_that_nothing_marks_are_images_to_choose_from() -> None:
    content = pages(DATA[0], DATA[0][::2, ::2])
    assert len(list_images(content)) == 2
    with pytest.raises(TiffError, match="choose one by --series"):
        open_images(content)


def test_an_axis_without_a_name_that_is_one_long_is_none() -> None:
    file = io.BytesIO()
    tifffile.imwrite(file, DATA[:, None], photometric="minisblack", metadata={"axes": "TQYX"})
    with open_images(file) as stack:
        assert (stack.axes, stack.shape) == ("TYX", (4, 12, 16))


def test_numbers_that_stand_for_darkness_are_refused() -> None:
    with pytest.raises(TiffError, match=r"MINISWHITE.* so that 0 is black"):
        open_images(pages(DATA[0], photometric="miniswhite"))


def test_two_pages_for_one_plane_are_more_than_are_declared() -> None:
    pieces = "".join(f'<TiffData IFD="{k}" FirstT="{min(k, 2)}"/>' for k in range(4))
    content = pages(*DATA, description=OME.format(root="", body=images(3, pieces)).encode())
    with pytest.raises(TiffError, match=r"declares 3 planes .* and 4 are there"):
        open_images(content)
    with open_images(content, take_incomplete=True) as stack:
        np.testing.assert_array_equal(stack.asarray(), DATA[[0, 1, 3]])


def test_two_pages_for_one_place_of_micromanager_are_more_than_are_declared(tmp_path: Path) -> None:
    data = RNG.poisson(5, (6, 8, 9)).astype(np.uint16)
    places = [*PLACES[:5], PLACES[4]]
    with pytest.raises(TiffError, match=r"declares 6 planes .* and 5 are there"):
        open_images(mmstack(data, places))
    (tmp_path / "run_MMStack.ome.tif").write_bytes(mmstack(data[:5], PLACES[:5]))
    (tmp_path / "run_MMStack_1.ome.tif").write_bytes(mmstack(data[4:], PLACES[4:]))
    with pytest.raises(TiffError, match=r"declares 6 planes .* and 7 are there"):
        open_images(tmp_path / "run_MMStack.ome.tif")


@pytest.mark.parametrize("damage", [slice(None, -30), slice(None)], ids=["cut off", "ill-formed"])
def test_damaged_ome_xml_is_refused_until_the_axes_are_told(damage: slice) -> None:
    xml = OME.format(root="", body=images(more='Name="A & B"')).encode()[damage]
    content = pages(*DATA, description=xml)
    with pytest.raises(TiffError, match=r"OME-XML of the file is damaged .* say the axes"):
        open_images(content)
    with open_images(content, axes="ZYX") as stack:
        assert stack.axes == "ZYX"
        np.testing.assert_array_equal(stack.asarray(), DATA)


@pytest.mark.parametrize("codec", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be", "latin-1"])
def test_a_companion_is_read_in_any_encoding(tmp_path: Path, codec: str) -> None:
    xml = OME.format(root=' UUID="urn:uuid:c"', body=ome_set(2))
    xml = xml.replace('Type="uint16"', 'Type="uint16" PhysicalSizeX="0.02" PhysicalSizeXUnit="µm"')
    mark = b"\xfe\xff" if codec == "utf-16-be" else b""
    (tmp_path / "run.companion.ome").write_bytes(mark + xml.encode(codec))
    data = DATA[:2, :8, :9]
    for k, plane in enumerate(data):
        only = '<BinaryOnly MetadataFile="run.companion.ome" UUID="urn:uuid:c"/>'
        text = OME.format(root=f' UUID="urn:uuid:{k}"', body=only).encode()
        (tmp_path / f"t{k}.ome.tif").write_bytes(pages(plane, description=text))
    for name in ("run.companion.ome", "t1.ome.tif"):
        with open_images(tmp_path / name) as stack:
            np.testing.assert_array_equal(stack.asarray(), data)
            assert stack.square_pixel_um == 0.02


def test_ome_xml_in_utf16_inside_a_tiff_is_read() -> None:
    pieces = "".join(f'<TiffData IFD="{3 - k}" FirstT="{k}"/>' for k in range(4))
    xml = OME.format(root="", body=images(4, pieces)).encode("utf-16")
    with open_images(pages(*DATA, description=xml)) as stack:
        np.testing.assert_array_equal(stack.asarray(), DATA[::-1])


def test_the_first_versions_of_ome_say_the_pixel_size_at_the_image() -> None:
    xml = OME.format(root="", body=images(more='PixelSizeX="0.04" PixelSizeY="0.05" PixelSizeT="2"'))
    with open_images(pages(*DATA, description=xml.encode())) as stack:
        assert stack.scale.pixel_size_um == (0.04, 0.05)
        assert stack.frame_interval_s == 2


def test_a_file_of_a_set_with_other_frames_is_named(tmp_path: Path) -> None:
    for k in range(2):
        plane = DATA[k, : 8 - 2 * k, :9]
        xml = OME.format(root=f' UUID="urn:uuid:{k}"', body=ome_set(2)).encode()
        (tmp_path / f"t{k}.ome.tif").write_bytes(pages(plane, description=xml))
    with open_images(tmp_path / "t0.ome.tif") as stack, pytest.raises(TiffError, match=r"t1\.ome\.tif"):
        stack.read(1)


@pytest.mark.parametrize("samples", [2, 3, 4])
def test_colours_in_an_array_are_no_movie(samples: int) -> None:
    file = io.BytesIO()
    np.save(file, np.zeros((40, 50, samples), np.uint8))
    with pytest.raises(TiffError, match=f"{samples} colours"):
        open_images(file.getvalue())
    with open_images(file.getvalue(), axes="TYX") as stack:
        assert stack.shape == (40, 50, samples)


@pytest.mark.parametrize(
    ("name", "content"),
    {
        "x.pgm": b"P5\n4 4\n255\n" + bytes(16), "x.txt": b"8\t6\t3\n" * 9, "x.tif": b"BM" + bytes(60),
        "x.exr": struct.pack("<I", 20000630) + bytes(60),
    }.items(),
)  # fmt: skip
def test_what_is_no_image_is_refused_with_what_is_expected(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    for source in (content, tmp_path / name):
        with pytest.raises(TiffError, match=r"no file type that can be read; .* as greyscale"):
            open_images(source)


def test_an_imspector_file_without_stacks_is_refused() -> None:
    with pytest.raises(TiffError, match="no stacks"):
        open_images(struct.pack("<10sLQL", b"OMAS_BF\n\xff\xff", 1, 0, 0))


def test_a_zip_archive_is_no_numpy_archive(tmp_path: Path) -> None:
    (tmp_path / "one.zip").write_bytes(b"PK\x03\x04" + bytes(60))
    with pytest.raises(TiffError, match=r"ZIP files .* unpack it"):
        open_images(tmp_path / "one.zip")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes are of Unix")
def test_a_pipe_holds_nothing_up(tmp_path: Path) -> None:
    """Opening one waits until somebody writes into it: a night of work would hang."""
    os.mkfifo(tmp_path / "run_MMStack_pipe.tif")
    for read in (open_images, list_images):
        with pytest.raises(TiffError, match="is a pipe"):
            read(tmp_path / "run_MMStack_pipe.tif")
    assert files_of_set(tmp_path / "run_MMStack_pipe.tif") == (tmp_path / "run_MMStack_pipe.tif",)
    (tmp_path / "run_MMStack.ome.tif").write_bytes(mmstack(DATA[:2], PLACES[:2], Frames=1))
    xml = OME.format(root=' UUID="urn:uuid:0"', body=ome_set(2)).replace("t1.ome", "gone.ome")
    (tmp_path / "t0.ome.tif").write_bytes(pages(DATA[0, :8, :9], description=xml.encode()))
    with open_images(tmp_path / "run_MMStack.ome.tif") as stack:  # its other files are looked for next to it
        assert len(stack) == 2
    with pytest.raises(TiffError, match=r"gone\.ome\.tif"):  # looked for by its UUID in all files next to it
        open_images(tmp_path / "t0.ome.tif")
