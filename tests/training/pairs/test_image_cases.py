"""Files of the kinds that other programs write, as `prepare` lists and opens them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from image_cases import MAKER, make_cases

from dimstream_client.files import open_images
from dimstream_models.training.errors import InvalidPairs
from dimstream_models.training.pairs.listing import list_pairs
from dimstream_models.training.pairs.pair_reader import open_pair

pytestmark = pytest.mark.skipif(not MAKER.is_file(), reason=f"no {MAKER}: set DIMSTREAM_SHARED")
READ = ("frame-by-frame", "three-frames-as-rgb", "fiji-micrometre", "times-of-planes",
        "eight-bit-with-colours", "twelve-bit-packed", "ome-in-several-files", "below-zero")  # fmt: skip
REFUSED = {
    "ome-without-root-uuid": "expected planes of one channel",
    "stopped-early": "declares 10 planes",
    "positions-not-first": "say which they are",
    "pixels-not-square": "expected square pixels, got 50 x 20 nm",
    "overview-and-stack": "0: 'Overview' YX",
    "one-bad-pixel": "frame 5 holds NaN",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cases")


@pytest.fixture(scope="module")
def expected(folder: Path) -> dict[str, dict[str, Any]]:
    return make_cases(folder)


def source_of(folder: Path, expected: dict[str, dict[str, Any]], name: str) -> Path:
    return folder / name / str(expected[name]["open"])


def test_every_case_is_named_here(expected: dict[str, dict[str, Any]]) -> None:
    assert {*READ, *REFUSED} == expected.keys() - {"equal-pairs"}


@pytest.mark.parametrize("name", READ)
def test_planes_are_those_that_are_streamed(
    folder: Path, expected: dict[str, dict[str, Any]], name: str
) -> None:
    path = source_of(folder, expected, name)
    (listed,) = list_pairs([path])
    pairs = list(open_pair(listed))
    with open_images(path, below_zero=True) as stack:
        np.testing.assert_array_equal(
            np.stack([pair.low for pair in pairs]), stack.asarray().reshape(-1, *stack.frame_shape)
        )
        um = stack.square_pixel_um
    assert pairs[0].pixel_size_nm == (None if um is None else pytest.approx(um * 1e3))


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_taken_is_refused_in_words(
    folder: Path, expected: dict[str, dict[str, Any]], name: str
) -> None:
    (listed,) = list_pairs([source_of(folder, expected, name)])
    with pytest.raises(InvalidPairs, match=REFUSED[name]):
        list(open_pair(listed))
