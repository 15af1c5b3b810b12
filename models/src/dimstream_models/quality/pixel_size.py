"""Resampling of frames whose pixels are larger than the model knows: onto finer pixels, and back.

Each photon of a pixel is moved at random to one of the finer pixels within it. So Poisson counts stay Poisson
counts, and no photon is added or lost. The network's output on the finer pixels is summed to the original
pixels again.

This gives structures the size that the network was trained on. It adds no detail: the position of a photon
within its pixel is unknown.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dimstream_models.arithmetic import Array
from dimstream_models.quality.support_map import CLASS, PREDICTED, UNSUPPORTED

FINEST: Final = 4
"""Largest number of finer pixels along one side of a pixel."""
_STREAM: Final = 0x5CA77E2


def finer_pixels(pixel_nm: float, known_nm: tuple[float, float]) -> int:
    """Return into how many finer pixels a pixel's side is divided, 1 to `FINEST`.

    1 where the pixel is no larger than the model's largest. Otherwise the number whose pixel size is
    closest, as a ratio, to the geometric mean of `known_nm` (smallest, largest).
    """
    if pixel_nm <= known_nm[1]:
        return 1
    middle = math.sqrt(known_nm[0] * known_nm[1])
    return min(range(1, FINEST + 1), key=lambda parts: abs(math.log(pixel_nm / parts / middle)))


def scattered(counts: Array, parts: int, *, seed: int) -> Array:
    """Return photon counts (H, W) on finer pixels, (parts * H, parts * W), of the same type.

    Parameters
    ----------
    counts
        (H, W), whole numbers, not negative.
    parts
        Finer pixels along one side of a pixel.
    seed
        The same seed moves the same photons to the same places.
    """
    if parts == 1:
        return counts
    rng = np.random.default_rng((seed, _STREAM))
    left = np.asarray(counts, np.int64)
    finer = np.empty((counts.shape[0], parts, counts.shape[1], parts), counts.dtype)
    for place in range(parts * parts - 1):
        here = rng.binomial(left, 1 / (parts * parts - place))
        finer[:, place // parts, :, place % parts] = here
        left = left - here
    finer[:, -1, :, -1] = left
    return finer.reshape(parts * counts.shape[0], parts * counts.shape[1])


def binned(image: NDArray[Any], parts: int) -> NDArray[np.float32]:
    """Return the sums over squares of `parts` x `parts` px of an image, (H // parts, W // parts)."""
    return np.asarray(_squares(image, parts).sum(axis=(1, 3), dtype=np.float64), np.float32)


def binned_support(support: NDArray[np.uint8], parts: int) -> NDArray[np.uint8]:
    """Return a support map (H, W) uint8 on pixels `parts` times as large, (H // parts, W // parts).

    A pixel takes the highest class of its finer pixels. Signal is predicted where any of them has predicted
    signal. That signal is unsupported where all of those pixels are unsupported.
    """
    squares = _squares(support, parts)
    classes = (squares & CLASS).max(axis=(1, 3))
    predicted = squares & PREDICTED != 0
    stands = (predicted & (squares & UNSUPPORTED == 0)).any(axis=(1, 3))
    anywhere = predicted.any(axis=(1, 3))
    bits = classes + PREDICTED * anywhere + UNSUPPORTED * (anywhere & ~stands)
    return np.asarray(bits, np.uint8)


def _squares(image: NDArray[Any], parts: int) -> NDArray[Any]:
    height, width = image.shape
    return image.reshape(height // parts, parts, width // parts, parts)
