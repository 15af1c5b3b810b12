"""Docstrings of functions with arrays say which shape the arrays have."""

import pytest
from docstrings import PACKAGES, functions_with_arrays, gives_shape, share

LEAST_SHARE = 0.8


@pytest.mark.parametrize("package", PACKAGES)
def test_four_in_five_functions_with_arrays_give_their_shape(package: str) -> None:
    found = functions_with_arrays(package)
    assert len(found) > 20, "the search finds no functions any more"
    missing = [f"{one.path}:{one.line} {one.name}" for one in found if not one.has_shape]
    assert share(found) >= LEAST_SHARE, missing


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("(H, W) photon counts", True),
        ("weights, (N,)", True),
        ("(B, 1, ...) without a unit", True),
        ("(H // 4, W // 4)", True),
        ("(n, 1 + rim)", True),
        ("pairs of (noisy, truth)", False),
        ("a figure (A)", False),
        ("(Author et al. 2008, doi 10.1364/OL)", False),
    ],
)
def test_a_shape_is_told_from_other_brackets(text: str, is_one: bool) -> None:
    assert gives_shape(text) is is_one
