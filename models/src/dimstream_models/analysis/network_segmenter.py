"""Labels from a network that is stored as a bundle."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dimstream_models.analysis.errors import InvalidLabels
from dimstream_models.analysis.labels import Labels, Structure
from dimstream_models.analysis.rolling_ball import RADIUS_PX
from dimstream_models.analysis.segmentation import (
    TUBULE_WIDTH_PX,
    ClassicalSegmenter,
    Segmenter,
    without_specks,
)
from dimstream_models.segmenting.class_network import ClassNetwork, read_class_network
from dimstream_models.shipped import find_bundle, shipped_segmenter

LEAST_AREA_PX: Final = 12
NETWORK: Final = "network"
CLASSICAL: Final = "classical"


@dataclass(frozen=True)
class NetworkSegmenter:
    """The most probable class of each pixel, from a bundle's network; use `network_segmenter` to make one.

    Its text states the weights and the pixel size, not the bundle's path.

    Parameters
    ----------
    model : str
        Id of the bundle, and the beginning of its weights' sha256.
    on_pixels_nm : float or None
        Pixel size to which frames are resampled first; None: their own size is unknown, and they are not
        resampled.
    least_area_px : int
        Smaller pieces of the ER, and smaller holes in it, are removed as noise.
    path : Path
        Folder or zip.
    pixel_nm : float or None
        Side of the frames' pixels.
    """

    model: str
    on_pixels_nm: float | None
    least_area_px: int = LEAST_AREA_PX
    path: Path = field(default_factory=shipped_segmenter, repr=False)
    pixel_nm: float | None = field(default=None, repr=False)

    def __str__(self) -> str:
        """Describe how labels are made, for people; `repr` has every setting."""
        on = "pixels as they are" if self.on_pixels_nm is None else f"pixels of {self.on_pixels_nm:g} nm"
        return f"the network {self.model}, on {on}"

    def segment(self, image: NDArray[Any]) -> Labels:
        """Return the labels, (H, W) uint8 of `Structure`, of an image (H, W) of any unit."""
        network = _network(self.path)
        shares = network.probabilities(image, self.pixel_nm)
        structures = np.array([Structure[name.upper()] for name in network.classes], np.uint8)
        likeliest = structures[shares.argmax(axis=0)]
        er = without_specks(likeliest != Structure.BACKGROUND, self.least_area_px)
        filled = structures[1:][shares[1:].argmax(axis=0)]
        labels = np.where(likeliest == Structure.BACKGROUND, filled, likeliest)
        return np.where(er, labels, np.uint8(Structure.BACKGROUND)).astype(np.uint8)


def network_segmenter(path: Path | None = None, *, pixel_nm: float | None = None) -> NetworkSegmenter:
    """Return a segmenter from a bundle; by default the shipped one.

    Parameters
    ----------
    path : Path, optional
        Folder or zip of a bundle of classes.
    pixel_nm : float, optional
        Side of the frames' pixels.

    Raises
    ------
    BundleError
        When the bundle cannot be used.
    InvalidLabels
        When one of its classes is not a structure of the ER.
    """
    path = shipped_segmenter() if path is None else path.absolute()
    network = _network(path)
    names = [each.name.lower() for each in Structure]
    if unknown := [name for name in network.classes if name not in names]:
        raise InvalidLabels(
            f"{path}: expected the classes {', '.join(names)}, got {', '.join(unknown)}: name a bundle that"
            " segments the ER"
        )
    model = f"{network.bundle.id} {network.bundle.sha256[:12]}"
    known = None if pixel_nm is None else network.pixel_nm
    return NetworkSegmenter(model, known, path=path, pixel_nm=pixel_nm)


def named_segmenter(
    name: str,
    *,
    pixel_nm: float | None,
    radius_px: float | None = None,
    tubule_width_px: float | None = None,
) -> Segmenter:
    """Return the segmenter of that name: ``network`` (the shipped one), ``classical``, or a bundle's path.

    Parameters
    ----------
    pixel_nm : float or None
        Side of the frames' pixels.
    radius_px, tubule_width_px : float, optional
        Settings of the classical segmenter.

    Raises
    ------
    BundleError
        When the bundle cannot be used.
    InvalidLabels
        When one of its classes is not a structure of the ER, or settings of the classical one are given.
    """
    if name == CLASSICAL:
        return ClassicalSegmenter(
            radius_px=RADIUS_PX if radius_px is None else radius_px,
            tubule_width_px=TUBULE_WIDTH_PX if tubule_width_px is None else tubule_width_px,
        )
    if (radius_px, tubule_width_px) != (None, None):
        raise InvalidLabels(
            "expected the ball's radius and the tubules' width only with --segmenter classical, got "
            f"--segmenter {name}: leave them out, because a network has no such settings"
        )
    return network_segmenter(None if name == NETWORK else find_bundle(name), pixel_nm=pixel_nm)


@lru_cache(maxsize=2)
def _network(path: Path) -> ClassNetwork:
    """Return the network; each process reads it once."""
    return read_class_network(path)
