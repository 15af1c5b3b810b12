"""Units of length and time as writers spell, escape and damage them; resolutions; scales of stacks."""

import io
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st

from dimstream_client.files import Scale, open_images
from dimstream_client.files.scale import magnitude, micrometres, of_resolution, positive, seconds

LENGTHS = {
    1.0: ("um", "µm", "μm", "micron", "Microns", "micrometer", "micrometre", "MICROMETERS", " um ", "um\0"),
    1e-3: ("nm", "NM", "nanometer", "nanometres"),
    1e3: ("mm", "millimeter", "millimetre"),
    1e4: ("cm", "centimeter"),
    1e6: ("m", "meter", "metres"),
    25_400.0: ("inch", "in", "inches"),
    1e-4: ("Å", "Å", "angstrom"),
}
ESCAPED = (
    r"\u00B5m",
    r"\u00b5m", r"\\u00B5m", r"\u03BCm", r"\xb5m", "%C2%B5m", "%B5m", "%c2%b5m", "%CE%BCm",
    "&#181;m",
    "&micro;m", "&#xB5;m", "Âµm", "Î¼m", "Ã‚Âµm", "¬µm",
)  # fmt: skip


@pytest.mark.parametrize(("unit", "um"), [(unit, um) for um, units in LENGTHS.items() for unit in units])
def test_every_spelling_of_a_length_is_understood(unit: str, um: float) -> None:
    assert micrometres(unit) == um


@pytest.mark.parametrize("unit", ESCAPED)
def test_an_escaped_or_damaged_micrometre_is_one(unit: str) -> None:
    assert micrometres(unit) == 1.0


@given(
    st.sampled_from(["µm", "μm"]), st.lists(st.sampled_from(["latin-1", "cp1252"]), max_size=2), st.booleans()
)
def test_micrometres_survive_what_programs_do_to_them(unit: str, read_as: list[str], percent: bool) -> None:
    for codec in read_as:
        unit = unit.encode().decode(codec)
    assert micrometres(quote(unit) if percent else unit) == 1.0


@pytest.mark.parametrize("unit", ["", "pixel", "pixels", "?m", "gray value", "frame", None, 3])
def test_what_is_no_length_is_none(unit: Any) -> None:
    assert micrometres(unit) is None


def test_times_are_understood() -> None:
    spelt = {
        "s": 1,
        "sec": 1,
        "Seconds": 1,
        "ms": 1e-3,
        "msec": 1e-3,
        "µs": 1e-6,
        "us": 1e-6,
        "min": 60,
        "h": 3600,
    }
    assert {unit: seconds(unit) for unit in spelt} == spelt
    assert seconds("frame") is None


@given(st.one_of(st.floats(), st.text(max_size=5), st.none(), st.integers()))
def test_a_step_is_a_finite_number_above_zero_or_nothing(value: Any) -> None:
    for step in (positive(value), magnitude(value)):
        assert step is None or 0 < step < float("inf")


def test_a_printers_resolution_is_no_scale() -> None:
    assert of_resolution(72, 72, 2) == of_resolution(0.0, 1.0, 3) == of_resolution(5e5, 5e5, 1) == Scale()
    assert of_resolution(5e5, 2e5, 3) == Scale((0.02, 0.05))


@pytest.mark.parametrize(
    ("size", "square"), [((0.02, 0.02), 0.02), ((0.02, 0.0201), 0.02005), ((0.02, 0.05), None), (None, None)]
)
def test_a_square_pixel_has_one_side(size: tuple[float, float] | None, square: float | None) -> None:
    assert Scale(size).square_pixel_um == square


def test_a_resolution_that_is_a_default_is_passed_over() -> None:
    with opened("", resolution=(1e4, 1e4), resolutionunit="CENTIMETER") as stack:
        assert stack.scale == Scale()
        assert "no pixel size was found in the file" in stack.remarks


def opened(description: str, n: int = 4, **options: Any) -> Any:
    file = io.BytesIO()
    counts = np.ones((n, 8, 8), np.uint16)
    tifffile.imwrite(
        file, counts, description=description, metadata=None, photometric="minisblack", **options
    )
    return open_images(file)


IMAGEJ = "ImageJ=1.53t\nimages=4\n{}\n"


def test_imagej_keeps_sides_that_differ_and_a_negative_spacing() -> None:
    with opened(IMAGEJ.format("slices=4\nunit=um\nspacing=-0.4"), resolution=(50, 20)) as stack:
        assert stack.scale == Scale((0.02, 0.05), 0.4)
        assert "pixels are not square: 0.02 x 0.05 um" in stack.remarks


def test_a_unit_of_its_own_for_y_and_a_speed_of_playing_are_heeded() -> None:
    with opened(IMAGEJ.format("frames=4\nunit=um\nyunit=nm\nfps=12"), resolution=(50, 0.02)) as stack:
        assert stack.scale == Scale((0.02, 0.05))
        assert "12 frames per second is the speed of playing, and no time step" in stack.remarks


def test_a_unit_that_is_not_understood_is_said() -> None:
    with opened(IMAGEJ.format("frames=4\nunit=furlong\nfinterval=0.5")) as stack:
        assert stack.scale == Scale(None, None, 0.5)
        assert "the unit 'furlong' is not understood" in stack.remarks
        assert "no pixel size was found in the file" in stack.remarks


def test_what_is_told_overrules_the_file() -> None:
    file = io.BytesIO()
    tifffile.imwrite(
        file, np.ones((4, 8, 8), np.uint16), imagej=True, metadata={"axes": "TYX", "finterval": 2}
    )
    with open_images(file, pixel_size_um=0.02, frame_interval_s=0.5) as stack:
        assert (stack.scale, stack.remarks) == (Scale((0.02, 0.02), None, 0.5), ())


def test_even_times_of_planes_give_the_time_step_and_uneven_ones_none() -> None:
    for times, interval in {(0.0, 2.0, 4.0, 6.1): 2.0, (0.0, 2.0, 9.0, 11.0): None}.items():
        file = io.BytesIO()
        told = {"axes": "TYX", "Plane": {"DeltaT": [t * 1e3 for t in times], "DeltaTUnit": ["ms"] * 4}}
        tifffile.imwrite(file, np.ones((4, 8, 8), np.uint16), ome=True, metadata=told)
        with open_images(file) as stack:
            assert tuple(stack.delta_t_s(n) for n in range(4)) == pytest.approx(times)
            assert stack.frame_interval_s == interval
