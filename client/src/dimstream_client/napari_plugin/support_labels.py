"""Support maps as labels that napari can show, with names and colours."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

NAMES: Final = {
    0: "background",
    1: "uncertain, nothing predicted",
    2: "signal, nothing predicted",
    3: "predicted, supported by photons",
    4: "predicted without support",
}
COLOURS: Final = {
    None: (0.0, 0.0, 0.0, 0.0),
    0: (0.0, 0.0, 0.0, 0.0),
    1: (0.5, 0.5, 0.5, 1.0),
    2: (0.34, 0.71, 0.91, 1.0),
    3: (0.0, 0.45, 0.70, 1.0),  # blue and orange: distinguishable with red-green colour blindness
    4: (0.90, 0.62, 0.0, 1.0),
}
_CLASS, _PREDICTED, _UNSUPPORTED = 3, 4, 8  # bits, see docs/wire-protocol.md

_LABELS: Final = np.array(
    [4 if bits & _UNSUPPORTED else 3 if bits & _PREDICTED else bits & _CLASS for bits in range(256)], np.uint8
)


def labels(support: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Return labels by `NAMES` for the bits of a support map, both (H, W) or (T, H, W)."""
    return _LABELS[np.asarray(support, np.uint8)]


class LabelFrames:
    """The support maps of a growing array, (T, H, W), as labels."""

    ndim = 3
    dtype = np.dtype(np.uint8)

    def __init__(self, maps: Any) -> None:
        self.maps = maps

    @property
    def shape(self) -> tuple[int, int, int]:
        """(T, H, W)."""
        shape: tuple[int, int, int] = self.maps.shape
        return shape

    @property
    def size(self) -> int:
        """Number of pixels of all frames."""
        return int(self.maps.size)

    def __len__(self) -> int:
        return len(self.maps)

    def __getitem__(self, key: Any) -> npt.NDArray[np.uint8]:
        return labels(self.maps[key])

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> npt.NDArray[Any]:
        return np.asarray(labels(np.asarray(self.maps)), dtype)
