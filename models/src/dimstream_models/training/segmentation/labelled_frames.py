"""Simulated frames of the ER with the exact class of every pixel, as input of a segmenter.

A scene is seen with several pixel sizes, doses and backgrounds, denoised by a bundle as in the server, and
resampled to the segmenter's pixel size. Tubules on sheets are sheets, as in the paper. Some frames have
effects of real microscopes: blur of a wide-field microscope with light that is out of focus, uneven light, a
thick, bright part of the cell, and a detector that saturates.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from dimstream_models.segmenting.resampling import resampled, shape_on
from dimstream_models.training.evaluation.restoring import Restore
from dimstream_models.training.simulation.er_labels import SHEET, SHEET_TUBULE, er_truth
from dimstream_models.training.simulation.er_scenes import (
    PIXEL_SIZE_NM,
    Kind,
    Scene,
    expose,
    smooth_noise,
)

Rng = np.random.Generator
Purpose = Literal["training", "validation", "held back"]
STREAMS: Final[dict[Purpose, int]] = {"training": 100, "validation": 101, "held back": 102}
CLASSES: Final = ("background", "tubule", "sheet")
SIDE_PX: Final = 256
VARIANTS: Final = 3
"""Number of images of each scene."""

_KINDS: Final[dict[Kind, float]] = {"er": 0.80, "dense": 0.12, "sparse": 0.08}
_DOSE: Final = (0.3, 12.0)  # photons per pixel on a tubule
_DARK: Final = (0.002, 0.1)  # counts/px
_PIXELS_NM: Final = (15.0, 60.0)
_USUAL_SHARE: Final = 0.6  # of the denoised frames, with the segmenter's pixel size
_PSF_NM: Final = (45.0, 300.0)  # full width at half maximum; the upper end is a wide-field microscope's
_FOOT_SHARE: Final = 0.5  # of the scenes of other blur, with a wide foot of the point spread function
_FOOT: Final = (0.1, 0.5)  # share of the light in it
_FOOT_PX: Final = (6.0, 24.0)
_UNEVEN_SHARE: Final = 0.35  # of the images, whose structures are lit or labelled unevenly
_UNEVEN: Final = (0.1, 0.6)  # deviation of the logarithm
_THICK_SHARE: Final = 0.2  # of the images, with a thick part of the cell that is out of focus
_THICK_PEAK: Final = (1.0, 15.0)  # tubules' peaks
_SATURATED_SHARE: Final = 0.1  # of the other images
_SATURATED_THICK_SHARE: Final = 0.6
_SATURATED_PIXELS: Final = (0.01, 0.35)  # share of an image's
_LEAST_FULL_COUNTS: Final = 8.0  # no detector is full at fewer
_RADIUS_NM: Final = (30.0, 60.0)  # of tubules
_CLEAN_SHARE: Final = 0.2
_EMPTY_SHARE: Final = 0.04
_SHEET_AGAIN: Final = 0.5  # share of the scenes without a sheet that are drawn again
_ROUND_SHARE: Final = 0.3  # share of scenes with sheets of another shape


@dataclass(frozen=True, eq=False)
class LabelledFrame:
    """An image with the segmenter's pixel size, (H, W) float32 in any unit, and its classes.

    Parameters
    ----------
    labels : (H, W) uint8
        Indices in `CLASSES`.
    dose_ph : float or None
        Photons per pixel on a tubule before denoising; None without noise.
    pixel_nm : float
        Pixel size of the frame before it was resampled.
    kind : {"er", "dense", "sparse"}
    """

    image: NDArray[np.float32]
    labels: NDArray[np.uint8]
    dose_ph: float | None
    pixel_nm: float
    kind: Kind


@dataclass(frozen=True, eq=False)
class _Field:
    """A field of view without noise: its light, in units of a typical tubule's peak, and its classes."""

    structure: NDArray[np.float32]
    labels: NDArray[np.uint8]
    kind: Kind


def frame_generator(seed: int, purpose: Purpose, index: int) -> Rng:
    """Return the random generator of one scene; scenes of different purposes are always different."""
    return np.random.default_rng((seed, STREAMS[purpose], index))


def labelled_frames(rng: Rng, restore: Restore, side_px: int = SIDE_PX) -> Iterator[LabelledFrame]:
    """Yield several images of one scene, with the class of each pixel.

    Parameters
    ----------
    restore : function
        Function from counts (H, W) to denoised counts (H, W) float32.
    """
    drawn = _draw_field(rng, side_px)
    for _ in range(VARIANTS):
        structure = drawn.structure
        labels = drawn.labels
        if rng.random() < _EMPTY_SHARE:
            structure, labels = np.zeros_like(structure), np.zeros_like(labels)
        light, full = _as_lit(rng, structure)
        if rng.random() < _CLEAN_SHARE:
            yield LabelledFrame(np.minimum(light, np.float32(full)), labels, None, PIXEL_SIZE_NM, drawn.kind)
            continue
        dose = _log_uniform(rng, _DOSE)
        pixel_nm = PIXEL_SIZE_NM if rng.random() < _USUAL_SHARE else _log_uniform(rng, _PIXELS_NM)
        image = denoised_frame(rng, restore, light, dose_ph=dose, pixel_nm=pixel_nm, full=full)
        yield LabelledFrame(image, labels, dose, pixel_nm, drawn.kind)


def denoised_frame(
    rng: Rng,
    restore: Restore,
    light: NDArray[np.float32],
    *,
    dose_ph: float,
    pixel_nm: float,
    full: float = np.inf,
) -> NDArray[np.float32]:
    """Return light (H, W) after counting with a pixel size, denoising, and resampling back, (H, W) float32.

    Parameters
    ----------
    full : float
        Light, in its unit, at which the detector saturates, if that is at least eight counts.
    """
    side, _ = light.shape
    seen = resampled(light, shape_on((side, side), PIXEL_SIZE_NM, pixel_nm))
    dark = _log_uniform(rng, _DARK)
    counts = expose(np.maximum(seen, 0), dose=dose_ph, dark_counts=dark, rng=rng)
    if _LEAST_FULL_COUNTS <= dose_ph * full < np.inf:
        counts = np.minimum(counts, np.uint16(dose_ph * full))
    return resampled(restore(counts), (side, side))


def exact_classes(labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the simulator's labels (H, W), with tubules on sheets as sheets, as indices in `CLASSES`."""
    return np.where(labels == SHEET_TUBULE, np.uint8(SHEET), labels)


def _draw_field(rng: Rng, side_px: int) -> _Field:
    kind: Kind = list(_KINDS)[int(rng.choice(len(_KINDS), p=list(_KINDS.values())))]
    scene = _draw_scene(rng, side_px, kind)
    time_s = float(rng.uniform(0, 300))
    structure, labels = scene.structure(time_s), exact_classes(er_truth(scene, time_s).labels)
    if kind != "sparse" and rng.random() < _ROUND_SHARE:
        inside = _round_sheets(rng, side_px)
        texture = 1 + rng.uniform(0, 0.25) * smooth_noise(rng, inside.shape, rng.uniform(3, 10))
        sheet = rng.uniform(0.5, 1.4) * inside * np.clip(texture, 0.2, None)
        # a sheet replaces the tubules, it is not on top of them
        covered = np.where(inside, np.minimum(structure, rng.uniform(0.2, 1.0)), structure)
        structure = covered + ndimage.gaussian_filter(sheet, scene.sigma_px, mode="nearest")
        labels = np.where(inside, np.uint8(SHEET), labels)
    return _Field(structure.astype(np.float32), labels, kind)


def _as_lit(rng: Rng, structure: NDArray[np.float32]) -> tuple[NDArray[np.float32], float]:
    """Return the light of one image of a structure, (H, W), and the light at which the detector saturates."""
    side_px, _ = structure.shape
    light: NDArray[np.floating[Any]] = structure
    if rng.random() < _UNEVEN_SHARE:
        clouds = smooth_noise(rng, structure.shape, rng.uniform(20, 80))
        light = light * np.exp(rng.uniform(*_UNEVEN) * clouds)
    light = light + _uneven_background(rng, side_px)
    thick = rng.random() < _THICK_SHARE
    if thick:
        light = light + _thick_part(rng, side_px)
    full = np.inf
    if rng.random() < (_SATURATED_THICK_SHARE if thick else _SATURATED_SHARE):
        full = float(np.quantile(light, 1 - _log_uniform(rng, _SATURATED_PIXELS)))
    return np.asarray(light, np.float32), full


def _thick_part(rng: Rng, side_px: int) -> NDArray[np.float64]:
    """Return the light of a thick part of the cell, (H, W), out of focus; some have a dark nucleus."""
    y, x = np.indices((side_px, side_px)).astype(np.float64)
    middle = rng.uniform(-0.2, 1.2, 2) * side_px
    inside = _ellipse(rng, y, x, middle, (0.2 * side_px, 0.6 * side_px)).astype(np.float64)
    if rng.random() < 0.5:
        inside[_ellipse(rng, y, x, middle, (0.1 * side_px, 0.3 * side_px))] *= rng.uniform(0.2, 0.8)
    texture = 1 + rng.uniform(0, 0.4) * smooth_noise(rng, inside.shape, rng.uniform(6, 30))
    blurred = ndimage.gaussian_filter(inside * np.clip(texture, 0.1, None), _log_uniform(rng, (5, 30)))
    return np.asarray(_log_uniform(rng, _THICK_PEAK) * blurred)


def _draw_scene(rng: Rng, side_px: int, kind: Kind) -> Scene:
    scene = Scene.random(rng, (side_px, side_px), kind)
    if not scene.sheet_cells and kind == "er" and rng.random() < _SHEET_AGAIN:
        scene = Scene.random(rng, (side_px, side_px), kind)
    if rng.random() < 0.5:
        return scene
    radius, width = rng.uniform(*_RADIUS_NM), _log_uniform(rng, _PSF_NM)
    scene = replace(scene, sigma_px=float(np.hypot(radius / 2, width / 2.355) / PIXEL_SIZE_NM))
    if rng.random() < _FOOT_SHARE:
        share, reach = rng.uniform(*_FOOT), rng.uniform(*_FOOT_PX)
        scene = replace(scene, pedestal=float(share), pedestal_sigma_px=float(reach))
    return scene


def _round_sheets(rng: Rng, side_px: int) -> NDArray[np.bool_]:
    """Return the area of sheets with a round outline, (H, W): joined ellipses, some with round holes."""
    y, x = np.indices((side_px, side_px)).astype(np.float64)
    inside = np.zeros((side_px, side_px), bool)
    middle = rng.uniform(0, side_px, 2)
    for _ in range(int(rng.integers(1, 6))):
        inside |= _ellipse(rng, y, x, middle + rng.normal(0, 25, 2), (12, 55))
    for _ in range(int(rng.integers(0, 7))):
        inside &= ~_ellipse(rng, y, x, middle + rng.normal(0, 30, 2), (3, 9))
    return inside


def _ellipse(
    rng: Rng,
    y: NDArray[np.float64],
    x: NDArray[np.float64],
    middle: NDArray[np.float64],
    radii: tuple[float, float],
) -> NDArray[np.bool_]:
    angle, (first, second) = rng.uniform(0, np.pi), rng.uniform(*radii, 2)
    down, right = y - middle[0], x - middle[1]
    along, across = (
        down * np.sin(angle) + right * np.cos(angle),
        down * np.cos(angle) - right * np.sin(angle),
    )
    return np.asarray((along / first) ** 2 + (across / second) ** 2 < 1)


def _uneven_background(rng: Rng, side_px: int) -> NDArray[np.float32]:
    """Return background light, (H, W), in units of a tubule's peak: none, clouds, or a gradient."""
    draw = rng.random()
    if draw < 0.45:
        return np.zeros((side_px, side_px), np.float32)
    level = _log_uniform(rng, (0.03, 0.8))
    if draw < 0.75:
        clouds = smooth_noise(rng, (side_px, side_px), rng.uniform(25, 90))
        return np.asarray(level * np.clip(0.7 + 0.4 * clouds, 0, None), np.float32)
    y, x = np.indices((side_px, side_px)) / side_px - 0.5
    angle = rng.uniform(0, 2 * np.pi)
    slope = 0.5 + (y * np.sin(angle) + x * np.cos(angle)) / np.sqrt(2)
    return np.asarray(level * slope, np.float32)


def _log_uniform(rng: Rng, bounds: tuple[float, float]) -> float:
    return float(np.exp(rng.uniform(*np.log(bounds))))
