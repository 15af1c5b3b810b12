"""The z-stacks of a file: one channel and position, at each time point, without the planes that are cut
off."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dimstream_client.files import ImageStack
from dimstream_models.analysis.errors import InvalidMovie
from dimstream_models.analysis.volumes.judged import Kept

SAMPLED_PIXELS: Final = 2**22
BLACK, WHITE = 0.001, 0.999
"""Quantiles of the kept planes, over all time points, that are black and white in pictures."""


@dataclass(frozen=True)
class VolumeScale:
    """Steps along the axes, µm, and the times of the time points.

    Parameters
    ----------
    pixel_um, z_step_um : float
    interval_s : float or None
    """

    pixel_um: float
    z_step_um: float
    interval_s: float | None

    @property
    def spacing_um(self) -> tuple[float, float, float]:
        """Steps along z, y and x, µm."""
        return self.z_step_um, self.pixel_um, self.pixel_um

    def when(self, time: int) -> str:
        """Return the time of a time point as text."""
        if self.interval_s is None:
            return f"time point {time}"
        minutes, seconds = divmod(time * self.interval_s, 60)
        return f"{minutes:.0f} min {seconds:04.1f} s"


class ZStacks:
    """Reads z-stacks from an open file.

    Parameters
    ----------
    stack : ImageStack
        An open file; it stays open.
    kept : Kept
        The planes to read.
    channel, position : int

    Attributes
    ----------
    times : int

    Raises
    ------
    InvalidMovie
        When it has no planes along z, lacks the channel, the position or a plane, or its scale is unknown.
    """

    def __init__(self, stack: ImageStack, kept: Kept, *, channel: int = 0, position: int = 0) -> None:
        sizes = dict(zip(stack.axes, stack.shape, strict=True))
        depth = sizes.get("Z", 1)
        if depth < 2:
            raise InvalidMovie(
                f"expected z-stacks, with several planes along Z, got axes {stack.axes} of {stack.shape}; if"
                " a z-stack was saved as a movie, save it with its axes"
            )
        for name, number, axis in (("channel", channel, "C"), ("position", position, "P")):
            if not 0 <= number < sizes.get(axis, 1):
                raise InvalidMovie(f"expected a {name} from 0 to {sizes.get(axis, 1) - 1}, got {number}")
        if not 0 <= kept.first <= kept.last < depth:
            raise InvalidMovie(f"expected planes from 0 to {depth - 1}, got {kept.first} to {kept.last}")
        self._stack, self._kept, self._depth = stack, kept, depth
        self.times = sizes.get("T", 1)
        places = (stack.index(n) for n in range(len(stack)))
        self._numbers = {
            (at.t, at.z): n for n, at in enumerate(places) if (at.c, at.p) == (channel, position)
        }

    @property
    def scale(self) -> VolumeScale:
        """Steps along the axes.

        Raises
        ------
        InvalidMovie
            When the file does not state them.
        """
        pixel_um, z_step_um = self._stack.square_pixel_um, self._stack.scale.z_step_um
        if pixel_um is None or z_step_um is None:
            raise InvalidMovie(
                "expected a file that states its pixel size and z step, but at least one is missing: give "
                "--pixel-size-nm and --z-step-nm"
            )
        return VolumeScale(pixel_um, z_step_um, self._stack.frame_interval_s)

    def read(self, time: int) -> NDArray[Any]:
        """Return the kept planes of one time point, (Z, H, W), in the unit of the file."""
        planes = range(self._kept.first, self._kept.last + 1)
        return np.stack([self._stack.read(self._numbers[time, z]) for z in planes])

    def contrast(self, times: Sequence[int]) -> tuple[float, float]:
        """Return the values of black and white, the same for all of these time points."""
        height, width = self._stack.frame_shape
        planes = len(times) * (self._kept.last - self._kept.first + 1)
        step = max(1, -(-planes * height * width // SAMPLED_PIXELS))
        while np.gcd(step, width) > 1:  # otherwise the same columns of each row would be used
            step += 1
        values = np.concatenate([self.read(time).reshape(-1)[::step] for time in times])
        black, white = np.quantile(values, [BLACK, WHITE])
        return float(black), float(max(white, black + 1e-6))


def name_of(path: Path) -> str:
    """Return a file's name without its suffixes."""
    return path.name.removesuffix(path.suffix).removesuffix(".ome")
