import xml.etree.ElementTree as ET

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from ome_schema import ome_schema, ome_types

from dimstream_client.files import Scale
from dimstream_client.files.ome_writer import PlaneNotes, ome_xml
from dimstream_client.files.support_colours import support_colours
from dimstream_client.files.tiff_writer import StackWriter

OME = "{http://www.openmicroscopy.org/Schemas/OME/2016-06}"
RNG = np.random.default_rng(7)


def written(path, shape, dtype="uint16", axes="TYX", **options):
    data = RNG.integers(0, 16, shape).astype(dtype)
    with StackWriter(path, axes=axes, shape=shape, dtype=dtype, **options) as writer:
        for frame in data.reshape(-1, *shape[-2:]):
            writer.write(frame)
    return data


TEXTS = st.text(max_size=8)
TIMES = st.one_of(st.none(), st.floats(allow_nan=True))


@pytest.mark.slow
@given(
    axes=st.sampled_from(["YX", "TYX", "ZTYX", "PTCYX", "PZYX"]),
    labels=st.lists(TEXTS, min_size=8, max_size=8),
    times=st.lists(TIMES, min_size=8, max_size=8),
    started_at=TIMES,
    channels=st.lists(TEXTS, max_size=2),
)
def test_whatever_is_told_gives_valid_ome_xml(axes, labels, times, started_at, channels):
    shape = (*(2 for _ in axes[:-2]), 3, 4)
    notes = PlaneNotes(times_s=times, labels=labels, started_at=started_at)
    xml = ome_xml(axes, shape, "uint16", Scale((0.02, 0.05), 0.1, 0.5, tuple(channels)), notes)
    ome_schema().validate(xml.decode())
    assert len(ome_types().from_xml(xml.decode()).images) == (2 if axes[0] == "P" else 1)


def test_times_stand_at_their_planes(tmp_path):
    times = [0.0, 0.25, 3.5, 4.0, None, 9.75]
    path = tmp_path / "o.ome.tif"
    written(path, (3, 2, 8, 9), axes="TZYX", notes=PlaneNotes(times_s=times, started_at=1.7e9))
    image = ome_types().from_tiff(path).images[0]
    got = {(plane.the_t, plane.the_z): plane.delta_t for plane in image.pixels.planes}
    assert got == {(0, 0): 0.0, (0, 1): 0.25, (1, 0): 3.5, (1, 1): 4.0, (2, 1): 9.75}
    assert {plane.the_c for plane in image.pixels.planes} == {0}
    assert image.acquisition_date.isoformat().startswith("2023-11-14T22:13:20")


def test_no_date_is_made_up(tmp_path):
    written(tmp_path / "o.ome.tif", (3, 8, 9), notes=PlaneNotes(times_s=[0, 1, 2]))
    assert ome_types().from_tiff(tmp_path / "o.ome.tif").images[0].acquisition_date is None


def test_labels_of_slices_are_kept(tmp_path):
    path = tmp_path / "o.ome.tif"
    written(path, (3, 8, 9), notes=PlaneNotes(labels=["a<b", "", "µ"]))
    with tifffile.TiffFile(path) as file:
        names = [page.tags[285].value if 285 in page.tags else None for page in file.pages]
        root = ET.fromstring(file.ome_metadata)
    assert names == ["a<b", None, "?"]  # TIFF has ASCII only
    assert {m.get("K"): m.text for m in root.iter(f"{OME}M")} == {"0": "a<b", "2": "µ"}


@pytest.mark.parametrize("append", [False, True])
def test_support_maps_have_a_colour_table_and_their_values(tmp_path, append):
    path = tmp_path / "m.maps.ome.tif"
    data = written(path, (4, 8, 9), dtype="uint8", is_support=True)
    if append:  # as after a stream that was broken off
        with StackWriter(
            path, axes="TYX", shape=(5, 8, 9), dtype="uint8", is_support=True, written=4
        ) as again:
            again.write(data[0])
        data = np.concatenate([data, data[:1]])
    with tifffile.TiffFile(path) as file:
        assert file.series[0].axes == "TYX"
        np.testing.assert_array_equal(file.asarray(), data)
        for page in file.pages:
            np.testing.assert_array_equal(page.aspage().colormap, support_colours())


def test_what_a_map_says_is_told_by_colour():
    colours = support_colours().T // 257
    assert tuple(colours[0]) == (0, 0, 0)
    assert all(colours[value].sum() > 100 for value in (1, 2, 4, 5, 6, 12, 13, 14))
    for supported in (4, 5, 6):
        red, green, _ = colours[supported]
        assert green > red
        red, green, _ = colours[supported | 8]
        assert red > green
    assert len({tuple(colours[value]) for value in (0, 1, 2, 4, 5, 6, 12, 13, 14)}) == 9
