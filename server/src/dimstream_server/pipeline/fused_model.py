"""A bundle ready to denoise frames of one pair of pixel types: its fused graph on a device."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dimstream_client.quality import Thresholds
from dimstream_models.bundle import Bundle
from dimstream_models.judging import Measures
from dimstream_models.quality.alignment import Overview
from dimstream_server.errors import FrameFailed, UnsupportedNetwork
from dimstream_server.pipeline.device_name import Device
from dimstream_server.pipeline.fused_graph import SD, compose
from dimstream_server.pipeline.runner import open_runner
from dimstream_server.pipeline.runtime import first_line

Normalised: TypeAlias = Any
"""(H, W) float32 on the model's device: an ndarray on the CPU, an OrtValue on CUDA. Only handed back."""

WARM_UP_SHAPE: Final = (64, 72)
ON_HOST: Final = ("denoised", "measures", "overview")
ON_DEVICE: Final = ("normalised", "support")
"""What stays on the device: two frames, an overview and a few numbers cross the bus, and error bars."""


@dataclass(frozen=True, slots=True, eq=False)
class FusedOutput:
    """What the fused graph makes of one frame.

    Parameters
    ----------
    denoised : ndarray
        (H, W) uint16 or float32 counts.
    normalised
        The `previous` of the plane's next frame.
    measures : Measures
        Its `ssim` means nothing where `previous` was None.
    overview : Overview
        The prediction's small copy.
    support
        (H, W) uint8 on the model's device, see `dimstream_models.quality.support_map`.
    sd : ndarray or None
        (H, W) float32, the standard deviation of each pixel in denoised counts; None where the model was made
        ready without.
    """

    denoised: NDArray[Any]
    normalised: Normalised
    measures: Measures
    overview: Overview
    support: Any
    sd: NDArray[np.float32] | None = None

    @property
    def finite(self) -> bool:
        """Whether the prediction is free of NaN and infinity."""
        return math.isfinite(self.measures.prediction_mean)


class FusedModel:
    """Denoises one frame after another; belongs to one thread at a time.

    Parameters
    ----------
    device : Device
        Where it runs; nowhere else.
    in_dtype, out_dtype : str
        Pixel types of the raw and the denoised counts.
    threads : int or None
        CPU threads of one run; None: one for each core.
    with_sd : bool
        Whether it also gives error bars; the bundle must have them.

    Raises
    ------
    DeviceUnavailable, UnsupportedNetwork
    """

    def __init__(
        self,
        bundle: Bundle,
        *,
        device: Device,
        in_dtype: str,
        out_dtype: str,
        threads: int | None = None,
        with_sd: bool = False,
    ) -> None:
        model = compose(bundle, in_dtype, out_dtype, with_sd=with_sd)
        self._on_host = (*ON_HOST, SD) if with_sd else ON_HOST
        self.bundle = bundle
        self.ceiling = bundle.ceiling(out_dtype)
        self.runner = open_runner(model, device, name=bundle.id, threads=threads)
        self._in_dtype = np.dtype(in_dtype)
        self._thresholds: Thresholds | None = None
        self._scalars: dict[str, NDArray[np.float32]] = {}
        self._zeros = np.zeros((0, 0), np.float32)
        self._warm_up()

    def run(self, pixels: NDArray[Any], previous: Normalised | None, thresholds: Thresholds) -> FusedOutput:
        """Denoised counts of a frame and what was measured of it.

        Parameters
        ----------
        pixels : ndarray
            (H, W) raw counts in the model's input type; may be read-only and need not be contiguous.
        previous
            `normalised` of the frame to compare with, of the same shape; None when there is none.

        Raises
        ------
        FrameFailed
            When the network raises.
        """
        pixels = np.ascontiguousarray(pixels, self._in_dtype)
        before = self._nothing_before(pixels.shape) if previous is None else previous
        feeds = {"frame": pixels, "previous": before, **self._scalars_of(thresholds)}
        try:
            denoised, measures, overview, *others = self.runner.run(feeds, self._on_host, ON_DEVICE)
        except Exception as error:  # the runtimes' classes have no base but Exception
            raise FrameFailed(f"the model raised on this frame: {first_line(error)}") from error
        *deviations, normalised, support = others
        return FusedOutput(
            denoised, normalised, Measures(*measures.tolist()), Overview(overview), support, *deviations
        )

    def _nothing_before(self, shape: tuple[int, ...]) -> NDArray[np.float32]:
        if self._zeros.shape != shape:
            self._zeros = np.zeros(shape, np.float32)
        return self._zeros

    def _scalars_of(self, thresholds: Thresholds) -> dict[str, NDArray[np.float32]]:
        if thresholds != self._thresholds:
            self._scalars = {
                "background_max": np.asarray(thresholds.background_max, np.float32),
                "signal_min": np.asarray(thresholds.signal_min, np.float32),
            }
            self._thresholds = thresholds
        return self._scalars

    def _warm_up(self) -> None:
        side = max(self.bundle.min_side, self.bundle.ssim.window)
        shape = (max(side, WARM_UP_SHAPE[0]), max(side, WARM_UP_SHAPE[1]))
        dark = np.zeros(shape, self._in_dtype)
        refusal = "only networks that keep the size of a frame are served"
        try:
            output = self.run(dark, None, Thresholds(ssim=None))
        except FrameFailed as error:
            raise UnsupportedNetwork(
                f"{self.bundle.id}: an empty frame {shape} failed, {refusal}: {error}"
            ) from error
        if output.denoised.shape != shape:
            made = output.denoised.shape
            raise UnsupportedNetwork(
                f"{self.bundle.id}: the network made {made} of a frame {shape}; {refusal}"
            )
