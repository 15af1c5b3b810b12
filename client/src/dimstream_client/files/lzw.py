"""Check the codes of LZW data before decoding.

imagecodecs (2026.3.6) does not check the code after a CLEAR. A code above 255 refers to a table entry that
was never written, so the decoder would read arbitrary memory. So these codes are checked first.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

_CLEAR, _END, _FIRST_FREE, _LONGEST = 256, 257, 258, 12


def _widths(n: int) -> npt.NDArray[np.int64]:
    """Return the bits of the first `n` codes after a CLEAR: one more after 511, 1,023 and 2,047 entries."""
    taken = _FIRST_FREE + np.maximum(np.arange(n) - 1, 0)  # when code k is read
    return 9 + np.searchsorted([511, 1023, 2047], taken, side="right").astype(np.int64)


_BLOCK: Final = 4096 - _FIRST_FREE + 1  # codes from CLEAR to CLEAR, of a writer that keeps to the rules
_WIDTHS: Final = _widths(_BLOCK)
_STARTS: Final = np.concatenate([[0], np.cumsum(_WIDTHS)])
_FULL: Final = np.full(_BLOCK, _LONGEST, np.int64)  # of a table that is full
_FULL_STARTS: Final = _LONGEST * np.arange(_BLOCK + 1)


def check_lzw(data: bytes) -> None:
    """Refuse LZW data in which a CLEAR is followed by a code other than a byte, another CLEAR or the end.

    Parameters
    ----------
    data : bytes
        A strip or tile, in the bit order of TIFF 6.0.

    Raises
    ------
    ValueError
    """
    if len(data) < 2 or data[0] != 0x80 or data[1] & 0x80:
        raise ValueError("LZW that does not begin with CLEAR")
    padded = np.frombuffer(bytes(data) + b"\0\0\0", np.uint8).astype(np.uint32)
    at, n_bits, is_first = 9, 8 * len(data), True
    while at < n_bits:
        widths, starts = (_WIDTHS, _STARTS) if is_first else (_FULL, _FULL_STARTS)
        places = at + starts
        fits = int(np.searchsorted(places[1:], n_bits, side="right"))
        codes = _codes(padded, places[:fits], widths[:fits])
        stops = np.flatnonzero((codes == _CLEAR) | (codes == _END))
        if is_first and len(codes) and codes[0] > _END:
            raise ValueError(f"LZW with the code {codes[0]} behind a CLEAR")
        if not len(stops):
            at, is_first = int(places[fits]), False
            if fits < _BLOCK:
                return
        elif codes[stops[0]] == _END:
            return
        else:
            at, is_first = int(places[stops[0] + 1]), True


def _codes(
    data: npt.NDArray[np.uint32], places: npt.NDArray[np.int64], widths: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """Return the numbers at these bits, highest bit first."""
    first = places >> 3
    three = data[first] << 16 | data[first + 1] << 8 | data[first + 2]
    codes: npt.NDArray[np.int64] = (three.astype(np.int64) >> (24 - (places & 7) - widths)) & (
        (1 << widths) - 1
    )
    return codes
