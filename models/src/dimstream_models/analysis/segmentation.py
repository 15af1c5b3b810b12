"""From an image to labels: the protocol of segmenters, and a classical one that needs no network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.filters import threshold_otsu

from dimstream_models.analysis.labels import Labels, Mask, Structure
from dimstream_models.analysis.rolling_ball import RADIUS_PX, rolling_ball


class Segmenter(Protocol):
    """Labels each pixel with the structure that it shows.

    Segmenters are sent to other processes, and their `repr` decides whether stored results can be reused.
    Frozen dataclasses can do both.
    """

    def segment(self, image: NDArray[Any]) -> Labels:
        """Return the labels, (H, W) uint8 of `Structure`, of an image (H, W) of any unit."""


SMOOTHING_PX: Final = 0.7
TUBULE_WIDTH_PX: Final = 17.0


@dataclass(frozen=True)
class ClassicalSegmenter:
    """Threshold after a rolling ball; structures wider than a tubule are sheets.

    A pixel is ER where it is above its background by more than Otsu's threshold (1979, doi
    10.1109/TSMC.1979.4310076). It is also ER where the background itself is above this threshold, and the
    pixel above the image's own threshold: in a sheet wider than the ball, the background is the sheet. Sheets
    are where a disc wider than a tubule fits, grown back within the ER to their edges.

    Parameters
    ----------
    radius_px : float
        Radius of the ball.
    smoothing_px : float
        Standard deviation of the Gaussian before the threshold.
    tubule_width_px : float
        Widest tubule in the image.
    least_area_px : int
        Smaller pieces of the ER, and smaller holes in it, are removed as noise.
    """

    radius_px: float = RADIUS_PX
    smoothing_px: float = SMOOTHING_PX
    tubule_width_px: float = TUBULE_WIDTH_PX
    least_area_px: int = 12

    def __str__(self) -> str:
        """Describe how labels are made, for people; `repr` has every setting."""
        widest = f"tubules up to {self.tubule_width_px:g} px wide"
        return f"the classical segmenter (ball of {self.radius_px:g} px, {widest})"

    def segment(self, image: NDArray[Any]) -> Labels:
        """Return the labels, (H, W) uint8 of `Structure`, of an image (H, W) of any unit."""
        values = ndimage.gaussian_filter(image.astype(np.float32), self.smoothing_px)
        background = rolling_ball(values, radius_px=self.radius_px)
        above = values - background
        if np.ptp(above) == 0:
            return np.zeros(image.shape, np.uint8)
        threshold = threshold_otsu(above)
        wide = (background > threshold) & (values > threshold_otsu(values))
        er = without_specks((above > threshold) | wide, self.least_area_px)
        labels = er.astype(np.uint8) * np.uint8(Structure.TUBULE)
        labels[_wide(er, self.tubule_width_px)] = Structure.SHEET
        return labels


def without_specks(mask: Mask, least_px: int) -> Mask:
    """Return a mask (H, W) without pieces of fewer than `least_px` pixels, and with such holes filled."""
    kept = _large(mask, least_px, np.ones((3, 3)))
    return ~_large(~kept, least_px, ndimage.generate_binary_structure(2, 1))


def _large(mask: Mask, least_px: int, touching: NDArray[Any]) -> Mask:
    pieces, _ = ndimage.label(mask, touching)
    large = np.bincount(pieces.ravel()) >= least_px
    large[0] = False
    return np.asarray(large[pieces])


def _wide(mask: Mask, width_px: float) -> Mask:
    """Return where a disc of that width fits into the mask (H, W); the border of the image is not an edge."""
    radius = width_px / 2
    if not mask.any() or mask.all():
        return mask
    inner = ndimage.distance_transform_edt(mask) > radius
    if not inner.any():
        return np.zeros_like(mask)
    return np.asarray((ndimage.distance_transform_edt(~inner) <= radius + 1) & mask)
