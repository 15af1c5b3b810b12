"""The surface of a z-stack: marching cubes as in the paper's 3D Viewer, closed, in µm."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from skimage.measure import block_reduce, marching_cubes

from dimstream_models.analysis.errors import InvalidImage

RESAMPLING: Final = 2
THRESHOLD: Final = 50.0
"""The paper's threshold (Methods, "Post processing volumetric data"), in 255 grey levels."""
GREY: Final = 255.0
APART: Final = 0.25
"""Least difference of a block from the threshold, grey levels. Without it, corners of triangles coincide, and
other programs see holes in the surface."""


@dataclass(frozen=True)
class Surface:
    """A closed surface of triangles.

    Parameters
    ----------
    vertices : (n, 3) float32
        x, y and z, µm, relative to the centre of the file's first pixel.
    faces : (m, 3) int32
        Vertices of each triangle, counter-clockwise when seen from outside.
    """

    vertices: NDArray[np.float32]
    faces: NDArray[np.int32]

    def corners(self) -> NDArray[np.float32]:
        """Return the corners of each triangle, (m, 3, 3), µm."""
        return self.vertices[self.faces]

    def normals(self) -> NDArray[np.float32]:
        """Return the outward unit normal of each triangle, (m, 3)."""
        corners = self.corners()
        across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        length = np.linalg.norm(across, axis=1, keepdims=True)
        return np.asarray(across / np.maximum(length, 1e-20), np.float32)

    def volume_um3(self) -> float:
        """Return the enclosed volume, µm³."""
        corners = self.corners().astype(np.float64)
        return float(np.einsum("ij,ij->i", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])).sum() / 6)

    def area_um2(self) -> float:
        """Return the area of the surface, µm²."""
        corners = self.corners().astype(np.float64)
        across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        return float(np.linalg.norm(across, axis=1).sum() / 2)


def surface_of(
    stack: NDArray[Any],
    contrast: tuple[float, float],
    spacing_um: tuple[float, float, float],
    *,
    threshold: float = THRESHOLD,
    resampling: int = RESAMPLING,
    first_plane: int = 0,
) -> Surface:
    """Return the surface at which a z-stack, (Z, H, W), crosses a threshold.

    The stack is averaged over blocks and converted to grey levels, as in the 3D Viewer. The surface is closed
    at the borders of the stack, half a block beyond the centres of its last blocks. An incomplete last block
    is filled with its last planes or pixels.

    Parameters
    ----------
    contrast : (float, float)
        Values of grey levels 0 and 255.
    spacing_um : (float, float, float)
        Steps along z, y, x, µm.
    threshold : float
        Grey level, between 0 and 255.
    resampling : int
        Side of a block, in planes and pixels.
    first_plane : int
        Number of the stack's first plane in its file.

    Raises
    ------
    InvalidImage
        When no value exceeds the threshold, or the settings are out of range.
    """
    if not 0 < threshold < GREY or resampling < 1:
        raise InvalidImage(
            f"expected a threshold between 0 and 255 and a resampling from 1 on, got {threshold:g} and"
            f" {resampling}"
        )
    grey = _grey(_averaged(stack, resampling), contrast)
    if not (grey > threshold).any():
        raise InvalidImage(
            f"expected a z-stack with something brighter than grey level {threshold:g} of 255, got at most"
            f" {grey.max():.4g}: lower --threshold"
        )
    places, faces, *_ = marching_cubes(_closed(grey, threshold), threshold)  # positions: (n, 3) z, y, x
    middle = (resampling - 1) / 2
    in_file = (places - 1) * resampling + middle + np.array([first_plane, 0, 0])
    vertices = (in_file * np.array(spacing_um))[:, ::-1]
    return Surface(vertices.astype(np.float32), np.ascontiguousarray(faces.astype(np.int32)))


def threshold_in_unit(contrast: tuple[float, float], threshold: float) -> float:
    """Return a threshold in grey levels as a value of the file."""
    return contrast[0] + (contrast[1] - contrast[0]) * threshold / GREY


def _averaged(stack: NDArray[Any], resampling: int) -> NDArray[np.float32]:
    values = stack.astype(np.float32)
    if resampling == 1:
        return values
    missing = [(0, -side % resampling) for side in values.shape]
    whole = np.pad(values, missing, mode="edge")
    return np.asarray(block_reduce(whole, resampling, np.mean), np.float32)


def _closed(grey: NDArray[np.float32], threshold: float) -> NDArray[np.float32]:
    """Return grey levels with a margin, (Z + 2, H + 2, W + 2), in the middle of which the surface is
    closed."""
    near = np.abs(grey - threshold) < APART
    apart = np.where(near, np.where(grey > threshold, threshold + APART, threshold - APART), grey)
    rim = np.pad(apart, 1, mode="edge")
    closed = np.minimum(2 * threshold - rim, threshold - APART)
    closed[1:-1, 1:-1, 1:-1] = apart
    return np.asarray(closed, np.float32)


def _grey(values: NDArray[np.float32], contrast: tuple[float, float]) -> NDArray[np.float32]:
    black, white = contrast
    return np.asarray(np.clip((values - black) * (GREY / (white - black)), 0, GREY), np.float32)
