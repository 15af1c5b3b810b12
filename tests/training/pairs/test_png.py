"""PNG files: grey counts are read as another program wrote them, everything else is refused in words."""

import contextlib
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from dimstream_models.training.errors import InvalidPairs
from dimstream_models.training.pairs.images import ImageFile, read_planes

RNG = np.random.default_rng(0)
BYTES = RNG.integers(0, 256, (20, 30), np.uint8)
RAMP = np.arange(256, dtype=np.uint8)


def with_table(table: np.ndarray) -> Image.Image:
    image = Image.fromarray(BYTES, "P")
    image.putpalette(table.tobytes())
    return image


def red() -> np.ndarray:
    return np.stack([RAMP, 0 * RAMP, 0 * RAMP], axis=1)


READ: dict[str, tuple[Callable[[], Image.Image], np.ndarray]] = {
    "grey, 8 bits": (lambda: Image.fromarray(BYTES), BYTES),
    "grey, 16 bits": (
        lambda: Image.fromarray(BYTES.astype(np.uint16) * 257),
        BYTES.astype(np.uint16) * 257,
    ),
    "grey saved as colour": (lambda: Image.fromarray(BYTES).convert("RGB"), BYTES),
    "grey saved as colour, opaque": (lambda: Image.fromarray(BYTES).convert("RGBA"), BYTES),
    "a table of reds": (lambda: with_table(red()), BYTES),
    "a table of greys": (lambda: with_table(np.stack([RAMP] * 3, axis=1)), BYTES),
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(("make", "counts"), READ.values(), ids=READ)
def test_grey_counts_are_read_as_pillow_wrote_them(
    tmp_path: Path, make: Callable[[], Image.Image], counts: np.ndarray
) -> None:
    make().save(tmp_path / "image.png")
    planes = read_planes(ImageFile(tmp_path / "image.png"))
    assert planes.values.dtype == counts.dtype
    np.testing.assert_array_equal(planes.values, counts[None])
    assert planes.pixel_size_nm is None


def noise(mode: str) -> Image.Image:
    return Image.fromarray(RNG.integers(0, 256, (20, 30, len(mode)), np.uint8), mode)


REFUSED: dict[str, tuple[Callable[[], Image.Image], str]] = {
    "colour": (lambda: noise("RGB"), "got colour: a coloured copy for display holds no counts"),
    "transparency": (lambda: noise("LA"), "got grey with transparency"),
    "colour and transparency": (lambda: noise("RGBA"), "got colour and transparency"),
    "a table of mere colours": (lambda: with_table(red()[::-1].copy()), "got a colour table"),
    "black and white": (lambda: Image.fromarray(BYTES).convert("1"), "got 1 bits"),
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(("make", "reason"), REFUSED.values(), ids=REFUSED)
def test_copies_for_display_are_refused(tmp_path: Path, make: Callable[[], Image.Image], reason: str) -> None:
    make().save(tmp_path / "image.png")
    with pytest.raises(InvalidPairs, match=f"image.png: expected a grey PNG of 8 or 16 bits, {reason}"):
        read_planes(ImageFile(tmp_path / "image.png"))


def test_a_stack_in_a_png_is_refused(tmp_path: Path) -> None:
    Image.fromarray(BYTES).save(tmp_path / "image.png")
    with pytest.raises(InvalidPairs, match="expected the name or number of one image as series, got '2'"):
        read_planes(ImageFile(tmp_path / "image.png", "2"))


@given(st.data())
def test_damaged_files_are_refused_or_read_and_never_crash(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    whole = io.BytesIO()
    Image.fromarray(BYTES).save(whole, "png")
    content = bytearray(whole.getvalue())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "damaged.png"
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    with contextlib.suppress(InvalidPairs):
        assert read_planes(ImageFile(path)).values.ndim == 3
