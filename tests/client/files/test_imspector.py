"""Imspector's files: axes by their labels and units, scale, several stacks, and what takes no memory."""

import zlib
from pathlib import Path

import numpy as np
import pytest
from obf_bytes import METRES, SECONDS, Dimension, Stack, obf

from dimstream_client.errors import Code, TiffError
from dimstream_client.files import Scale, list_images, open_images

RNG = np.random.default_rng(2)
X, Y = Dimension("ExpControl X", 2e-8, METRES), Dimension("ExpControl Y", 3e-8, METRES)
Z, T = Dimension("ExpControl Z", 1.5e-7, METRES), Dimension("Time", 0.5, SECONDS)
ONE = Dimension("None")

KINDS = {
    "a movie": ((5, 8, 9), (X, Y, T), "TYX", Scale((0.02, 0.03), None, 0.5)),
    "a movie behind a depth of 1": ((5, 1, 8, 9), (X, Y, Z, T), "TYX", Scale((0.02, 0.03), 0.15, 0.5)),
    "a z-stack": ((4, 8, 9), (X, Y, Z), "ZYX", Scale((0.02, 0.03), 0.15)),
    "both": ((3, 4, 8, 9), (X, Y, Z, T), "TZYX", Scale((0.02, 0.03), 0.15, 0.5)),
    "no units": ((4, 8, 9), (Dimension("X"), Dimension("Y"), Dimension("Z")), "ZYX", Scale()),
    "no name": ((4, 8, 9), (X, Y, ONE), "TYX", Scale((0.02, 0.03))),
    "a plane": ((1, 1, 8, 9), (X, Y, ONE, ONE), "YX", Scale((0.02, 0.03))),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("packed", [True, False])
def test_axes_and_scale_follow_from_labels_and_units(tmp_path: Path, kind: str, packed: bool) -> None:
    shape, dimensions, axes, scale = KINDS[kind]
    pixels = RNG.poisson(4, shape).astype(np.uint16)
    content = obf([Stack("STED {1}", pixels, dimensions, packed)])
    (tmp_path / "a.msr").write_bytes(content)
    for source in (tmp_path / "a.msr", content):
        with open_images(source) as stack:
            assert (stack.axes, stack.name, stack.scale) == (axes, "STED {1}", scale)
            np.testing.assert_array_equal(stack.asarray().reshape(shape), pixels)


def test_several_stacks_are_never_one(tmp_path: Path) -> None:
    stacks = [
        Stack(name, np.full((8, 9), k, np.uint16), (X, Y)) for k, name in enumerate(("STED", "Confocal"))
    ]
    content = obf(stacks)
    assert [image.name for image in list_images(content)] == ["STED", "Confocal"]
    with pytest.raises(TiffError, match=r"0: 'STED' YX .*1: 'Confocal' YX"):
        open_images(content)
    with open_images(content, series="Confocal") as stack:
        assert stack.read(0).max() == 1


PIXELS = np.ones((64, 64), np.uint16)
BAD = {
    "unpacks to more than it declares": obf([Stack("a", PIXELS, (X, Y), data=zlib.compress(bytes(10**7)))]),
    "unpacks to less": obf([Stack("a", PIXELS, (X, Y), data=zlib.compress(bytes(10)))]),
    "is not packed as it says": obf([Stack("a", PIXELS, (X, Y), data=b"xxxx")]),
    "bites its tail": obf([Stack("a", PIXELS, (X, Y))], last_next=26),
    "goes on beyond its end": obf([Stack("a", PIXELS, (X, Y))], last_next=10**9),
    "is cut short": obf([Stack("a", PIXELS, (X, Y), packed=False)])[:2000],
    "is nothing but its first bytes": b"OMAS_BF\n\xff\xff",
}


@pytest.mark.parametrize("content", BAD.values(), ids=BAD)
def test_a_file_that_is_damaged_is_refused_in_words(content: bytes) -> None:
    with pytest.raises(TiffError) as refused, open_images(content) as stack:
        stack.check()
    assert refused.value.code == Code.BAD_IMAGE


def test_a_declared_giant_is_refused_before_memory_is_taken() -> None:
    content = bytearray(obf([Stack("a", PIXELS, (X, Y))]))
    at = content.index(b"OMAS_BF_STACK") + 16 + 8
    content[at : at + 8] = (60_000).to_bytes(4, "little") * 2
    with pytest.raises(TiffError, match="7200000000 bytes") as refused:
        open_images(bytes(content), max_bytes=2**28)
    assert refused.value.code == Code.OVERSIZE
