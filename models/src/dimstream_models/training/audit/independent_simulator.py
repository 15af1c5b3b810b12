"""A second simulated microscope, independent of the one on which models are trained.

It shares nothing with the training simulator. Its filaments are persistent random walks of several
thicknesses, with vesicles, rings and patches of membrane; all of them diffuse. The point spread function is a
Gaussian with Lorentzian wings. The detector has a dead time after each photon, and a dark rate that varies
over the field. Results that hold for both simulators depend less on the details of either.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Floats = NDArray[np.float64]
Sample = Literal["filaments", "vesicles", "patches", "mixed"]

SAMPLES: Final[tuple[Sample, ...]] = ("filaments", "vesicles", "patches", "mixed")
MARGIN: Final = 24
"""Scene outside the field of view, px."""
FRAMES: Final = 64
"""Number of frames for which the motion of a scene is drawn."""
CORE_PX: Final = (1.2, 3.5)
"""Standard deviation of the point spread function's core."""
WINGS: Final = (0.05, 0.25)
"""Share of the light in its Lorentzian wings."""
WING_PX: Final = (2.0, 6.0)
DEAD_TIME: Final = (0.002, 0.02)
"""Dead time as a share of a pixel's dwell time."""
UNEVEN: Final = 0.2
"""Standard deviation of the logarithm of the dark rate over the field; from pixel to pixel it is half of
that."""


@dataclass(frozen=True, eq=False)
class Matter:
    """Points of one kind of structure.

    Parameters
    ----------
    places : ndarray
        (n, 2), px from the field's corner.
    weights : ndarray
        (n,), light of each point.
    owners : ndarray
        (n,), the row of `paths` for each point.
    paths : ndarray
        (FRAMES, k, 2), motion of the structures, px.
    radius_px : float
        Radius over which the points are smoothed.
    """

    places: Floats
    weights: Floats
    owners: NDArray[np.intp]
    paths: Floats
    radius_px: float

    def draw(self, frame: int, shape: tuple[int, int]) -> Floats:
        """Return the light on the padded grid, (H, W) photons of `shape`."""
        points = self.places + self.paths[frame][self.owners] + MARGIN
        rows, columns = np.floor(points).astype(np.intp).T
        inside = (rows >= 0) & (rows < shape[0]) & (columns >= 0) & (columns < shape[1])
        pixels = (rows * shape[1] + columns)[inside]
        image = np.bincount(pixels, self.weights[inside], minlength=shape[0] * shape[1])
        return np.asarray(ndimage.gaussian_filter(image.reshape(shape), self.radius_px))


@dataclass(frozen=True, eq=False)
class OtherScene:
    """A field of view of this simulator; a typical structure's peak is 1 in its first frame."""

    side_px: int
    matter: tuple[Matter, ...]
    still: Floats
    cover: Floats
    transfer: Floats
    scale: float

    @classmethod
    def random(
        cls, rng: np.random.Generator, side_px: int, *, half_empty: bool, sample: Sample | None = None
    ) -> OtherScene:
        """Draw a scene.

        Parameters
        ----------
        half_empty : bool
            Whether the sample is only on one side of a line through the middle.
        sample : Sample, optional
            Kind of sample; by default random.
        """
        padded = side_px + 2 * MARGIN
        sample = sample or SAMPLES[int(rng.integers(len(SAMPLES)))]
        matter: list[Matter] = []
        if sample in ("filaments", "mixed"):
            matter += [_filaments(rng, side_px) for _ in range(int(rng.integers(1, 3)))]
        if sample in ("vesicles", "mixed"):
            matter += [_rings(rng, side_px), _blobs(rng, side_px)]
        still = np.zeros((padded, padded))
        if sample in ("patches", "mixed"):
            still = _patches(rng, padded)
        cover = _half(rng, padded) if half_empty else np.ones((padded, padded))
        scene = cls(side_px, tuple(matter), still, cover, _transfer(rng, padded), 1.0)
        return cls(side_px, tuple(matter), still, cover, scene.transfer, 1 / scene.typical())

    def structure(self, frame: int) -> NDArray[np.float32]:
        """Return the noise-free image (H, W) of a frame."""
        inside = self._blurred(frame, self.cover)[MARGIN:-MARGIN, MARGIN:-MARGIN]
        return np.asarray(np.maximum(self.scale * inside, 0), np.float32)

    def typical(self) -> float:
        """Return the median brightness on the structures, before scaling."""
        whole = np.ones_like(self.cover)
        image = self._blurred(0, whole)
        on = [each.places + each.paths[0][each.owners] + MARGIN for each in self.matter]
        on.append(np.argwhere(self.still > 0).astype(float))
        places = np.concatenate(on).astype(np.intp)
        places = places[((places >= 0) & (places < len(image))).all(axis=1)]
        return float(np.median(image[places[:, 0], places[:, 1]]))

    def _blurred(self, frame: int, cover: Floats) -> Floats:
        shape = (len(self.still), len(self.still))
        matter = self.still + sum((each.draw(frame, shape) for each in self.matter), np.zeros(shape))
        return np.asarray(np.fft.irfft2(np.fft.rfft2(matter * cover) * self.transfer, shape))


def dark_map(rng: np.random.Generator, shape: tuple[int, int]) -> Floats:
    """Return the relative dark rate over the field, (H, W), with mean 1."""
    smooth = ndimage.gaussian_filter(rng.normal(size=shape), min(shape) / 5, mode="wrap")
    smooth /= max(float(smooth.std()), 1e-12)
    rates = np.exp(UNEVEN * smooth + UNEVEN / 2 * rng.normal(size=shape))
    return np.asarray(rates / rates.mean())


def count_with_dead_time(expected: Floats, dead_time: float, rng: np.random.Generator) -> NDArray[np.uint16]:
    """Return the counts (H, W) of a detector that is blind for a time after each photon.

    Parameters
    ----------
    expected : ndarray
        (H, W), mean number of photons during a pixel's dwell time.
    dead_time : float
        As a share of the dwell time; photons within it do not prolong it.
    """
    rates = np.maximum(expected.ravel(), 1e-12)
    counts, clock = np.zeros(rates.size, np.uint16), np.zeros(rates.size)
    open_pixels = np.arange(rates.size)
    while open_pixels.size:
        clock[open_pixels] += rng.exponential(size=open_pixels.size) / rates[open_pixels]
        open_pixels = open_pixels[clock[open_pixels] < 1]
        counts[open_pixels] += 1
        clock[open_pixels] += dead_time
    return counts.reshape(expected.shape)


def _filaments(rng: np.random.Generator, side_px: int) -> Matter:
    """Draw persistent random walks; stiffer ones change direction less."""
    number, length = int(rng.integers(6, 30)), int(rng.uniform(0.4, 1.6) * side_px)
    persistence = rng.uniform(15, 200)  # px
    turns = rng.normal(0, np.sqrt(2 / persistence), (number, length))
    angles = rng.uniform(0, 2 * np.pi, (number, 1)) + np.cumsum(turns, axis=1)
    start = rng.uniform(-MARGIN, side_px + MARGIN, (number, 1, 2))
    walk = start + np.cumsum(np.stack([np.sin(angles), np.cos(angles)], axis=-1), axis=1)
    walk = _fine(walk)
    shine = np.repeat(rng.lognormal(0, rng.uniform(0.1, 0.5), number), walk.shape[1])
    return _matter(rng, walk, shine, radius_px=rng.uniform(0.3, 2.5), motion_px=rng.uniform(0, 0.5))


def _fine(walk: Floats) -> Floats:
    """Return walks with steps of 1 px with three more points in each step."""
    parts = [walk[:, :-1] + share * np.diff(walk, axis=1) for share in (0, 0.25, 0.5, 0.75)]
    return np.concatenate(parts, axis=1)


def _rings(rng: np.random.Generator, side_px: int) -> Matter:
    """Draw vesicles with a bright membrane."""
    number = int(side_px**2 * rng.uniform(2e-4, 8e-4)) + 1
    radii = rng.uniform(2.5, 8, (number, 1, 1))
    angles = np.linspace(0, 2 * np.pi, 96, endpoint=False)
    circle = np.stack([np.sin(angles), np.cos(angles)], axis=-1)
    places = rng.uniform(-MARGIN, side_px + MARGIN, (number, 1, 2)) + radii * circle
    shine = np.repeat(rng.lognormal(0, 0.3, number) * radii[:, 0, 0] * 2 * np.pi / 24, 96)
    return _matter(rng, places, shine, radius_px=rng.uniform(0.3, 1.0), motion_px=rng.uniform(0.2, 1.0))


def _blobs(rng: np.random.Generator, side_px: int) -> Matter:
    """Draw small, filled vesicles."""
    number = int(side_px**2 * rng.uniform(2e-4, 1e-3)) + 1
    places = rng.uniform(-MARGIN, side_px + MARGIN, (number, 1, 2)) + rng.normal(0, 1, (number, 40, 2))
    shine = np.repeat(rng.lognormal(0, 0.5, number), 40)
    return _matter(rng, places, shine, radius_px=rng.uniform(0.3, 1.5), motion_px=rng.uniform(0.2, 1.5))


def _matter(
    rng: np.random.Generator, places: Floats, shine: Floats, *, radius_px: float, motion_px: float
) -> Matter:
    """Return structures (k, n, 2) that diffuse by `motion_px` a frame."""
    number, points, _ = places.shape
    steps = rng.normal(0, motion_px, (FRAMES, number, 2))
    steps[0] = 0
    owners = np.repeat(np.arange(number), points)
    return Matter(places.reshape(-1, 2), shine, owners, np.cumsum(steps, axis=0), radius_px)


def _patches(rng: np.random.Generator, padded: int) -> Floats:
    """Draw pieces of membrane with soft texture, (H, W), some of them brighter at their rim."""
    form = ndimage.gaussian_filter(rng.normal(size=(padded, padded)), rng.uniform(8, 20), mode="wrap")
    form /= form.std()
    inside = form > rng.uniform(0.5, 1.2)
    texture = ndimage.gaussian_filter(rng.normal(size=(padded, padded)), 3, mode="wrap")
    rim = inside & ~ndimage.binary_erosion(inside, iterations=3)
    bright = np.clip(1 + 0.3 * texture / texture.std() + rng.uniform(0, 1) * rim, 0.1, None)
    return np.asarray(1.2 * inside * bright)  # about as bright as a filament


def _half(rng: np.random.Generator, padded: int) -> Floats:
    y, x = np.indices((padded, padded)) - padded / 2
    angle = rng.uniform(0, 2 * np.pi)
    return np.asarray(x * np.cos(angle) + y * np.sin(angle) > 0, float)


def _transfer(rng: np.random.Generator, padded: int) -> Floats:
    """Return the optical transfer function of a Gaussian core with Lorentzian wings."""
    y, x = np.fft.fftfreq(padded)[:, None], np.fft.rfftfreq(padded)
    distance = np.hypot(y, x)  # cycles/px
    core = np.exp(-2 * (np.pi * rng.uniform(*CORE_PX) * distance) ** 2)
    wings = np.exp(-2 * np.pi * rng.uniform(*WING_PX) * distance)
    share = rng.uniform(*WINGS)
    return np.asarray((1 - share) * core + share * wings)
