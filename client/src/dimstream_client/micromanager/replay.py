"""A camera that plays a movie, to test rules and plans without a sample."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from dimstream_client.errors import Code, FrameError

CAMERA = "Replay"


def replay_core(movie: npt.NDArray[np.generic], *, exposure_ms: float = 10.0, repeats: bool = True) -> Any:
    """Return a core whose only device is a camera that returns the frames of a movie one after the other.

    Each frame takes as long as its exposure.

    Parameters
    ----------
    movie : (T, H, W) ndarray
        Counts, uint8 or uint16.
    exposure_ms : float
        Exposure of the movie. At another exposure, the brightness of its frames changes in proportion.
    repeats : bool
        Whether it starts again after its last frame; otherwise the last frame is repeated.

    Returns
    -------
    pymmcore_plus.experimental.unicore.UniMMCore

    Raises
    ------
    FrameError
        When it is not such a movie.
    ModuleNotFoundError
        Without the extra ``micromanager``.
    """
    from pymmcore_plus.experimental.unicore import UniMMCore

    if movie.ndim != 3 or movie.dtype not in (np.uint8, np.uint16) or not len(movie):
        raise FrameError(
            Code.WRONG_SHAPE,
            f"expected a movie (T, H, W) of uint8 or uint16, got {movie.shape} of {movie.dtype}",
        )
    core = UniMMCore()
    core.loadPyDevice(CAMERA, _replay_camera(movie, exposure_ms, repeats=repeats))
    core.initializeDevice(CAMERA)
    core.setCameraDevice(CAMERA)
    core.setAutoShutter(False)  # there is none
    core.setExposure(exposure_ms)
    return core


def _replay_camera(movie: npt.NDArray[np.generic], exposure_ms: float, *, repeats: bool) -> Any:
    from pymmcore_plus.experimental.unicore import SimpleCameraDevice

    largest = 255 if movie.dtype == np.uint8 else 65_535

    class ReplayCamera(SimpleCameraDevice):  # type: ignore[misc,unused-ignore]  # Any where it is not installed
        """The camera."""

        def __init__(self) -> None:
            super().__init__()
            self._exposure_ms = exposure_ms
            self._next = 0

        def get_exposure(self) -> float:
            """Return the exposure in milliseconds."""
            return self._exposure_ms

        def set_exposure(self, exposure: float) -> None:
            """Set the exposure in milliseconds."""
            self._exposure_ms = exposure

        def sensor_shape(self) -> tuple[int, int]:
            """Return (H, W)."""
            return movie.shape[1], movie.shape[2]

        def dtype(self) -> npt.DTypeLike:
            """Return the data type of the movie."""
            return movie.dtype

        def snap(self, buffer: npt.NDArray[Any]) -> Mapping[str, Any]:
            """Fill `buffer`, (H, W), with the next frame."""
            time.sleep(self._exposure_ms / 1e3)
            n = self._next % len(movie) if repeats else min(self._next, len(movie) - 1)
            self._next += 1
            if self._exposure_ms == exposure_ms:
                buffer[:] = movie[n]
            else:
                scaled = movie[n].astype(float) * (self._exposure_ms / exposure_ms)
                buffer[:] = np.minimum(np.rint(scaled), largest)
            return {"ImageNumber": str(self._next - 1)}

    return ReplayCamera()
