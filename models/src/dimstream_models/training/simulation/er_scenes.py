"""Simulated live-cell STED of the endoplasmic reticulum, with its exact truth.

A scene is a moving tubule network with three-way junctions (the edges of a Voronoi tessellation, some of them
missing, all of them curved), with sheets with holes, puncta and out-of-focus haze. A photon detector counts
its light through a STED point spread function. Brightness is in units of a typical tubule's peak, so a dose
is the expected number of photons per pixel on a tubule.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, spatial
from skimage.draw import polygon2mask

Array = NDArray[np.float64]
Kind = Literal["er", "dense", "sparse"]
PIXEL_SIZE_NM = 20.0
MARGIN_PX = 24  # px of scene outside the field of view, so that structures cross its border
_SAMPLES = 128  # points of one edge


@dataclass(frozen=True)
class Motion:
    """Smooth, stationary random motion as a deterministic function of time: a few sines each.

    `amplitude`, `period_s` and `phase` are (n, k, d): n movers, k sines, d coordinates.
    """

    amplitude: Array
    period_s: Array
    phase: Array

    @classmethod
    def random(cls, rng: np.random.Generator, movers: int, rms: float, dims: int = 2) -> Motion:
        """Draw the motion of `movers` points of root-mean-square displacement `rms` per coordinate."""
        size = (movers, 3, dims)
        return cls(
            rng.normal(0, rms * np.sqrt(2 / 3), size),
            rng.uniform(12, 150, size),
            rng.uniform(0, 2 * np.pi, size),
        )

    def at(self, t_s: float) -> Array:  # (n, d)
        """Return the displacement of n movers in d dimensions at time `t_s`, (n, d) px."""
        angle = 2 * np.pi * t_s / self.period_s + self.phase
        return np.asarray(np.sum(self.amplitude * np.sin(angle), axis=1))


@dataclass(frozen=True)
class Tubules:
    """Edges of one moving network: their nodes, shapes, brightness, and when they are present."""

    nodes: Array  # (n, 2) px
    motion: Motion
    edges: NDArray[np.intp]  # (e, 2)
    bends: Motion  # three sine modes across each edge, px
    still_bends: Array  # (e, 3) px
    brightness: Array  # (e, 3): mean, modulation, phase along the edge
    lifetime_s: Array  # (e, 2): appears, disappears
    cells: list[list[int]]  # nodes of each closed cell of the network

    @classmethod
    def random(cls, rng: np.random.Generator, shape: tuple[int, int], spacing: float) -> Tubules:
        """Draw a network whose meshes are about `spacing` px wide."""
        size = np.add(shape, 2 * MARGIN_PX)
        count = max(8, int(size[0] * size[1] / spacing**2))
        voronoi = spatial.Voronoi(rng.uniform(-MARGIN_PX, size - MARGIN_PX, (count, 2)))
        ridges = np.array([r for r in voronoi.ridge_vertices if -1 not in r], dtype=np.intp)
        lengths = np.linalg.norm(np.subtract(*voronoi.vertices[ridges].swapaxes(0, 1)), axis=1)
        ridges = ridges[(lengths < 4 * spacing) & (rng.random(len(ridges)) > rng.uniform(0.05, 0.3))]
        number = len(ridges)
        fleeting = rng.random((number, 1)) < 0.15
        births = np.sort(rng.uniform(-200, 600, (number, 2)), axis=1)
        return cls(
            voronoi.vertices,
            Motion.random(rng, len(voronoi.vertices), rng.uniform(0.5, 5.0)),
            ridges,
            Motion.random(rng, number, rng.uniform(0.2, 1.2), dims=3),
            rng.normal(0, spacing * rng.uniform(0.02, 0.09), (number, 3)) / [1, 2, 3],
            np.stack(
                [
                    rng.lognormal(0, rng.uniform(0.1, 0.4), number),
                    rng.uniform(0, 0.4, number),
                    rng.uniform(0, 2 * np.pi, number),
                ],
                axis=1,
            ),
            np.where(fleeting, births, [-1e9, 1e9]),
            [region for region in voronoi.regions if region and -1 not in region],
        )

    def nodes_at(self, t_s: float) -> Array:  # (n, 2)
        """Return the positions of the junctions at time `t_s`, (n, 2) px."""
        return self.nodes + self.motion.at(t_s)

    def paths_at(self, t_s: float) -> Array:
        """Return the centre line of every edge at time `t_s`, (e, s, 2) px, evenly sampled."""
        start, end = (self.nodes_at(t_s)[self.edges[:, side]] for side in (0, 1))
        along = (np.arange(_SAMPLES) + 0.5) / _SAMPLES
        path = start[:, None] + (end - start)[:, None] * along[:, None]  # (e, s, 2)
        modes = np.sin(np.pi * np.arange(1, 4)[:, None] * along)  # (3, s)
        offset = (self.still_bends + self.bends.at(t_s)) @ modes  # (e, s)
        normal = np.stack([end[:, 1] - start[:, 1], start[:, 0] - end[:, 0]], axis=1) / np.maximum(
            np.linalg.norm(end - start, axis=1, keepdims=True), 1e-9
        )
        return np.asarray(path + offset[..., None] * normal[:, None])

    def alive_at(self, t_s: float) -> Array:
        """Return how much of each edge is present at time `t_s`, (e, 1), 0 to 1."""
        born, dies = (self.lifetime_s[:, side, None] for side in (0, 1))
        return np.asarray(
            1
            / (1 + np.exp(np.clip((born - t_s) / 5, -50, 50)))
            / (1 + np.exp(np.clip((t_s - dies) / 5, -50, 50)))
        )

    def draw(self, t_s: float, shape: tuple[int, int]) -> Array:
        """Return the network's line density on the padded grid, (H, W): length times brightness per px."""
        start, end = (self.nodes_at(t_s)[self.edges[:, side]] for side in (0, 1))
        length = np.linalg.norm(end - start, axis=1, keepdims=True)
        along = (np.arange(_SAMPLES) + 0.5) / _SAMPLES
        mean, modulation, phase = self.brightness.T[..., None]
        shine = mean * (1 + modulation * np.sin(2 * np.pi * along + phase))
        places = self.paths_at(t_s).reshape(-1, 2) + MARGIN_PX
        return _splat(places, (shine * self.alive_at(t_s) * length / _SAMPLES).ravel(), shape)


class MovingScene(Protocol):
    """A field of view, at any time."""

    def structure(self, t_s: float = 0.0) -> NDArray[np.float32]:
        """Return the noise-free image at time `t_s`: (H, W) float32, a typical structure's peak is 1."""


@dataclass(frozen=True)
class Scene:
    """A field of view of one cell, at any time.

    Use `Scene.random` to draw one; `structure(t_s)` is its exact, noise-free image.
    """

    shape: tuple[int, int]
    tubules: tuple[Tubules, ...]
    sheet_cells: tuple[tuple[int, float], ...]  # (cell of the first network, brightness)
    sheet_texture: Array  # padded; negative where a sheet has a hole
    puncta: Array  # (n, 3): y, x, brightness
    puncta_motion: Motion
    haze: Array  # padded
    cover: Array  # padded, 0 to 1: the area of the cell
    drift_px_s: Array  # (2,)
    sigma_px: float  # sigma of a tubule's image: its radius and the point spread function's core
    pedestal: float  # share of the light in the point spread function's wide foot
    pedestal_sigma_px: float

    @classmethod
    def random(cls, rng: np.random.Generator, shape: tuple[int, int], kind: Kind = "er") -> Scene:
        """Draw a scene of `shape` px.

        Parameters
        ----------
        kind : {"er", "dense", "sparse"}
            The peripheral ER; a cell body (several overlapping networks, texture and haze); or sparse
            filaments and puncta.
        """
        padded = (shape[0] + 2 * MARGIN_PX, shape[1] + 2 * MARGIN_PX)
        spacings = {
            "er": [rng.uniform(28, 75)],
            "dense": list(rng.uniform(14, 45, rng.integers(1, 4))),
            "sparse": [rng.uniform(70, 160)],
        }[kind]
        tubules = tuple(Tubules.random(rng, shape, spacing) for spacing in spacings)
        count = int(rng.integers(0, 12)) * {"er": 1, "dense": 3, "sparse": 3}[kind]
        haze_level = {
            "er": rng.uniform(0, 0.12),
            "dense": rng.uniform(0.1, 1.0),
            "sparse": rng.uniform(0, 0.3),
        }
        haze = haze_level[kind] * np.clip(0.6 + 0.5 * smooth_noise(rng, padded, rng.uniform(15, 60)), 0, None)
        if kind == "dense":
            fibres = smooth_noise(rng, padded, rng.uniform(1.5, 8), rng.uniform(1, 6))
            haze = haze + rng.uniform(0, 1.2) * np.clip(fibres + rng.uniform(-1, 1.5), 0, None)
        # a cell body is deep: the depletion is aberrated and the image is blurred
        radius_nm, psf_fwhm_nm = rng.uniform(30, 60), rng.uniform(45, 180 if kind == "dense" else 100)
        return cls(
            shape,
            tubules,
            tuple(_draw_sheets(rng, tubules[0], shape)) if kind != "sparse" else (),
            smooth_noise(rng, padded, rng.uniform(4, 9)),
            np.stack(
                [
                    rng.uniform(0, padded[0], count),
                    rng.uniform(0, padded[1], count),
                    rng.lognormal(0.5, 0.6, count),
                ],
                axis=1,
            ),
            Motion.random(rng, count, rng.uniform(0, 3)),
            haze,
            draw_cover(rng, padded),
            rng.normal(0, 0.01, 2),
            float(np.hypot(radius_nm / 2, psf_fwhm_nm / 2.355) / PIXEL_SIZE_NM),
            rng.uniform(0, 0.12),
            rng.uniform(5, 8),
        )

    def structure(self, t_s: float = 0.0) -> NDArray[np.float32]:
        """Return the noise-free image at time `t_s`: (H, W) float32, a typical tubule's peak is 1."""
        padded = (self.shape[0] + 2 * MARGIN_PX, self.shape[1] + 2 * MARGIN_PX)
        lines = np.sum([t.draw(t_s, padded) for t in self.tubules], axis=0)
        if len(self.puncta):
            places = self.puncta[:, :2] + self.puncta_motion.at(t_s)
            lines = lines + 2 * _splat(places, self.puncta[:, 2] * self.sigma_px, padded)
        line_peak = self.sigma_px * np.sqrt(2 * np.pi)  # inverse of the peak of a line of density 1
        matter = lines * line_peak + self.sheet_at(t_s) * (1 + 0.12 * self.sheet_texture)
        core = ndimage.gaussian_filter(matter, self.sigma_px)
        foot = ndimage.gaussian_filter(matter, self.pedestal_sigma_px)
        image = ((1 - self.pedestal) * core + self.pedestal * foot + self.haze) * self.cover
        moved = ndimage.shift(image, self.drift_px_s * t_s, order=1, mode="nearest")
        inside = moved[MARGIN_PX:-MARGIN_PX, MARGIN_PX:-MARGIN_PX]
        return np.asarray(np.maximum(inside, 0), dtype=np.float32)

    def sheet_at(self, t_s: float) -> Array:
        """Return the brightness of its sheets at time `t_s` on the padded grid, (H, W), without texture."""
        padded = (self.shape[0] + 2 * MARGIN_PX, self.shape[1] + 2 * MARGIN_PX)
        sheets = np.zeros(padded)
        nodes = self.tubules[0].nodes_at(t_s) + MARGIN_PX
        for cell, brightness in self.sheet_cells:
            outline = nodes[self.tubules[0].cells[cell]]
            sheets[polygon2mask(padded, outline)] = brightness
        holes = ndimage.gaussian_filter((self.sheet_texture < -1.2).astype(float), 1.0)
        return np.asarray(sheets * (1 - holes))


def expose(
    structure: NDArray[np.float32],
    *,
    dose: float,
    dark_counts: float,
    rng: np.random.Generator,
) -> NDArray[np.uint16]:
    """Return photon counts of a noise-free image.

    Parameters
    ----------
    structure : (H, W) float32
        A noise-free image in which a typical tubule's peak is 1.
    dose : float
        Expected photons per pixel on a tubule.
    dark_counts : float
        Counts per pixel without light from the sample.

    Returns
    -------
    (H, W) uint16
        Poisson photon counts; the counter saturates.
    """
    counts = rng.poisson(dose * structure + dark_counts)
    return np.minimum(counts, np.iinfo(np.uint16).max).astype(np.uint16)


def simulate_movie(
    scene: MovingScene,
    *,
    frames: int,
    frame_interval_s: float,
    dose: float,
    dark_counts: float,
    bleaching_half_life_frames: float = float("inf"),
    rng: np.random.Generator,
) -> tuple[NDArray[np.uint16], NDArray[np.float32]]:
    """Return a movie's photon counts and its truth (expected signal photons), both (T, H, W)."""
    counts, truth = [], []
    for t in range(frames):
        left = dose * 0.5 ** (t / bleaching_half_life_frames)
        structure = scene.structure(t * frame_interval_s)
        counts.append(expose(structure, dose=left, dark_counts=dark_counts, rng=rng))
        truth.append(left * structure)
    return np.stack(counts), np.stack(truth)


def _draw_sheets(
    rng: np.random.Generator, tubules: Tubules, shape: tuple[int, int]
) -> list[tuple[int, float]]:
    count = int(rng.choice([0, 0, 1, 2, 4, 8]))
    if not count or not tubules.cells:
        return []
    centres = np.array([tubules.nodes[cell].mean(axis=0) for cell in tubules.cells])
    seat = rng.uniform(0, shape, 2)
    nearest = np.argsort(np.linalg.norm(centres - seat, axis=1))[:count]
    return [(int(cell), float(rng.uniform(0.5, 1.4))) for cell in nearest]


def draw_cover(rng: np.random.Generator, padded: tuple[int, int]) -> Array:
    """Return the area of the cell, (H, W), 0 to 1: everywhere, or one side of a soft, curved edge."""
    if rng.random() < 0.7:
        return np.ones(padded)
    y, x = np.indices(padded) / max(padded) - 0.5
    angle, place, bow = rng.uniform(0, 2 * np.pi), rng.uniform(-0.35, 0.35), rng.uniform(-1, 1)
    across, along = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    return np.asarray(1 / (1 + np.exp(np.clip((across - place - bow * along**2) * max(padded) / 3, -50, 50))))


def smooth_noise(
    rng: np.random.Generator, shape: tuple[int, int], sigma_px: float, elongation: float = 1.0
) -> Array:
    """Return Gaussian noise, (H, W), of correlation length `sigma_px`, zero mean, unit variance.

    With `elongation` above 1, it is stretched by this factor along a random direction, like bundles of
    fibres.
    """
    angle = rng.uniform(0, np.pi)
    y, x = np.fft.fftfreq(shape[0])[:, None], np.fft.fftfreq(shape[1])
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    reach = (along * elongation) ** 2 + across**2
    transfer = np.exp(-2 * (np.pi * sigma_px) ** 2 * reach)  # transfer function of a Gaussian, periodic
    noise = np.fft.ifft2(np.fft.fft2(rng.normal(size=shape)) * transfer).real
    return np.asarray((noise - noise.mean()) / noise.std())


def _splat(points: Array, weights: Array, shape: tuple[int, int]) -> Array:
    """Return an image (H, W) of `weights` (n,) at sub-pixel `points` (n, 2), split bilinearly among four
    pixels."""
    corner = np.floor(points).astype(np.intp)
    part = points - corner
    image = np.zeros(shape[0] * shape[1])
    for dy in (0, 1):
        for dx in (0, 1):
            y, x = corner[:, 0] + dy, corner[:, 1] + dx
            inside = (y >= 0) & (y < shape[0]) & (x >= 0) & (x < shape[1])
            share = np.abs(1 - dy - part[:, 0]) * np.abs(1 - dx - part[:, 1]) * weights
            image += np.bincount((y * shape[1] + x)[inside], share[inside], minlength=image.size)
    return image.reshape(shape)
