"""The cases of the stress test, and the number that each derives from a restored image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from dimstream_models.training.stress.scenes import (
    SIGMA_NM,
    Draw,
    dots,
    gaps,
    mesh,
    puncta,
    rings,
    tubule_pairs,
)

Kind = Literal["bridge", "gap", "pair", "ring", "puncta", "total", "contrast"]
Score = Callable[[NDArray[np.float64]], float]
DARK: Final = 0.01  # background counts/px of the structures
PUNCTA_DARK: Final = 0.02  # the same for the count of false detections
SEPARATED: Final = 0.735  # relative height of a valley between two resolved ridges: Rayleigh's criterion
HALF: Final = 0.5  # a gap is detected if the image falls below this share of both sides
DOSES: Final = (0.3, 1.0, 3.0, 10.0)
FULL: Final[tuple[tuple[Kind, tuple[float, ...]], ...]] = (
    ("bridge", (60, 80, 100, 120, 160, 200, 240)),
    ("gap", (0, 60, 100, 160, 240)),
    ("pair", (60, 90, 120, 160, 240)),
    ("ring", (60, 120, 160, 200, 240)),
)
SHORT: Final[tuple[tuple[Kind, float, float], ...]] = (
    ("bridge", 160, 1.0),
    ("bridge", 160, 3.0),
    ("gap", 100, 1.0),
    ("gap", 0, 1.0),
    ("pair", 120, 3.0),
)
MEANING: Final[dict[Kind, str]] = {
    "bridge": "light midway between two dots, relative to their height: structure invented between them",
    "gap": f"share of gaps in a tubule at which the image falls below {HALF:g} of both sides; 0 nm: no gap",
    "pair": f"share of pairs of tubules with a valley below {SEPARATED:g} of the lower one",
    "ring": f"share of rings whose centre is below {SEPARATED:g} of their rim's mean",
    "puncta": "share of single puncta found at three false detections in a field of 256 x 256 px",
    "total": "total of the restored field divided by the counted photons, relative to that at the highest "
    "dose",
    "contrast": "slope of the image against the truth on a uniform background, relative to that without "
    "background",
}


@dataclass(frozen=True)
class Case:
    """Structures of one kind, size and dose, and how they are measured."""

    kind: Kind
    size_nm: float
    dose: float
    draw: Draw
    score: Score


def case(kind: Kind, size_nm: float, dose: float, pixel_nm: float) -> Case:
    """Return the case of a kind, a size and a dose at a pixel size."""
    size, sigma = size_nm / pixel_nm, SIGMA_NM / pixel_nm
    draw: Draw
    match kind:
        case "bridge":
            draw, score = partial(dots, apart=size, sigma=sigma), bridge
        case "gap":
            draw, score = partial(gaps, wide=size, sigma=sigma, pixel_nm=pixel_nm), gap_seen
        case "pair":
            draw, score = partial(tubule_pairs, apart=size, sigma=sigma), separated
        case "ring":
            draw, score = partial(rings, diameter=size, sigma=sigma), hollow
        case _:
            raise AssertionError(kind)
    return Case(kind, size_nm, dose, draw, score)


def full_cases(pixel_nm: float) -> list[Case]:
    """Return every case of the table."""
    return [case(kind, size, dose, pixel_nm) for kind, sizes in FULL for size in sizes for dose in DOSES]


def short_cases(pixel_nm: float) -> list[Case]:
    """Return the cases of a model card."""
    return [case(kind, size, dose, pixel_nm) for kind, size, dose in SHORT]


def spots(pixel_nm: float) -> Draw:
    """Return a function that draws a field of single puncta."""
    return partial(puncta, sigma=SIGMA_NM / pixel_nm)


def tubules(pixel_nm: float) -> Draw:
    """Return a function that draws a field of tubules, whose total is measured."""
    return partial(mesh, sigma=SIGMA_NM / pixel_nm)


def bridge(values: NDArray[np.float64]) -> float:
    """Return the mean between two dots divided by the dots' mean height; values (n, 3): dot, between, dot."""
    return float(values[:, 1].mean() / max(values[:, [0, 2]].mean(), 1e-9))


def gap_seen(values: NDArray[np.float64]) -> float:
    """Return the share of detected gaps; values (n, 3): side, gap, side."""
    return float(np.mean(values[:, 1] < HALF * values[:, [0, 2]].mean(axis=1)))


def separated(values: NDArray[np.float64]) -> float:
    """Return the share of pairs with a valley; values (n, 3): ridge, between, ridge."""
    return float(np.mean(values[:, 1] < SEPARATED * values[:, [0, 2]].min(axis=1)))


def hollow(values: NDArray[np.float64]) -> float:
    """Return the share of rings with a dark centre; values (n, 1 + rim): centre, rim."""
    return float(np.mean(values[:, 0] < SEPARATED * values[:, 1:].mean(axis=1)))
