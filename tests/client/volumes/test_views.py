import imagecodecs
import numpy as np
import pytest

from dimstream_client.volumes import views
from dimstream_client.volumes.views import GAP_GREY, GAP_PX, Brightness, Contrast, Place

AS_IS = Contrast(0, 255)
"""Counts up to 255 are their own grey values."""


def labelled(depth=4, height=5, width=7):
    """A stack in which every voxel is another grey value, none of them that of the gap or white."""
    return np.arange(70, 70 + depth * height * width).reshape(depth, height, width).astype(np.uint16)


def ball(depth, side, *, radius, aspect):
    """A ball, round in the unit of the pixel, in the middle of a stack whose planes lie `aspect` apart."""
    z, y, x = np.indices((depth, side, side), dtype=float)
    z, y, x = (z - (depth - 1) / 2) * aspect, y - (side - 1) / 2, x - (side - 1) / 2
    return np.where(z**2 + y**2 + x**2 <= radius**2, 200, 0).astype(np.uint16)


def panels(picture, shape):
    """The front view, the one right of it and the one under it."""
    _, height, width = shape
    right, below = width + GAP_PX, height + GAP_PX
    return picture[:height, :width], picture[:height, right:], picture[below:, :width]


def test_the_panels_are_the_slices_through_the_place():
    stack = labelled()
    picture = views.orthogonal(stack, Place(plane=2, row=1, column=5), AS_IS)
    assert picture.shape == (5 + GAP_PX + 4, 7 + GAP_PX + 4)
    assert picture.dtype == np.uint8
    front, right, under = panels(picture, stack.shape)
    np.testing.assert_array_equal(front, stack[2])
    np.testing.assert_array_equal(right, stack[:, :, 5].T)
    np.testing.assert_array_equal(under, stack[:, 1, :])


def test_ticks_in_the_gap_show_where_the_panels_cut_each_other():
    picture = views.orthogonal(labelled(), Place(plane=2, row=1, column=5), AS_IS)
    under, beside = picture[5 : 5 + GAP_PX], picture[:, 7 : 7 + GAP_PX]
    assert np.unique(np.argwhere(under == 255)[:, 1]).tolist() == [5, 7 + GAP_PX + 2]
    assert np.unique(np.argwhere(beside == 255)[:, 0]).tolist() == [1, 5 + GAP_PX + 2]
    assert set(np.unique(under)) == {GAP_GREY, 255}


@pytest.mark.parametrize("aspect", [1.0, 2.5, 6.0])
def test_a_ball_is_round_in_all_panels(aspect):
    radius, side = 24, 64
    depth = round(side / aspect)
    stack = ball(depth, side, radius=radius, aspect=aspect)
    place = Place(depth // 2, side // 2, side // 2)
    picture = views.orthogonal(stack, place, AS_IS, aspect=aspect)
    for panel in panels(picture, stack.shape):
        rows, columns = (np.flatnonzero(panel.max(axis=axis)) for axis in (1, 0))
        assert np.ptp(rows) + 1 == pytest.approx(2 * radius, abs=aspect + 1)
        assert np.ptp(columns) + 1 == pytest.approx(2 * radius, abs=aspect + 1)


def test_each_plane_is_as_thick_as_its_step_and_nothing_is_invented_between():
    stack = np.arange(1, 6, dtype=np.uint16)[:, None, None] * np.full((1, 3, 3), 50, np.uint16)
    _, right, under = panels(views.orthogonal(stack, Place(0, 0, 0), AS_IS, aspect=2.4), stack.shape)
    assert (under[:, 0] // 50).tolist() == [1, 1, 2, 2, 2, 3, 3, 4, 4, 4, 5, 5]
    np.testing.assert_array_equal(right, under.T)


def test_planes_thinner_than_a_pixel_keep_the_aspect():
    stack = np.full((10, 3, 3), 80, np.uint16)
    assert views.orthogonal(stack, Place(0, 0, 0), AS_IS, aspect=0.5).shape == (3 + GAP_PX + 5,) * 2


def test_planes_that_are_cut_are_dimmed_behind_a_line():
    stack = np.full((6, 4, 4), 200, np.uint16)
    kept = [False, False, True, True, True, False]
    front, right, under = panels(
        views.orthogonal(stack, Place(3, 0, 0), AS_IS, aspect=2, kept=kept), stack.shape
    )
    assert under[:, 0].tolist() == [80, 80, 80, 255, 200, 200, 200, 200, 200, 200, 255, 80]
    np.testing.assert_array_equal(right, under[:, :4].T)
    assert np.unique(front).tolist() == [200]


def test_a_hole_is_dimmed_without_a_line_and_so_is_the_front_view_of_it():
    stack = np.full((3, 4, 4), 200, np.uint16)
    front, _, under = panels(
        views.orthogonal(stack, Place(1, 0, 0), AS_IS, kept=[True, False, True]), stack.shape
    )
    assert under[:, 0].tolist() == [200, 80, 200]
    assert np.unique(front).tolist() == [80]


def test_nothing_kept_is_all_dimmed():
    stack = np.full((3, 4, 4), 200, np.uint16)
    for panel in panels(views.orthogonal(stack, Place(1, 0, 0), AS_IS, kept=[False] * 3), stack.shape):
        assert np.unique(panel).tolist() == [80]


def test_the_projection_of_a_ball_is_a_disc():
    radius, side = 10, 32
    y, x = np.indices((side, side)) - (side - 1) / 2
    picture = views.projection(ball(33, side, radius=radius, aspect=1), AS_IS)
    np.testing.assert_array_equal(picture, np.where(y**2 + x**2 <= radius**2, 200, 0))


def test_the_projection_leaves_out_what_is_not_kept():
    stack = labelled()
    np.testing.assert_array_equal(views.projection(stack, AS_IS), stack[3])
    kept = [True, False, True, False]
    np.testing.assert_array_equal(views.projection(stack, AS_IS, kept=kept), stack[2])
    np.testing.assert_array_equal(views.projection(stack, AS_IS, kept=[False] * 4), stack[3])


@pytest.mark.parametrize(
    ("kept", "plane"),
    [(None, 3), ([True] * 6, 3), ([False] * 3 + [True] * 3, 4), ([True, False] * 3, 2), ([False] * 6, 3)],
)
def test_the_middle_is_that_of_what_is_kept(kept, plane):
    assert views.middle((6, 10, 20), kept) == Place(plane, 5, 10)


@pytest.mark.parametrize("place", [Place(4, 0, 0), Place(0, 5, 0), Place(0, 0, -1)])
def test_a_place_outside_is_refused(place):
    with pytest.raises(ValueError, match=r"expected a (plane|row|column) from 0 to"):
        views.orthogonal(labelled(), place, AS_IS)


@pytest.mark.parametrize("aspect", [0.0, -1.0, float("nan"), 1e6])
def test_an_aspect_that_no_stack_has_is_refused(aspect):
    with pytest.raises(ValueError, match="check its z step"):
        views.orthogonal(labelled(), Place(0, 0, 0), AS_IS, aspect=aspect)


def test_the_contrast_is_that_of_all_frames():
    frames = np.random.default_rng(1).gamma(2.0, 30.0, (5, 40, 50)).astype(np.float32)
    brightness = Brightness(5, (40, 50))
    for frame in frames:
        brightness.add(frame)
    contrast = brightness.contrast()
    assert contrast.black == pytest.approx(np.quantile(frames, 0.001), rel=1e-5)
    assert contrast.white == pytest.approx(np.quantile(frames, 0.999), rel=1e-5)


def test_the_contrast_of_large_series_is_that_of_pixels_from_everywhere(monkeypatch):
    monkeypatch.setattr(views, "SAMPLED_PIXELS", 4096)
    frames = np.broadcast_to(np.arange(64.0), (16, 64, 64)).astype(np.float32)
    brightness = Brightness(16, (64, 64))
    for frame in frames:
        brightness.add(frame)
    contrast = brightness.contrast()
    assert contrast.black == pytest.approx(0, abs=1)
    assert contrast.white == pytest.approx(63, abs=1)
    assert sum(map(len, brightness._samples)) <= 4096


@pytest.mark.parametrize(
    ("contrast", "grey"),
    [
        (Contrast(0, 100), [0, 26, 128, 255, 255]),
        (Contrast(10, 50), [0, 0, 255, 255, 255]),
        (Contrast(7, 7), [0, 0, 0, 0, 0]),
    ],
)
def test_counts_are_drawn_between_black_and_white(contrast, grey):
    counts = np.array([0, 10, 50, 100, 60000], np.uint16)
    assert contrast.drawn(counts).tolist() == grey


def test_a_png_is_eight_bit_grey_and_gives_the_picture_back():
    picture = np.arange(200, dtype=np.uint8).reshape(10, 20)[:, ::-1]
    png = views.png_bytes(picture)
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    assert png[16:26] == bytes([0, 0, 0, 20, 0, 0, 0, 10, 8, 0])  # width, height, bits, grey
    np.testing.assert_array_equal(imagecodecs.png_decode(png), picture)
