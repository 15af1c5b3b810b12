"""Real files of other writers, from the shared data: what is in them comes out, and nothing less."""

from pathlib import Path

import numpy as np
import pytest
import tifffile

from dimstream_client.errors import TiffError
from dimstream_client.files import group_sets, list_images, open_images
from dimstream_client.messages import PlaneIndex


@pytest.fixture
def real(shared: Path) -> Path:
    folder = shared / "18_real_files"
    if not folder.is_dir():
        pytest.skip(f"no real files at {folder}")
    return folder


def test_a_set_of_bfconvert_is_one_stack_from_each_of_its_files(real: Path) -> None:
    paths = sorted((real / "bfconvert_set").iterdir())
    planes = [tifffile.imread(path, _multifile=False) for path in paths]
    for path in paths:
        with open_images(path) as stack:
            assert (stack.axes, stack.shape) == ("ZYX", (5, 24, 18))
            assert stack.scale.pixel_size_um is None  # its resolution tags say 1 um, its OME-XML nothing
            np.testing.assert_array_equal(stack.asarray(), np.stack(planes))
    assert group_sets(paths) == [tuple(paths)]
    with pytest.raises(TiffError, match=r"multifile-Z2.ome.tiff, .*multifile-Z5.ome.tiff"):
        open_images(paths[0].read_bytes())


def test_all_planes_of_a_bruker_set_come_out_in_their_places(real: Path) -> None:
    paths = sorted((real / "bruker_set").glob("*.tif"))
    with open_images(paths[13]) as stack:
        assert (stack.axes, stack.shape) == ("PTCYX", (3, 4, 2, 128, 128))
        assert stack.scale.pixel_size_um == (4.05296, 4.05296)
        assert (stack.scale.channels, stack.frame_interval_s) == (("Ch1", "Ch2"), 1.31503)
        for n in range(len(stack)):
            at = stack.index(n)
            name = f"TSeries-camp-005_Cycle{at.p + 1:05d}_Ch{at.c + 1}_{at.t + 1:06d}.ome.tif"
            alone = tifffile.imread(real / "bruker_set" / name, _multifile=False)
            np.testing.assert_array_equal(stack.read(n), alone)
        assert stack.t_acq(0) == 1643072945.0  # 2022-01-25T01:09:05
        assert stack.t_acq(8) == 1643072955.0  # the second sequence began ten seconds later
    assert len(list_images(paths[0])) == 3
    assert [len(group) for group in group_sets(paths)] == [24]


@pytest.mark.parametrize("axes", [None, "TPYX", "PTYX"])
def test_positions_of_micromanager_are_right_however_they_are_told(real: Path, axes: str | None) -> None:
    path = real / "micromanager" / "multi_pos_MMStack.ome.tif"
    with tifffile.TiffFile(path) as file, open_images(path, axes=axes) as stack:
        assert (stack.axes, stack.shape) == ("PTYX", (2, 10, 256, 256))
        for n in (0, 1, 9, 10, 19):
            at = stack.index(n)
            np.testing.assert_array_equal(stack.read(n), file.pages[at.t * 2 + at.p].asarray())
        assert stack.index(11) == PlaneIndex(t=1, p=1)
        assert stack.t_acq(1) == pytest.approx(5.264)
        assert stack.scale.pixel_size_um == (5.2304, 5.2304)


def test_micromanager_without_its_ome_is_read_the_same(real: Path) -> None:
    content = (real / "micromanager" / "multi_pos_MMStack.ome.tif").read_bytes()
    bare = content.replace(b"<OME xmlns", b"<XXX xmlns").replace(b"</OME>", b"</XXX>")
    with open_images(content) as ome, open_images(bare) as stack:
        assert (stack.axes, stack.shape) == (ome.axes, ome.shape)
        np.testing.assert_array_equal(stack.asarray(), ome.asarray())
        assert stack.frame_interval_s == 5.0
        assert stack.square_pixel_um == pytest.approx(5.2304, rel=1e-3)  # in whole pixels per centimetre


PIXELS = {
    "xy_8bit__nucleus_calibrated.tif": ("YX", 0.13, None),
    "xyz_16bit__spots.tif": ("ZYX", 0.0941344539, 0.4),
    "xyz_8bit_binary__spots.tif": ("ZYX", 0.0941344539, 0.4),
    "xyc_16bit__nuclei_golgi.tif": ("CYX", 0.515751569, None),
    "xyc_8bit__membranes_nuclei_big.tif": ("CYX", 0.517901793, 3.0),
    "12bit.cropped.tiff": ("YX", None, None),
}


@pytest.mark.parametrize("name", PIXELS)
def test_files_of_fiji_keep_their_scale_and_their_counts(real: Path, name: str) -> None:
    axes, pixel, step = PIXELS[name]
    with open_images(real / name) as stack:
        assert stack.axes == axes
        assert stack.square_pixel_um == (None if pixel is None else pytest.approx(pixel, rel=1e-6))
        assert stack.scale.z_step_um == step
        np.testing.assert_array_equal(stack.asarray(), tifffile.imread(real / name))


def test_signed_bytes_below_zero_are_refused_and_taken_with_an_offset(real: Path) -> None:
    path = real / "multi-channel.ome.tif"
    with pytest.raises(TiffError, match="frame 0 holds -1, expected photon counts"):
        open_images(path)
    with open_images(path, below_zero=True) as stack:
        assert (stack.axes, stack.dtype) == ("CYX", "float32")
        np.testing.assert_array_equal(stack.asarray(), tifffile.imread(path))


def test_stacks_of_an_imspector_file_are_images(shared: Path) -> None:
    path = shared / "12_formats" / "data_analysis_example.msr"
    names = ["Data000 [Cut]", "Data002 [Cut]", "Data004 [Cut]"]
    assert [image.name for image in list_images(path)] == names
    sums = []
    for source in (path, path.read_bytes()):
        for name in names:
            with open_images(source, series=name) as stack:
                assert (stack.axes, stack.shape, stack.dtype) == ("YX", (200, 200), "uint16")
                sums.append(float(stack.asarray().sum()))
    assert sums == pytest.approx([9.51e6, 1.56e7, 2.14e7] * 2, rel=4e-3)  # from the data's README
