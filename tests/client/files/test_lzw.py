"""Codes of LZW that would lead a decoder out of its table are refused before it sees them."""

import io

import imagecodecs
import numpy as np
import pytest
import tifffile
from fuzz.targets import CORPUS
from hypothesis import given
from hypothesis import strategies as st

from dimstream_client.errors import TiffError
from dimstream_client.files import open_images
from dimstream_client.files.lzw import check_lzw

CLEAR, END = 256, 257
COUNTS = np.random.default_rng(0).poisson(3, (200, 300)).astype(np.uint16)


def coded(*codes: int) -> bytes:
    bits = "".join(format(code, "09b") for code in codes)
    bits += "0" * (-len(bits) % 8)
    return bytes(int(bits[n : n + 8], 2) for n in range(0, len(bits), 8))


@given(st.binary(min_size=1, max_size=3000), st.integers(1, 40))
def test_what_an_encoder_writes_is_taken(data: bytes, times: int) -> None:
    check_lzw(imagecodecs.lzw_encode(data * times))


@pytest.mark.parametrize("spread", [0.05, 3, 3000])
def test_streams_of_many_tables_are_taken(spread: float) -> None:
    check_lzw(
        imagecodecs.lzw_encode(np.random.default_rng(1).poisson(spread, 10**6).astype(np.uint16).tobytes())
    )


@pytest.mark.parametrize(
    "codes", [(CLEAR, 300, END), (CLEAR, 258), (CLEAR, 7, 8, CLEAR, 511, END), (300,), (7, END), ()]
)
def test_a_code_without_an_entry_is_refused(codes: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="LZW"):
        check_lzw(coded(*codes))


@pytest.mark.parametrize(
    "codes", [(CLEAR, END), (CLEAR, 7, END), (CLEAR, CLEAR, 7, END), (CLEAR, 7, END, 511)]
)
def test_what_a_decoder_may_see_is_taken(codes: tuple[int, ...]) -> None:
    check_lzw(coded(*codes))


@given(st.data())
def test_an_invalid_first_code_is_found_in_any_table(data: st.DataObject) -> None:
    """Two streams one behind the other: the code behind the second CLEAR is spoilt."""
    first = data.draw(st.integers(1, 2000))
    codes = [CLEAR, *data.draw(st.lists(st.integers(0, 255), min_size=1, max_size=200)), CLEAR, first]
    if first > 511:
        return
    if first > END:
        with pytest.raises(ValueError, match="behind a CLEAR"):
            check_lzw(coded(*codes))
    else:
        check_lzw(coded(*codes))


def test_a_file_that_made_the_decoder_crash_is_refused() -> None:
    """The fuzzer found it: the process ended."""
    with pytest.raises(TiffError, match="code 460 behind a CLEAR"):
        open_images(CORPUS / "tiff" / "found-lzw-code-behind-clear")


def test_packed_pages_are_read() -> None:
    for options in ({}, {"tile": (64, 64)}, {"rowsperstrip": 7, "predictor": True}):
        file = io.BytesIO()
        tifffile.imwrite(file, COUNTS, compression="lzw", **options)
        with open_images(file) as stack:
            np.testing.assert_array_equal(stack.read(0), COUNTS)
