"""Movies of a sample that moves: points of light that all drift, each its own way."""

from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from scipy import ndimage

Light = NDArray[np.float64]


def light_of_points(frames: int, *, drift_px: float = 0.3, seed: int = 0, side: int = 64) -> Light:
    """Expected photons, (T, H, W), 3 a pixel on average."""
    rng = np.random.default_rng(seed)
    places = rng.uniform(0, side, (side**2 // 70, 2))
    steps = rng.normal(0, 1, places.shape)
    steps *= drift_px / np.linalg.norm(steps, axis=1, keepdims=True)
    movie = np.zeros((frames, side, side))
    for t, frame in enumerate(movie):
        rows, columns = np.floor((places + t * steps) % side).astype(int).T
        np.add.at(frame, (rows, columns), 1.0)
    blurred = ndimage.gaussian_filter(movie, (0, 2.0, 2.0), mode="wrap")
    return np.asarray(3 * blurred / blurred.mean())


def photons_of(light: Light, *, seed: int = 1) -> NDArray[np.uint16]:
    """Photon counts of the light."""
    return np.random.default_rng(seed).poisson(light).astype(np.uint16)


def write_movie(path: Path, values: NDArray[Any], axes: str = "TYX") -> Path:
    """Write an ImageJ-free TIFF that states its axes."""
    tifffile.imwrite(path, values, photometric="minisblack", metadata={"axes": axes})
    return path
