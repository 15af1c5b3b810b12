"""Imspector's OBF files byte by byte, as its documentation describes version 2 of a stack."""

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

TYPES = {"uint8": 1, "int8": 2, "uint16": 4, "int16": 8, "uint32": 16, "float32": 64, "float64": 128}
METRES, SECONDS = 0, 2  # places among the nine base units
RANK = 15


@dataclass
class Dimension:
    """One dimension: its label, what one step is, and which base unit has the power 1."""

    label: str
    step: float = 1.0
    unit: int | None = None


@dataclass
class Stack:
    """Pixels, slowest dimension first, and the dimensions, fastest first, as the file has them."""

    name: str
    pixels: NDArray[np.generic]
    dimensions: Sequence[Dimension]
    packed: bool = True
    data: bytes | None = None  # instead of the pixels


def obf(stacks: Sequence[Stack], *, last_next: int = 0) -> bytes:
    """Return the file; the last stack says that the next lies at `last_next`."""
    out = bytearray(struct.pack("<10sLQL", b"OMAS_BF\n\xff\xff", 1, 26, 0))
    for n, stack in enumerate(stacks):
        body = _stack(stack)
        following = len(out) + len(body) if n + 1 < len(stacks) else last_next
        at = len(out) + NEXT
        out += body
        struct.pack_into("<Q", out, at, following)
    return bytes(out)


NEXT = struct.calcsize("<16sLL") + 4 * RANK + 16 * RANK + struct.calcsize("<LLLLLQQ")


def _stack(stack: Stack) -> bytes:
    sizes = stack.pixels.shape[::-1]
    data = stack.data
    if data is None:
        data = zlib.compress(stack.pixels.tobytes()) if stack.packed else stack.pixels.tobytes()
    name = stack.name.encode()
    lengths = [size * d.step for size, d in zip(sizes, stack.dimensions, strict=True)]
    padding = RANK - len(sizes)
    head = struct.pack("<16sLL", b"OMAS_BF_STACK\n\xff\xff", 2, len(sizes))
    head += struct.pack(f"<{RANK}L", *sizes, *[0] * padding)
    head += struct.pack(f"<{RANK}d", *lengths, *[0.0] * padding) + bytes(8 * RANK)
    head += struct.pack("<LLLLL", TYPES[stack.pixels.dtype.name], int(stack.packed), 0, len(name), 0)
    head += struct.pack("<QQQ", 0, len(data), 0) + name
    footer = bytes(8 * RANK) + struct.pack("<L", 0) + _unit(None)
    units = [d.unit for d in stack.dimensions] + [None] * padding
    footer += b"".join(map(_unit, units))
    footer = struct.pack("<L", len(footer) + 4) + footer
    labels = b"".join(struct.pack("<L", len(d.label.encode())) + d.label.encode() for d in stack.dimensions)
    return head + data + footer + labels


def _unit(place: int | None) -> bytes:
    powers = [(1, 1) if k == place else (0, 1) for k in range(9)]
    return struct.pack("<18ld", *[part for power in powers for part in power], 1.0)
