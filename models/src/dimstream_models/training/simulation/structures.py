"""Structures of samples other than the ER: filaments with gaps, puncta, vesicles, tubes, blobs.

All structures are drawn as weighted points, which `Points.image` collects on a pixel grid. Lengths are in nm.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Rng = np.random.Generator
STEP_NM = 12.0  # distance between the points of a curve; smaller than any pixel here


@dataclass(frozen=True)
class Points:
    """Points of light: positions (n, 2) in nm, and the light of each (n,)."""

    places: Array
    light: Array

    def image(self, shape: tuple[int, int], pixel_nm: float) -> Array:
        """Return the light in every pixel, (H, W); each point is split bilinearly among four pixels."""
        points = self.places / pixel_nm
        corner = np.floor(points).astype(np.intp)
        part = points - corner
        image = np.zeros(shape[0] * shape[1])
        for dy in (0, 1):
            for dx in (0, 1):
                y, x = corner[:, 0] + dy, corner[:, 1] + dx
                inside = (y >= 0) & (y < shape[0]) & (x >= 0) & (x < shape[1])
                share = np.abs(1 - dy - part[:, 0]) * np.abs(1 - dx - part[:, 1]) * self.light
                image += np.bincount((y * shape[1] + x)[inside], share[inside], minlength=image.size)
        return image.reshape(shape)


@dataclass(frozen=True)
class Gaps:
    """Gaps in filaments."""

    every_nm: float  # mean distance between gaps
    wide_nm: tuple[float, float]  # shortest and longest


def join(*parts: Points) -> Points:
    """Return the points of all parts."""
    return Points(np.concatenate([p.places for p in parts]), np.concatenate([p.light for p in parts]))


def curves(
    rng: Rng,
    size_nm: tuple[float, float],
    number: int,
    *,
    length_nm: float,
    persistence_nm: float,
    heading: float | None = None,
    spread: float = 0.2,
) -> tuple[Array, Array]:
    """Return smooth random curves: positions (n, s, 2) in nm, and directions (n, s) in radians.

    Parameters
    ----------
    size_nm : (float, float)
        Height and width of the field that contains their centres.
    length_nm, persistence_nm : float
        Length and persistence length of each curve.
    heading, spread : float
        Common direction and its standard deviation, radians, for nearly parallel curves such as stress
        fibres.
    """
    steps = max(8, int(length_nm / STEP_NM))
    start = rng.uniform(0, 2 * np.pi, (number, 1))
    if heading is not None:
        start = heading + spread * rng.normal(size=(number, 1)) + np.pi * rng.integers(0, 2, (number, 1))
    turns = rng.normal(0, np.sqrt(2 * STEP_NM / persistence_nm), (number, steps))
    direction = start + np.cumsum(turns, axis=1)
    moves = STEP_NM * np.stack([np.sin(direction), np.cos(direction)], axis=-1)
    path = np.cumsum(moves, axis=1)
    middle = rng.uniform(0, size_nm, (number, 2))[:, None]
    return path - path[:, steps // 2, None] + middle, direction


def broken(rng: Rng, number: int, steps: int, *, every_nm: float, gap_nm: tuple[float, float]) -> Array:
    """Return the brightness of each point of `number` curves, (n, s): 1, and near 0 in gaps with sharp ends.

    Parameters
    ----------
    every_nm : float
        Mean distance between gaps.
    gap_nm : (float, float)
        Shortest and longest gap, log-uniform.
    """
    shine = np.ones((number, steps))
    for curve in shine:
        for _ in range(rng.poisson(steps * STEP_NM / every_nm)):
            width = np.exp(rng.uniform(*np.log(gap_nm))) / STEP_NM
            middle = rng.uniform(0, steps)
            curve[int(max(0, middle - width / 2)) : int(middle + width / 2) + 1] = rng.choice([0, 0, 0.2])
    return shine


def filaments(
    rng: Rng,
    size_nm: tuple[float, float],
    number: int,
    *,
    length_nm: float,
    persistence_nm: float,
    heading: float | None = None,
    gaps: Gaps | None,
) -> Points:
    """Return filaments of light 1 per nm on average, some brighter, some modulated along their length."""
    path, _ = curves(
        rng, size_nm, number, length_nm=length_nm, persistence_nm=persistence_nm, heading=heading
    )
    steps = path.shape[1]
    shine = rng.lognormal(0, rng.uniform(0, 0.45), (number, 1)) * np.ones((number, steps))
    if gaps is not None:
        shine = shine * broken(rng, number, steps, every_nm=gaps.every_nm, gap_nm=gaps.wide_nm)
    if rng.random() < 0.4:  # labels do not bind uniformly
        grains = rng.gamma(rng.uniform(1, 6), size=(number, steps // 4 + 1)).repeat(4, axis=1)[:, :steps]
        shine = shine * grains / grains.mean()
    return Points(path.reshape(-1, 2), STEP_NM * shine.ravel())


def puncta(
    rng: Rng, size_nm: tuple[float, float], number: int, *, radius_nm: float, hollow: bool, variety: float
) -> Points:
    """Return spots, each with a light of about 1: discs, rings when `hollow`, points when their radius
    is 0."""
    middles = rng.uniform(0, size_nm, (number, 2))
    light = rng.lognormal(0, variety, number)
    if radius_nm <= 0:
        return Points(middles, light)
    each = 24
    angle = 2 * np.pi * np.arange(each) * 0.381966  # evenly by the golden angle
    inward = np.ones(each) if hollow else np.sqrt((np.arange(each) + 0.5) / each)
    radius = radius_nm * rng.uniform(0.7, 1.3, (number, 1)) * inward
    around = np.stack([radius * np.sin(angle), radius * np.cos(angle)], axis=-1)
    return Points((middles[:, None] + around).reshape(-1, 2), np.repeat(light / each, each))


def groups(rng: Rng, size_nm: tuple[float, float], number: int, *, apart_nm: tuple[float, float]) -> Points:
    """Return `number` pairs, rows and clusters of points, with `apart_nm` between neighbours."""
    parts = []
    for _ in range(number):
        members = int(rng.choice([2, 2, 3, 5]))
        distance, angle = rng.uniform(*apart_nm), rng.uniform(0, 2 * np.pi)
        turn = rng.normal(0, 0.5, members) if members < 5 else rng.uniform(0, 2 * np.pi, members)
        way = np.cumsum(turn) + angle
        places = rng.uniform(0, size_nm, 2) + distance * np.cumsum(
            np.stack([np.sin(way), np.cos(way)], axis=-1), axis=0
        )
        parts.append(Points(places, rng.lognormal(0, 0.3) * rng.lognormal(0, 0.25, members)))
    return join(*parts) if parts else Points(np.zeros((0, 2)), np.zeros(0))


def dashes(
    rng: Rng,
    size_nm: tuple[float, float],
    number: int,
    *,
    piece_nm: tuple[float, float],
    gap_nm: tuple[float, float],
) -> Points:
    """Return `number` straight or bent lines of one to four pieces with gaps between them; light is 1
    per nm."""
    parts = []
    for _ in range(number):
        pieces = int(rng.choice([1, 2, 2, 3, 4]))
        lengths = np.exp(rng.uniform(np.log(piece_nm[0]), np.log(piece_nm[1]), pieces))
        gaps = np.exp(rng.uniform(np.log(gap_nm[0]), np.log(gap_nm[1]), pieces))
        starts = np.concatenate([[0], np.cumsum(lengths + gaps)[:-1]])
        along = np.concatenate(
            [np.arange(start, start + length, STEP_NM) for start, length in zip(starts, lengths, strict=True)]
        )
        angle, bend = rng.uniform(0, 2 * np.pi), rng.normal(0, 0.3) / piece_nm[1]
        way = angle + bend * along
        places = rng.uniform(0, size_nm, 2) + along[:, None] * np.stack([np.sin(way), np.cos(way)], axis=-1)
        parts.append(Points(places, np.full(len(along), STEP_NM * rng.lognormal(0, 0.2))))
    return join(*parts)


def clusters(
    rng: Rng, size_nm: tuple[float, float], number: int, *, spread_nm: tuple[float, float], radius_nm: float
) -> Points:
    """Return groups of spots, round or along a bent line, and single spots, each with a light of about 1."""
    places = [rng.uniform(0, size_nm, (int(rng.integers(1, 2 * number + 2)), 2))]
    for _ in range(number):
        members = int(np.exp(rng.uniform(np.log(3), np.log(50))))
        middle, spread = rng.uniform(0, size_nm, 2), float(np.exp(rng.uniform(*np.log(spread_nm))))
        crowd = spread * rng.normal(size=(members, 2)) * rng.uniform(0.4, 1, 2)
        if rng.random() < 0.4:  # like vesicles that move along a neurite
            along, angle = spread * rng.uniform(-5, 5, members), rng.uniform(0, 2 * np.pi)
            way = angle + rng.normal(0, 0.1) * along / spread
            crowd = 0.3 * crowd + along[:, None] * np.stack([np.sin(way), np.cos(way)], axis=-1)
        places.append(middle + crowd)
    middles = np.concatenate(places)
    spots = middles[:, None] + radius_nm / np.sqrt(2) * rng.normal(size=(len(middles), 8, 2))
    light = rng.lognormal(0, rng.uniform(0.1, 0.8), len(middles))
    return Points(spots.reshape(-1, 2), np.repeat(light / 8, 8))


def tubes(
    rng: Rng, size_nm: tuple[float, float], number: int, *, width_nm: float, rim_share: float
) -> Points:
    """Return curved tubes such as mitochondria, filled or with bright rims; light is 1 per nm of length."""
    path, direction = curves(
        rng,
        size_nm,
        number,
        length_nm=float(rng.uniform(800, 6000)),
        persistence_nm=float(rng.uniform(1500, 6000)),
    )
    across = 17
    place = np.sin(np.linspace(-np.pi / 2, np.pi / 2, across))  # dense at the rims
    even = np.cos(np.linspace(-np.pi / 2, np.pi / 2, across)) + 1e-3  # compensates for the dense rims
    rim = (np.abs(place) > 0.9).astype(float)
    profile = (1 - rim_share) * even / even.sum() + rim_share * rim / rim.sum()
    normal = np.stack([np.cos(direction), -np.sin(direction)], axis=-1)
    width = width_nm * rng.uniform(0.7, 1.3, (number, 1, 1, 1))
    places = path[:, :, None] + 0.5 * width * place[:, None] * normal[:, :, None]
    along = STEP_NM * np.arange(path.shape[1])
    folds = 1 + rng.uniform(0, 0.8) * np.sin(2 * np.pi * along / rng.uniform(70, 200))  # cristae
    light = STEP_NM * rng.lognormal(0, 0.3, (number, 1, 1)) * folds[:, None] * profile
    return Points(places.reshape(-1, 2), np.broadcast_to(light, places.shape[:3]).ravel())


def blobs(rng: Rng, shape: tuple[int, int], number: int, *, radius_px: float, texture: Array) -> Array:
    """Return an image (H, W) of soft ellipses such as nuclei: brightness about 1, textured by noise."""
    y, x = np.indices(shape)
    image = np.zeros(shape)
    for _ in range(number):
        at_y, at_x = y - rng.uniform(0, shape[0]), x - rng.uniform(0, shape[1])
        angle, radius = rng.uniform(0, np.pi), radius_px * rng.uniform(0.6, 1.4)
        along, across = (
            at_x * np.cos(angle) + at_y * np.sin(angle),
            at_y * np.cos(angle) - at_x * np.sin(angle),
        )
        edge = radius - np.hypot(along / rng.uniform(1, 1.6), across)
        sharp = radius * rng.uniform(0.02, 0.3) + 0.5
        image += rng.uniform(0.5, 1.5) / (1 + np.exp(-np.clip(edge / sharp, -50, 50)))
    return np.asarray(np.maximum(image * (1 + rng.uniform(0, 0.35) * texture), 0))
