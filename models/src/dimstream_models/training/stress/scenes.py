"""Fields of simple structures, with the positions at which a restored image is measured.

The noise-free images are drawn by formula; nothing is shared with the training data. Everything is blurred by
one Gaussian point spread function, and a structure's own peak is 1. Positions are (y, x) in px, sizes in px.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, special

Image = NDArray[np.float64]
Place = NDArray[np.float64]


def dot(shape: tuple[int, int], place: Place, sigma: float) -> Image:
    """Return a point, (H, W), integrated over each pixel; without pixels its peak would be 1."""
    rows, columns = (_integrated(side, at, sigma) for side, at in zip(shape, place, strict=True))
    return np.asarray(np.outer(rows, columns) * 2 * np.pi * sigma**2)


def line(shape: tuple[int, int], start: Place, end: Place, sigma: float) -> Image:
    """Return a straight line from `start` to `end`, (H, W)."""
    y, x = np.indices(shape)
    length = float(np.hypot(*(end - start)))
    way_y, way_x = (end - start) / length
    along = (y - start[0]) * way_y + (x - start[1]) * way_x
    across = (x - start[1]) * way_y - (y - start[0]) * way_x
    ends = special.erf(along / (np.sqrt(2) * sigma)) - special.erf((along - length) / (np.sqrt(2) * sigma))
    return np.asarray(np.exp(-(across**2) / (2 * sigma**2)) * ends / 2)


def ring(shape: tuple[int, int], centre: Place, radius: float, sigma: float) -> Image:
    """Return a thin ring, (H, W), its brightest pixel near 1."""
    y, x = np.indices(shape)
    distance = np.hypot(y - centre[0], x - centre[1])

    def profile(r: Image) -> Image:
        return np.asarray(
            np.exp(-((r - radius) ** 2) / (2 * sigma**2)) * special.ive(0, r * radius / sigma**2)
        )

    return profile(distance) / float(profile(np.linspace(0, 2 * radius, 400)).max())


def _integrated(side: int, at: float, sigma: float) -> Image:
    """Return the share of a Gaussian's light in each pixel of a row, (side,)."""
    edges = (np.arange(side + 1) - 0.5 - at) / (np.sqrt(2) * sigma)
    return np.asarray(np.diff(special.erf(edges)) / 2)


SIDE = 256  # px of a field
SIGMA_NM = 31.0  # sigma of the point spread function: 73 nm full width at half maximum
PITCH = 42  # px between structures, so that neighbours do not touch
TILE = 64  # px around each structure that are drawn
RIM = 8  # positions on a ring

Rng = np.random.Generator
Draw = Callable[[Rng], "Scene"]


@dataclass(frozen=True)
class Scene:
    """One field: its light (H, W) for a dose of one photon, and the positions to measure, (n, k, 2) px:
    y, x."""

    light: Image  # (H, W)
    places: NDArray[np.float64]

    def exposed(self, rng: Rng, dose: float, background: float) -> NDArray[np.uint16]:
        """Return photon counts, (H, W), with `dose` photons on a structure's peak and `background` per
        pixel."""
        return rng.poisson(dose * self.light + background).astype(np.uint16)

    def read(self, image: NDArray[Any]) -> NDArray[np.float64]:
        """Return the interpolated values of a restored image at the positions, (n, k)."""
        points = self.places.reshape(-1, 2).T
        values = ndimage.map_coordinates(np.asarray(image, np.float64), points, order=3, mode="nearest")
        return np.asarray(values.reshape(self.places.shape[:2]))


def dots(rng: Rng, apart: float, sigma: float) -> Scene:
    """Return pairs of equal dots, `apart` px from each other; measured at one, between both, at the other."""

    def draw(middle: Place, way: Place) -> tuple[Image, list[Place]]:
        ends = [middle - apart / 2 * way, middle + apart / 2 * way]
        image = sum(dot((TILE, TILE), each, sigma) for each in ends)
        return np.asarray(image), [ends[0], middle, ends[1]]

    return _scattered(rng, draw)


def gaps(rng: Rng, wide: float, sigma: float, pixel_nm: float) -> Scene:
    """Return tubules with one gap each, `wide` px (0: none); measured 100 nm before it, in it, 100 nm
    after."""
    beside = wide / 2 + 100 / pixel_nm

    def draw(middle: Place, way: Place) -> tuple[Image, list[Place]]:
        reach = beside + 8
        ends = [middle - reach * way, middle + reach * way]
        inner = [middle - wide / 2 * way, middle + wide / 2 * way]
        halves = ((ends[0], inner[0]), (inner[1], ends[1])) if wide else ((ends[0], ends[1]),)
        image = sum(line((TILE, TILE), a, b, sigma) for a, b in halves)
        return np.asarray(image), [middle - beside * way, middle, middle + beside * way]

    return _scattered(rng, draw)


def tubule_pairs(rng: Rng, apart: float, sigma: float) -> Scene:
    """Return pairs of parallel tubules, `apart` px from each other; measured on one, between both, on the
    other."""

    def draw(middle: Place, way: Place) -> tuple[Image, list[Place]]:
        across = np.array([way[1], -way[0]])
        sides = [middle - apart / 2 * across, middle + apart / 2 * across]
        image = sum(line((TILE, TILE), side - 13 * way, side + 13 * way, sigma) for side in sides)
        return np.asarray(image), [sides[0], middle, sides[1]]

    return _scattered(rng, draw)


def rings(rng: Rng, diameter: float, sigma: float) -> Scene:
    """Return rings of `diameter` px; measured in the centre and at eight positions of the rim."""

    def draw(middle: Place, way: Place) -> tuple[Image, list[Place]]:
        turn = np.arctan2(*way) + 2 * np.pi * np.arange(RIM) / RIM
        rim = middle + diameter / 2 * np.stack([np.sin(turn), np.cos(turn)], axis=1)
        return ring((TILE, TILE), middle, diameter / 2, sigma), [middle, *rim]

    return _scattered(rng, draw)


def puncta(rng: Rng, sigma: float) -> Scene:
    """Return single puncta of one photon each; measured at each of them."""

    def draw(middle: Place, way: Place) -> tuple[Image, list[Place]]:
        return dot((TILE, TILE), middle, sigma) / (2 * np.pi * sigma**2), [middle]

    return _scattered(rng, draw)


def mesh(rng: Rng, sigma: float) -> Scene:
    """Return a mesh of straight tubules across the field; only its total is measured."""
    image = np.zeros((SIDE, SIDE))
    for _ in range(14):
        middle, angle = rng.uniform(0.1 * SIDE, 0.9 * SIDE, 2), rng.uniform(0, np.pi)
        half = rng.uniform(0.15, 0.45) * SIDE * np.array([np.sin(angle), np.cos(angle)])
        image = image + line((SIDE, SIDE), middle - half, middle + half, sigma)
    return Scene(image, np.zeros((0, 1, 2)))


def _scattered(rng: Rng, draw: Callable[[Place, Place], tuple[Image, list[Place]]]) -> Scene:
    """Return a field with one structure at each position of a grid, shifted and turned at random.

    Each is drawn in a separate tile with a side of `TILE` px.
    """
    light, places = np.zeros((SIDE + TILE, SIDE + TILE)), []
    for middle in _grid(rng):
        angle = rng.uniform(0, 2 * np.pi)
        corner = np.round(middle).astype(int) - TILE // 2
        image, read = draw(middle - corner, np.array([np.sin(angle), np.cos(angle)]))
        top, left = corner + TILE // 2
        light[top : top + TILE, left : left + TILE] += image
        places.append(np.array(read) + corner)
    inside = slice(TILE // 2, TILE // 2 + SIDE)
    return Scene(light[inside, inside], np.array(places))


def _grid(rng: Rng) -> Iterator[Place]:
    number = (SIDE - 8) // PITCH
    for row in range(number):
        for column in range(number):
            yield PITCH * np.array([row + 0.6, column + 0.6]) + rng.uniform(-4, 4, 2)
