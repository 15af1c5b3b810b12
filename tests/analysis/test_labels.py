"""Label images, and the classical segmenter on drawings whose labels are known."""

import numpy as np
import pytest
from skimage.draw import disk, line

from dimstream_models.analysis.errors import InvalidLabels
from dimstream_models.analysis.labels import ERNET, OURS, LabelValues, Structure, merged
from dimstream_models.analysis.segmentation import ClassicalSegmenter


def test_values_get_their_meaning() -> None:
    values = LabelValues.parse("tubule=255,sheet=7")
    assert values.labels(np.array([[0, 255], [7, 0]])).tolist() == [[0, 1], [2, 0]]
    assert ERNET.labels(np.array([[0, 1, 2, 3]])).tolist() == [[0, 3, 1, 2]]
    assert OURS.labels(np.array([[0, 1, 2, 3]], np.float32)).tolist() == [[0, 1, 2, 3]]
    assert LabelValues.parse("ernet") is ERNET


def test_tubules_on_sheets_become_sheets_by_choice() -> None:
    assert merged(np.array([[0, 1, 2, 3]], np.uint8)).tolist() == [[0, 1, 2, 2]]


@pytest.mark.parametrize("text", ["tubule", "tubule=x", "tube=1", "tubule=1,sheet=1", ""])
def test_what_says_nothing_is_refused(text: str) -> None:
    with pytest.raises(InvalidLabels, match="tubule=1,sheet=2"):
        LabelValues.parse(text)


@pytest.mark.parametrize(
    ("image", "message"), [(np.array([[0, 255]]), "got 255"), (np.array([[0.5]]), "0.5")]
)
def test_values_without_a_meaning_are_refused(image: np.ndarray, message: str) -> None:
    with pytest.raises(InvalidLabels, match=message):
        OURS.labels(image)


def test_lines_are_tubules_and_a_wide_patch_is_a_sheet() -> None:
    truth = np.zeros((160, 160), np.uint8)
    for start in (10, 60):
        for offset in range(-2, 3):
            truth[line(start + offset, 5, start + 25 + offset, 154)] = Structure.TUBULE
    truth[disk((115, 100), 26)] = Structure.SHEET
    rng = np.random.default_rng(1)
    image = (200.0 * (truth > 0) + 20 + rng.normal(0, 12, truth.shape)).astype(np.float32)
    found = ClassicalSegmenter().segment(image)
    assert ((found > 0) == (truth > 0)).mean() > 0.97
    both = (found > 0) & (truth > 0)
    assert (found[both] == truth[both]).mean() > 0.97


def test_an_even_frame_holds_nothing() -> None:
    assert not ClassicalSegmenter().segment(np.full((64, 64), 5, np.uint16)).any()
