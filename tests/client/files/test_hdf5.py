"""Files of ImSwitch: what its recordings and snaps hold, and what is somebody else's."""

import subprocess
import sys

import h5py
import numpy as np
import pytest

from dimstream_client.errors import TiffError
from dimstream_client.files import list_images, open_images

MOVIE = np.random.default_rng(2).poisson(5, (4, 6, 8)).astype("int16")


def data_set(file, name, data, *, sizes=(1, 0.05, 0.02), **options):
    """As ImSwitch writes it: int16, its detector, and the sizes of an element along z, y and x."""
    made = file.create_dataset(name, data=data, dtype="i2", **options)
    made.attrs["detector_name"] = name
    made.attrs["element_size_um"] = sizes
    made.attrs["Laser:488:Value"] = 3.0
    return made


@pytest.fixture
def path(tmp_path):
    return tmp_path / "rec_Cam.hdf5"


def test_a_recording_is_a_movie_with_its_pixel_size(path):
    with h5py.File(path, "w") as file:
        data_set(file, "Cam", MOVIE, maxshape=(None, 6, 8))
    with open_images(path) as stack:
        assert (stack.axes, stack.shape, stack.dtype, stack.name) == ("TYX", (4, 6, 8), "uint16", "Cam")
        assert stack.scale.pixel_size_um == (0.02, 0.05)
        assert stack.scale.z_step_um is None
        np.testing.assert_array_equal(stack.asarray(), MOVIE)


def test_real_files_of_imswitch(shared):
    """They name no detector, only the size of an element."""
    folder = shared / "06_sted_live_movies"
    files = sorted((folder / "imswitch_series").glob("*.hdf5"))
    assert len(files) == 3
    single = folder / "tubulin_hela_002_APD.hdf5"
    for path, side, size in [*((path, 100, 0.03) for path in files), (single, 250, 0.02)]:
        with open_images(path) as stack:
            assert (stack.axes, stack.shape, stack.dtype) == ("YX", (side, side), "uint16")
            assert stack.square_pixel_um == size
            assert 0 < stack.read(0).mean() < 10


@pytest.mark.parametrize("data", [MOVIE[0], MOVIE[:1]], ids=["snap", "recording"])
def test_a_single_image(path, data):
    with h5py.File(path, "w") as file:
        data_set(file, "data", data)
    with open_images(path) as stack:
        assert (stack.axes, stack.shape) == ("YX", (6, 8))
        np.testing.assert_array_equal(stack.read(0), MOVIE[0])


def test_one_of_several_detectors_is_chosen(path):
    with h5py.File(path, "w") as file:
        data_set(file, "A", MOVIE)
        data_set(file, "B", MOVIE[:, :4] + 1, compression="gzip")
    assert [image.name for image in list_images(path)] == ["A", "B"]
    with pytest.raises(TiffError, match="choose one by --series"):
        open_images(path)
    with open_images(path, series="B") as stack:
        np.testing.assert_array_equal(stack.asarray(), MOVIE[:, :4] + 1)


def test_counts_that_were_wrapped_round_are_refused(path):
    with h5py.File(path, "w") as file:
        data_set(file, "Cam", MOVIE - 10)
    with pytest.raises(TiffError, match="expected photon counts from 0 on"):
        open_images(path)


def test_a_file_that_is_still_open_in_its_program_is_refused(path):
    with h5py.File(path, "w") as file:
        data_set(file, "Cam", MOVIE)
    hold = f"import h5py; file = h5py.File({str(path)!r}, 'r+'); print(flush=True); input(); file.close()"
    with subprocess.Popen([sys.executable, "-c", hold], stdin=-1, stdout=-1) as program:
        program.stdout.readline()
        with pytest.raises(TiffError, match="still open in the program"):
            open_images(path)
        program.communicate(b"\n", timeout=60)
    open_images(path).close()


def virtual(file):
    layout = h5py.VirtualLayout((4, 6, 8), "i2")
    file.create_virtual_dataset("Cam", layout).attrs["detector_name"] = "Cam"


def elsewhere(file):
    made = file.create_dataset("Cam", (6, 8), "i2", external=[("/etc/hostname", 0, 96)])
    made.attrs["detector_name"] = "Cam"


def linked(file):
    file["Cam"] = h5py.ExternalLink("/etc/passwd", "/x")


REFUSED = {
    "of somebody else": (
        lambda file: file.create_dataset("t0", data=MOVIE),
        "no data set with the attribute",
    ),
    "empty": (lambda file: None, "holds 0 objects"),
    "virtual": (virtual, "is virtual, lies in other files"),
    "in other files": (elsewhere, "is virtual, lies in other files"),
    "a link to another file": (linked, "no data set with the attribute"),
    "two axes without names": (lambda file: data_set(file, "Cam", [MOVIE, MOVIE]), "cannot be streamed"),
    "no plane": (lambda file: data_set(file, "Cam", MOVIE[0, 0]), "expected frames of counts"),
    "no frames": (lambda file: data_set(file, "Cam", MOVIE[:0]), "expected frames of counts"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_read_is_refused_in_words(path, case):
    write, says = REFUSED[case]
    with h5py.File(path, "w") as file:
        write(file)
    with pytest.raises(TiffError, match=says):
        open_images(path)


def test_a_damaged_file_and_bytes_without_a_path(path):
    with h5py.File(path, "w") as file:
        data_set(file, "Cam", MOVIE)
    content = path.read_bytes()
    with pytest.raises(TiffError, match="by the commands"):
        open_images(content)
    path.write_bytes(content[:300])
    with pytest.raises(TiffError, match="cannot be opened"):
        open_images(path)


def test_without_h5py_the_extra_is_named(path, monkeypatch):
    with h5py.File(path, "w") as file:
        data_set(file, "Cam", MOVIE)
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(TiffError, match=r"dimstream-client\[hdf5\]"):
        open_images(path)
