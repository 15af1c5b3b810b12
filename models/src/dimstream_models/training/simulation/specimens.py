"""Scenes for a generalist model: many structures, pixel sizes and point spread functions, with exact truth.

Each scene has its own random pixel size, point spread function, structure and haze. It moves slowly, so that
the flags can be calibrated on it. Brightness is in units of a typical structure's peak, as in the ER scenes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from dimstream_models.training.simulation.er_scenes import (
    Motion,
    Scene,
    draw_cover,
    smooth_noise,
)
from dimstream_models.training.simulation.structures import (
    Gaps,
    Points,
    blobs,
    clusters,
    dashes,
    filaments,
    groups,
    puncta,
    tubes,
)

Array = NDArray[np.float64]
Rng = np.random.Generator
PIXELS_NM: Final = (15.0, 60.0)
_MARGIN = 24  # px of scene outside the field of view
_LEAST_SIGMA_PX = 0.6  # blur by a pixel's own width


@dataclass(frozen=True)
class Optics:
    """Imaging of a scene: pixels, and a Gaussian point spread function with a wide pedestal."""

    pixel_nm: float
    sigma_px: float
    foot: float  # share of the light in the pedestal
    foot_sigma_px: float

    @classmethod
    def random(cls, rng: Rng) -> Optics:
        """Draw pixels of 15 to 60 nm, and a resolution of 40 to 250 nm that these pixels can sample."""
        pixel_nm = float(np.exp(rng.uniform(*np.log(PIXELS_NM))))
        fwhm_nm = float(np.exp(rng.uniform(np.log(max(40.0, 1.4 * pixel_nm)), np.log(250.0))))
        sigma_px = max(_LEAST_SIGMA_PX, fwhm_nm / 2.355 / pixel_nm)
        foot = rng.uniform(0, 0.25) if rng.random() < 0.7 else 0.0
        return cls(pixel_nm, sigma_px, foot, sigma_px * rng.uniform(2.5, 5))

    @property
    def width_nm(self) -> float:
        """Full width at half maximum of the point spread function, nm."""
        return 2.355 * self.sigma_px * self.pixel_nm

    def point_light(self, radius_nm: float = 0.0) -> float:
        """Return the light of a spot of this radius whose image has a peak of about 1."""
        return float(2 * np.pi * (self.sigma_px**2 + (radius_nm / self.pixel_nm) ** 2 / 4))

    def line_light(self, width_nm: float = 0.0) -> float:
        """Return the light per nm of a line of this width whose image has a peak of about 1."""
        spread = np.hypot(self.sigma_px, 0.29 * width_nm / self.pixel_nm)
        return float(np.sqrt(2 * np.pi) * spread / self.pixel_nm)

    def image(self, matter: Array) -> Array:
        """Return the image of a light distribution, both (H, W)."""
        seen = ndimage.gaussian_filter(matter, self.sigma_px, truncate=4)
        if not self.foot:
            return np.asarray(seen)
        wide = ndimage.gaussian_filter(matter, self.foot_sigma_px, truncate=3)
        return np.asarray((1 - self.foot) * seen + self.foot * wide)


Layer = Callable[[Rng, tuple[int, int], Optics], Array]


@dataclass(frozen=True)
class Specimen:
    """A field of view of any structures; `structure(t_s)` is its noise-free image."""

    layers: tuple[Array, ...]  # padded images
    motion: Motion  # of each layer, px

    def structure(self, t_s: float = 0.0) -> NDArray[np.float32]:
        """Return the noise-free image at time `t_s`: (H, W) float32, a typical structure's peak is 1."""
        moved = [
            ndimage.shift(layer, way, order=1, mode="nearest")
            for layer, way in zip(self.layers, self.motion.at(t_s), strict=True)
        ]
        image = np.sum(moved, axis=0)[_MARGIN:-_MARGIN, _MARGIN:-_MARGIN]
        return np.asarray(np.maximum(image, 0), dtype=np.float32)

    @classmethod
    def random(cls, rng: Rng, shape: tuple[int, int], layers: tuple[Layer, ...]) -> Specimen:
        """Draw a scene of `shape` px from some layers, with or without haze and an edge of the cell."""
        padded = (shape[0] + 2 * _MARGIN, shape[1] + 2 * _MARGIN)
        optics, cover = Optics.random(rng), draw_cover(rng, padded)
        drawn = [cover * _tamed(optics.image(draw(rng, padded, optics))) for draw in layers]
        if rng.random() < 0.4:
            drawn[0] = drawn[0] + cover * _haze(rng, drawn[0])
        return cls(tuple(drawn), Motion.random(rng, len(drawn), rng.uniform(0, 1.5)))


@dataclass(frozen=True)
class SmallerScene:
    """An ER scene at reduced size, as with larger pixels or finer tubules."""

    scene: Scene
    shape: tuple[int, int]

    def structure(self, t_s: float = 0.0) -> NDArray[np.float32]:
        """Return the noise-free image at time `t_s`: (H, W) float32, a typical tubule's peak is 1."""
        image = self.scene.structure(t_s)
        factors = [side / full for side, full in zip(self.shape, image.shape, strict=True)]
        softened = ndimage.gaussian_filter(
            image, [0.29 / f for f in factors]
        )  # blur by a larger pixel's own width
        smaller = ndimage.zoom(softened, factors, order=1, grid_mode=True, mode="nearest")
        return np.asarray(smaller, dtype=np.float32)


def smaller_er(rng: Rng, shape: tuple[int, int], scale: float) -> SmallerScene:
    """Return an ER scene whose structures are `scale` times as large."""
    full = (round(shape[0] / scale), round(shape[1] / scale))
    kind = rng.choice(["er", "er", "dense", "sparse"])
    return SmallerScene(Scene.random(rng, full, kind), shape)


def draw_specimen(rng: Rng, shape: tuple[int, int]) -> Specimen:
    """Return a scene of one kind of structure, or of two or three together."""
    kinds = list(_LAYERS)
    share = np.array([_LAYERS[kind][0] for kind in kinds])
    number = int(rng.choice([1, 2, 3], p=[0.75, 0.2, 0.05]))
    chosen = rng.choice(len(kinds), number, replace=False, p=share / share.sum())
    return Specimen.random(rng, shape, tuple(_LAYERS[kinds[index]][1] for index in chosen))


def _size(shape: tuple[int, int], optics: Optics) -> tuple[float, float]:
    return shape[0] * optics.pixel_nm, shape[1] * optics.pixel_nm


def _area(shape: tuple[int, int]) -> float:
    return shape[0] * shape[1]


def _gaps(rng: Rng, optics: Optics, share: float) -> Gaps | None:
    """Return gaps that the point spread function resolves, for a share of the scenes; else None."""
    if rng.random() >= share:
        return None
    width = optics.width_nm
    every = width * float(np.exp(rng.uniform(np.log(4), np.log(40))))
    return Gaps(every, (0.8 * width, 4 * width))


def _microtubules(rng: Rng, shape: tuple[int, int], optics: Optics) -> Array:
    size = _size(shape, optics)
    length = 1.3 * max(size)
    number = max(2, int(_area(shape) * np.exp(rng.uniform(np.log(0.004), np.log(0.03))) / max(shape)))
    drawn = filaments(
        rng,
        size,
        number,
        length_nm=length,
        persistence_nm=float(np.exp(rng.uniform(np.log(2000), np.log(40000)))),
        gaps=_gaps(rng, optics, 0.6),
    )
    return optics.line_light() * drawn.image(shape, optics.pixel_nm)


def _short_filaments(rng: Rng, shape: tuple[int, int], optics: Optics) -> Array:
    length_px = float(np.exp(rng.uniform(np.log(12), np.log(120))))
    number = max(3, int(_area(shape) * np.exp(rng.uniform(np.log(0.005), np.log(0.05))) / length_px))
    drawn = filaments(
        rng,
        _size(shape, optics),
        number,
        length_nm=length_px * optics.pixel_nm,
        persistence_nm=float(np.exp(rng.uniform(np.log(20), np.log(400)))) * optics.pixel_nm,
        gaps=_gaps(rng, optics, 0.4),
    )
    return optics.line_light() * drawn.image(shape, optics.pixel_nm)


def _actin(rng: Rng, shape: tuple[int, int], optics: Optics) -> Array:
    size = _size(shape, optics)
    bundles = filaments(
        rng,
        size,
        max(4, int(rng.uniform(0.05, 0.35) * max(shape))),
        length_nm=1.3 * max(size),
        persistence_nm=float(rng.uniform(20000, 100000)),
        heading=float(rng.uniform(0, np.pi)) if rng.random() < 0.7 else None,
        gaps=_gaps(rng, optics, 0.3),
    )
    width = rng.uniform(0, 150)
    matter = optics.line_light(width) * bundles.image(shape, optics.pixel_nm)
    return np.asarray(ndimage.gaussian_filter(matter, 0.29 * width / optics.pixel_nm + 1e-3))


def _number_of_spots(rng: Rng, shape: tuple[int, int]) -> int:
    return max(3, int(_area(shape) * np.exp(rng.uniform(np.log(2e-4), np.log(8e-3)))))


def _puncta(rng: Rng, shape: tuple[int, int], optics: Optics) -> Array:
    drawn = puncta(
        rng,
        _size(shape, optics),
        _number_of_spots(rng, shape),
        radius_nm=0.0,
        hollow=False,
        variety=rng.uniform(0, 0.7),
    )
    return optics.point_light() * drawn.image(shape, optics.pixel_nm)


def _vesicles(rng: Rng, shape: tuple[int, int], optics: Optics) -> Array:
    radius = float(np.exp(rng.uniform(np.log(30), np.log(350))))
    drawn = puncta(
        rng,
        _size(shape, optics),
        max(3, _number_of_spots(rng, shape) // 2),
        radius_nm=radius,
        hollow=rng.random() < 0.5,
        variety=rng.uniform(0, 0.6),
    )
    return optics.point_light(radius) * drawn.image(shape, optics.pixel_nm)


def _groups(rng: Rng, shape: tuple[int, int], optics: Optics) -> Array:
    width = optics.width_nm
    drawn = groups(
        rng, _size(shape, optics), _number_of_spots(rng, shape) // 3, apart_nm=(0.8 * width, 4 * width)
    )
    return optics.point_light() * drawn.image(shape, optics.pixel_nm)


def _dashes(rng: Rng, shape: tuple[int, int], optics: Optics) -> Array:
    width = optics.width_nm
    number = max(4, int(_area(shape) * np.exp(rng.uniform(np.log(3e-4), np.log(1.5e-3)))))
    drawn = dashes(
        rng,
        _size(shape, optics),
        number,
        piece_nm=(1.5 * width, 7 * width),
        gap_nm=(0.8 * width, 3 * width),
    )
    return optics.line_light() * drawn.image(shape, optics.pixel_nm)


def _clusters(rng: Rng, shape: tuple[int, int], optics: Optics) -> Array:
    radius = float(rng.uniform(0, 120))
    drawn = clusters(
        rng,
        _size(shape, optics),
        max(2, int(_area(shape) * np.exp(rng.uniform(np.log(1e-4), np.log(1.2e-3))))),
        spread_nm=(optics.width_nm, 6 * optics.width_nm),
        radius_nm=radius,
    )
    return optics.point_light(radius) * drawn.image(shape, optics.pixel_nm)


def _cytoplasm(rng: Rng, shape: tuple[int, int], optics: Optics) -> Array:
    """Return a label that is everywhere, (H, W): overlapping fibres and folds."""
    steepness = rng.uniform(0.3, 1.0)
    scales = np.exp(rng.uniform(np.log(1.0), np.log(25.0), 4))
    folds = sum(
        scale**steepness * smooth_noise(rng, shape, scale, float(np.exp(rng.uniform(0, 1.6))))
        for scale in scales
    )
    contrast = np.exp(rng.uniform(np.log(0.15), np.log(0.9)))
    return np.asarray(np.exp(contrast * folds / np.std(folds)))


def _mitochondria(rng: Rng, shape: tuple[int, int], optics: Optics) -> Array:
    width = rng.uniform(150, 600)
    number = max(2, int(_area(shape) * optics.pixel_nm**2 * np.exp(rng.uniform(np.log(2e-8), np.log(2e-7)))))
    drawn: Points = tubes(
        rng, _size(shape, optics), min(number, 60), width_nm=width, rim_share=rng.choice([0, 0, 0.6, 0.9])
    )
    return optics.line_light(width) * drawn.image(shape, optics.pixel_nm)


def _nuclei(rng: Rng, shape: tuple[int, int], optics: Optics) -> Array:
    radius = float(np.exp(rng.uniform(np.log(8), np.log(90))))
    number = max(1, int(_area(shape) * rng.uniform(0.05, 0.5) / (np.pi * radius**2)))
    texture = smooth_noise(rng, shape, float(np.exp(rng.uniform(np.log(2), np.log(15)))))
    return blobs(rng, shape, min(number, 40), radius_px=radius, texture=texture)


def _tamed(image: Array) -> Array:
    """Return the image (H, W), darker where structures overlap, so that doses remain comparable."""
    bright = float(np.quantile(image, 0.995))
    return image / max(1.0, bright / 2)


def _haze(rng: Rng, image: Array) -> Array:
    """Return out-of-focus light, (H, W): the strongly blurred structure, and clouds."""
    far = ndimage.gaussian_filter(image, rng.uniform(6, 25), truncate=2)
    clouds = np.clip(0.5 + 0.5 * smooth_noise(rng, image.shape, rng.uniform(15, 60)), 0, None)
    return np.asarray(rng.uniform(0, 1) * far + rng.uniform(0, 0.3) * clouds)


_LAYERS: Final[dict[str, tuple[float, Layer]]] = {  # share of scenes, and the function that draws it
    "microtubules": (0.15, _microtubules),
    "short filaments": (0.08, _short_filaments),
    "dashes": (0.12, _dashes),
    "actin": (0.07, _actin),
    "puncta": (0.14, _puncta),
    "groups of puncta": (0.13, _groups),
    "vesicles": (0.07, _vesicles),
    "clusters": (0.08, _clusters),
    "cytoplasm": (0.08, _cytoplasm),
    "mitochondria": (0.05, _mitochondria),
    "nuclei": (0.03, _nuclei),
}
