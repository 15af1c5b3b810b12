"""TIFF files byte by byte, for dialects that no writer here writes."""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

ASCII, SHORT, LONG, RATIONAL = 2, 3, 4, 5
Value = tuple[int, int, bytes]  # type, count, bytes


def text(value: str) -> Value:
    data = value.encode() + b"\0"
    return ASCII, len(data), data


def raw(data: bytes) -> Value:
    return 1, len(data), data


def longs(*values: int) -> Value:
    return LONG, len(values), struct.pack(f"<{len(values)}I", *values)


@dataclass
class Page:
    """Pixels, (H, W), or (N, H, W) of a page of N planar samples, and further tags."""

    pixels: NDArray[np.generic]
    tags: Mapping[int, Value] = field(default_factory=dict)


def tiff(pages: Sequence[Page], before: bytes = b"", behind: bytes = b"") -> tuple[bytes, list[int]]:
    """Return the file, little-endian, and where the directory of each page lies.

    `before` stands behind the first eight bytes, `behind` behind the pixels of the last page.
    """
    out = bytearray(b"II*\0\0\0\0\0" + before)
    offsets, link = [], 4
    for page in pages:
        tags = {**_tags_of(page.pixels), **page.tags}
        data = page.pixels.tobytes()
        at = len(out) + len(out) % 2
        out += bytes(at - len(out))
        room = at + 2 + 12 * len(tags) + 4  # where values that are too long for their entry begin
        long_values = bytearray()
        entries = bytearray()
        pixels_at = room + sum(len(v[2]) + len(v[2]) % 2 for v in tags.values() if len(v[2]) > 4)
        planes = page.pixels.reshape(-1, *page.pixels.shape[-2:])
        size = planes[0].nbytes
        tags[273] = longs(*(pixels_at + k * size for k in range(len(planes))))
        tags[279] = longs(*(size for _ in planes))
        for code, (kind, count, value) in sorted(tags.items()):
            if len(value) > 4:
                entries += struct.pack("<HHII", code, kind, count, room + len(long_values))
                long_values += value + bytes(len(value) % 2)
            else:
                entries += struct.pack("<HHI", code, kind, count) + value.ljust(4, b"\0")
        struct.pack_into("<I", out, link, at)
        offsets.append(at)
        link = at + 2 + len(entries)
        out += struct.pack("<H", len(tags)) + entries + bytes(4) + long_values + data
        assert room + len(long_values) == pixels_at
    return bytes(out + behind), offsets


def _tags_of(pixels: NDArray[np.generic]) -> dict[int, Value]:
    height, width = pixels.shape[-2:]
    samples = len(pixels) if pixels.ndim == 3 else 1
    bits = struct.pack(f"<{samples}H", *[pixels.dtype.itemsize * 8] * samples)
    strips = bytes(4 * samples)
    return {
        256: longs(width),
        257: longs(height),
        258: (SHORT, samples, bits),
        259: (SHORT, 1, struct.pack("<H", 1)),
        262: (SHORT, 1, struct.pack("<H", 1)),
        273: (LONG, samples, strips),
        277: (SHORT, 1, struct.pack("<H", samples)),
        278: longs(height),
        279: (LONG, samples, strips),
        284: (SHORT, 1, struct.pack("<H", 2 if samples > 1 else 1)),
    }
