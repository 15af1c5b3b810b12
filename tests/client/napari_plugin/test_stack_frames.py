"""Layers of napari as frames, and maps as labels: what needs neither napari nor a display."""

from typing import Any

import numpy as np
import pytest

from dimstream_client.errors import FrameError
from dimstream_client.messages import PlaneIndex
from dimstream_client.napari_plugin.stack_frames import AXES, StackFrames
from dimstream_client.napari_plugin.support_labels import NAMES, LabelFrames, labels


@pytest.mark.parametrize("axes", [axes for all_of in AXES.values() for axes in all_of])
def test_planes_come_in_order_with_their_index(axes: str) -> None:
    shape = (*range(2, len(axes)), 4, 5)
    data = np.arange(np.prod(shape), dtype=np.uint16).reshape(shape)
    stack = StackFrames(data, axes)
    frames = list(stack)
    assert len(stack) == len(frames) == np.prod(shape[:-2])
    for seq, (pixels, index) in enumerate(frames):
        np.testing.assert_array_equal(pixels, data[stack.place(seq)])
        given = {name.lower(): at for name, at in zip(axes, stack.place(seq), strict=False)}
        assert index == PlaneIndex(**given)


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        (bool, "uint8"),
        ("int8", "uint8"),
        ("uint16", "uint16"),
        ("int16", "uint16"),
        ("int64", "float32"),
        ("float16", "float32"),
        (">f8", "float32"),
    ],
)
def test_types_become_those_of_the_wire(given: Any, sent: str) -> None:
    (pixels, _), *_ = StackFrames(np.ones((2, 3, 4), given), "TYX")
    assert pixels.dtype == np.dtype(sent)


REFUSED = {
    "too few axes": (np.zeros(4), "YX", "expected axes of 1 letters"),
    "axes that do not fit": (np.zeros((2, 3, 4)), "TZYX", "expected axes of 3 letters, one of TYX"),
    "complex": (np.zeros((3, 4), complex), "YX", "expected an image of whole or floating-point numbers"),
    "below zero": (np.full((3, 4), -2, np.int16), "YX", r"frame 0 holds values below zero \(-2\)"),
    "too large": (np.full((3, 4), 2**24 + 1), "YX", "frame 0 holds 16777217, which float32 cannot hold"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_sent_is_named(case: str) -> None:
    data, axes, words = REFUSED[case]
    with pytest.raises(FrameError, match=words):
        list(StackFrames(data, axes))


def test_maps_become_labels_that_have_names() -> None:
    bits = np.array([[0, 1, 2, 4], [5, 6, 12, 14]], np.uint8)
    np.testing.assert_array_equal(labels(bits), [[0, 1, 2, 3], [3, 3, 4, 4]])
    frames = LabelFrames(np.stack([bits, bits]))
    assert (frames.shape, len(frames), frames.size) == ((2, 2, 4), 2, 16)
    np.testing.assert_array_equal(frames[1, 0], [0, 1, 2, 3])
    assert set(labels(np.arange(256)).tolist()) == set(NAMES)
