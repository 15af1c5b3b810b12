"""Dialects of TIFF that microscopes write: LSM, STK, MetaSeries, Micro-Manager, and sets of files."""

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from tiff_bytes import Page, longs, raw, text, tiff

from dimstream_client.errors import TiffError
from dimstream_client.files import files_of_set, group_sets, list_images, open_images

RNG = np.random.default_rng(3)


def counts(*shape: int) -> NDArray[np.uint16]:
    return RNG.poisson(5, shape).astype(np.uint16)


# -- Zeiss


def lsm(data: NDArray[np.uint16], scan_type: int, sizes: tuple[int, int, int], thumbnails: bool) -> bytes:
    """Pages of (C, H, W) each, every second one a thumbnail; `sizes` are those of Z, C and T."""
    info = np.zeros(1, tifffile.TIFF.CZ_LSMINFO)
    for name, value in {
        "MagicNumber": 67127628, "StructureSize": info.itemsize, "DimensionX": data.shape[-1],
        "DimensionY": data.shape[-2], "DimensionZ": sizes[0], "DimensionChannels": sizes[1],
        "DimensionTime": sizes[2], "VoxelSizeX": 4e-8, "VoxelSizeY": 5e-8, "VoxelSizeZ": 3e-7,
        "ScanType": scan_type, "TimeIntervall": 2.5,
    }.items():  # fmt: skip
        info[name] = value
    pages = []
    for n, page in enumerate(data):
        pages.append(Page(page, {34412: raw(info.tobytes())} if n == 0 else {}))
        if thumbnails:
            pages.append(Page(np.zeros((len(page), 4, 4), np.uint16), {254: longs(1)}))
    return tiff(pages)[0]


@pytest.mark.parametrize("thumbnails", [True, False])
def test_lsm_files_keep_channels_and_scale_and_lose_their_thumbnails(thumbnails: bool) -> None:
    data = counts(6, 3, 8, 9)
    content = lsm(data, 6, (3, 3, 2), thumbnails)
    assert [image.axes for image in list_images(content)] == ["TZCYX"]
    with open_images(content) as stack:
        assert (stack.axes, stack.shape) == ("TZCYX", (2, 3, 3, 8, 9))
        assert stack.scale.pixel_size_um == (0.04, 0.05)
        assert (stack.scale.z_step_um, stack.scale.frame_interval_s) == (0.3, 2.5)
        np.testing.assert_array_equal(stack.asarray(), data.reshape(2, 3, 3, 8, 9))


# -- MetaMorph


def stk(data: NDArray[np.uint16], z_um: float) -> bytes:
    planes = len(data)
    step = (round(z_um * 1000), 1000)
    uic2 = b"".join(struct.pack("<6I", *step, 2459000, 1000 * n, 0, 0) for n in range(planes))
    first = Page(data[0], {33629: (5, planes, uic2), 33628: longs(4, 1, 16, 0)})
    return tiff([first], behind=data[1:].tobytes())[0]


def test_stk_files_have_their_planes_behind_the_first() -> None:
    data = counts(5, 8, 9)
    with open_images(stk(data, 0.5)) as stack:
        assert (stack.axes, stack.shape) == ("ZYX", (5, 8, 9))
        np.testing.assert_array_equal(stack.asarray(), data)
    with pytest.raises(TiffError, match=r"declares 5 planes .* and 4 are there"):
        open_images(stk(data, 0.5)[: -data[0].nbytes])


METASERIES = (
    '<MetaData><prop id="Description" type="string" value=""/><PlaneInfo>'
    '<prop id="plane-type" type="string" value="plane"/>'
    '<prop id="spatial-calibration-state" type="bool" value="{state}"/>'
    '<prop id="spatial-calibration-x" type="float" value="0.65"/>'
    '<prop id="spatial-calibration-y" type="float" value="0.65"/>'
    '<prop id="spatial-calibration-units" type="string" value="um"/>'
    '<prop id="acquisition-time-local" type="time" value="20260102 10:11:1{second}.500"/>'
    "</PlaneInfo></MetaData>"
)


def test_metaseries_files_keep_scale_and_times() -> None:
    data = counts(3, 8, 9)
    pages = [
        Page(plane, {270: text(METASERIES.format(state="on", second=2 * n)), 305: text("MetaSeries")})
        for n, plane in enumerate(data)
    ]
    with open_images(tiff(pages)[0]) as stack:
        assert (stack.axes, stack.scale.pixel_size_um) == ("TYX", (0.65, 0.65))
        assert [stack.delta_t_s(n) for n in range(3)] == [0, 2, 4]
        assert stack.frame_interval_s == 2
        np.testing.assert_array_equal(stack.asarray(), data)
    off = Page(data[0], {270: text(METASERIES.format(state="off", second=0)), 305: text("MetaSeries")})
    with open_images(tiff([off])[0]) as stack:
        assert stack.scale.pixel_size_um is None


# -- Micro-Manager

SUMMARY = {
    "MicroManagerVersion": "2.0.0", "Frames": 3, "Slices": 1, "Channels": 2, "Positions": 1,
    "ChNames": ["ER", "DNA"], "PixelSize_um": 0.1, "Interval_ms": 1500, "Prefix": "run", "z-step_um": -0.3,
}  # fmt: skip


def mmstack(data: NDArray[np.uint16], places: list[tuple[int, int, int, int]], **summary: Any) -> bytes:
    """A stack with an index (channel, slice, frame, position), and without OME-XML."""
    told = json.dumps({**SUMMARY, **summary}).encode()
    head = struct.pack("<8I", 54773648, 0, 483765892, 0, 99384722, 0, 2355492, len(told)) + told
    tags = [
        {51123: text(json.dumps({"ElapsedTime-ms": 1500.0 * t, "PixelSizeUm": 0.1}))} for _, _, t, _ in places
    ]
    content, offsets = tiff([Page(*page) for page in zip(data, tags, strict=True)], before=head)
    index = struct.pack("<2I", 3453623, len(places)) + b"".join(
        struct.pack("<5I", *place, offset) for place, offset in zip(places, offsets, strict=True)
    )
    return content[:12] + struct.pack("<I", len(content)) + content[16:] + index


PLACES = [(c, 0, t, 0) for t in range(3) for c in range(2)]


def test_a_micromanager_stack_without_ome_goes_by_its_index() -> None:
    data = counts(6, 8, 9)
    with open_images(mmstack(data, PLACES)) as stack:
        assert (stack.axes, stack.shape) == ("TCYX", (3, 2, 8, 9))
        assert stack.scale.channels == ("ER", "DNA")
        assert (stack.scale.pixel_size_um, stack.frame_interval_s) == ((0.1, 0.1), 1.5)
        assert [stack.delta_t_s(n) for n in range(6)] == [0, 0, 1.5, 1.5, 3, 3]
        np.testing.assert_array_equal(stack.asarray(), data.reshape(3, 2, 8, 9))


def test_a_micromanager_stack_in_two_files_is_one(tmp_path: Path) -> None:
    data = counts(6, 8, 9)
    (tmp_path / "run_MMStack.ome.tif").write_bytes(mmstack(data[:4], PLACES[:4]))
    (tmp_path / "run_MMStack_1.ome.tif").write_bytes(mmstack(data[4:], PLACES[4:]))
    for path in sorted(tmp_path.iterdir()):
        with open_images(path) as stack:
            np.testing.assert_array_equal(stack.asarray(), data.reshape(3, 2, 8, 9))
    assert len(group_sets(sorted(tmp_path.iterdir()))) == 1
    with pytest.raises(TiffError, match=r"declares 6 planes .* and 4 are there"):
        open_images((tmp_path / "run_MMStack.ome.tif").read_bytes())
    with open_images((tmp_path / "run_MMStack.ome.tif").read_bytes(), take_incomplete=True) as stack:
        np.testing.assert_array_equal(stack.asarray(), data[:4].reshape(2, 2, 8, 9))


def ndtiff(folder: Path, data: NDArray[np.uint16], axes: list[dict[str, Any]], per_file: int) -> list[Path]:
    """Frames in files of so many, and the index that names them."""
    told = json.dumps({"PixelSize_um": 0.1}).encode()
    head = struct.pack("<5I", 483729, 3, 3, 2355492, len(told)) + told
    index, paths = b"", []
    for start in range(0, len(data), per_file):
        part = range(start, min(start + per_file, len(data)))
        pages = [Page(data[n], {51123: text(json.dumps({"Axes": axes[n]}))}) for n in part]
        content, offsets = tiff(pages, before=head)
        number = start // per_file
        path = folder / f"run_NDTiffStack{f'_{number}' if number else ''}.tif"
        path.write_bytes(content)
        paths.append(path)
        with tifffile.TiffFile(path) as file:
            at = [page.dataoffsets[0] for page in file.pages]
        assert len(at) == len(offsets)
        for n, offset in zip(part, at, strict=True):
            name, place = path.name.encode(), json.dumps(axes[n]).encode()
            index += struct.pack("<I", len(place)) + place + struct.pack("<I", len(name)) + name
            index += struct.pack("<Iiiiii", offset, data.shape[-1], data.shape[-2], 1, 0, 0) + struct.pack(
                "<ii", 0, 0
            )
    (folder / "NDTiff.index").write_bytes(index)
    return paths


def test_ndtiff_files_are_one_by_their_index_and_one_file_by_its_pages(tmp_path: Path) -> None:
    data = counts(6, 8, 9)
    axes = [{"time": t, "channel": c, "z": 0} for t in range(3) for c in ("ER", "DNA")]
    first, second = ndtiff(tmp_path, data, axes, per_file=4)
    for path in (first, second):
        with open_images(path) as stack:
            assert (stack.axes, stack.scale.channels) == ("TCYX", ("ER", "DNA"))
            np.testing.assert_array_equal(stack.asarray(), data.reshape(3, 2, 8, 9))
    with open_images(first.read_bytes()) as stack:
        np.testing.assert_array_equal(stack.asarray(), data[:4].reshape(2, 2, 8, 9))
    with pytest.raises(TiffError, match=r"declares 6 planes .* and 2 are there"):  # time 2 alone
        open_images(second.read_bytes())


# -- OME sets

OME = '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"{root}>{body}</OME>'


def ome_set(n: int) -> str:
    pieces = "".join(
        f'<TiffData FirstT="{k}" PlaneCount="1"><UUID FileName="t{k}.ome.tif">urn:uuid:{k}</UUID></TiffData>'
        for k in range(n)
    )
    return (
        f'<Image ID="Image:0"><Pixels ID="P:0" DimensionOrder="XYZCT" Type="uint16" SizeX="9" SizeY="8" '
        f'SizeZ="1" SizeC="1" SizeT="{n}">{pieces}</Pixels></Image>'
    )


def described(plane: NDArray[np.uint16], xml: str) -> bytes:
    return tiff([Page(plane, {270: text(xml)})])[0]


def test_a_companion_is_read_from_it_and_from_each_of_its_files(tmp_path: Path) -> None:
    data = counts(3, 8, 9)
    (tmp_path / "run.companion.ome").write_text(OME.format(root=' UUID="urn:uuid:c"', body=ome_set(3)))
    for k, plane in enumerate(data):
        only = '<BinaryOnly MetadataFile="run.companion.ome" UUID="urn:uuid:c"/>'
        xml = OME.format(root=f' UUID="urn:uuid:{k}"', body=only)
        (tmp_path / f"t{k}.ome.tif").write_bytes(described(plane, xml))
    for path in sorted(tmp_path.iterdir()):
        with open_images(path) as stack:
            assert (stack.axes, stack.shape) == ("TYX", (3, 8, 9))
            np.testing.assert_array_equal(stack.asarray(), data)
    with pytest.raises(TiffError, match=r"run.companion.ome"):
        open_images((tmp_path / "t1.ome.tif").read_bytes())
    with open_images((tmp_path / "t1.ome.tif").read_bytes(), take_incomplete=True) as stack:
        np.testing.assert_array_equal(stack.asarray(), data[1])


def test_a_set_whose_files_were_renamed_is_found_by_its_uuids(tmp_path: Path) -> None:
    data = counts(3, 8, 9)
    for k, plane in enumerate(data):
        xml = OME.format(root=f' UUID="urn:uuid:{k}"', body=ome_set(3))
        (tmp_path / f"renamed {k}.tif").write_bytes(described(plane, xml))
    for path in sorted(tmp_path.iterdir()):
        with open_images(path) as stack:
            np.testing.assert_array_equal(stack.asarray(), data)
        assert len(files_of_set(path)) == 3


def test_a_file_of_a_set_that_is_missing_is_named_and_the_others_can_be_taken(tmp_path: Path) -> None:
    data = counts(3, 8, 9)
    for k in (0, 2):
        xml = OME.format(root=f' UUID="urn:uuid:{k}"', body=ome_set(3))
        (tmp_path / f"t{k}.ome.tif").write_bytes(described(data[k], xml))
    with pytest.raises(TiffError, match=r"declares 3 planes .* and 2 are there: .*t1\.ome\.tif"):
        open_images(tmp_path / "t0.ome.tif")
    with open_images(tmp_path / "t0.ome.tif", take_incomplete=True) as stack:
        np.testing.assert_array_equal(stack.asarray(), data[[0, 2]])
        assert "3 planes are declared, 2 are there, 2 are taken" in stack.remarks


def test_a_name_that_leads_out_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    data = counts(2, 8, 9)
    xml = OME.format(root=' UUID="urn:uuid:0"', body=ome_set(2)).replace("t1.ome", "../t1.ome")
    (tmp_path / "a" / "t0.ome.tif").write_bytes(described(data[0], xml))
    (tmp_path / "t1.ome.tif").write_bytes(described(data[1], OME.format(root="", body="")))
    with pytest.raises(TiffError, match="1 is there"):
        open_images(tmp_path / "a" / "t0.ome.tif")
