"""A bundle ready to denoise frames of one pair of pixel types: its fused graph in a session."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from dimstream_client.quality import Thresholds
from dimstream_models.bundle import Bundle
from dimstream_models.judging import Measures
from dimstream_models.quality.alignment import Overview
from dimstream_server.errors import FrameFailed, UnsupportedNetwork
from dimstream_server.pipeline.device import Device
from dimstream_server.pipeline.fused_graph import OUTPUTS, SD, compose
from dimstream_server.pipeline.runtime import first_line, open_session

Normalised: TypeAlias = Any
"""(H, W) float32 on the model's device: an ndarray on the CPU, an OrtValue on CUDA. Only handed back."""

WARM_UP_SHAPE: Final = (64, 72)


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
        model = compose(bundle, in_dtype, out_dtype, with_sd=with_sd).SerializeToString()
        self._outputs = (*OUTPUTS, SD) if with_sd else OUTPUTS
        self.bundle = bundle
        self.ceiling = bundle.ceiling(out_dtype)
        self.session = open_session(model, device, name=bundle.id, threads=threads)
        self._device = device
        self._in_dtype = np.dtype(in_dtype)
        self._thresholds: Thresholds | None = None
        self._scalars: dict[str, NDArray[np.float32]] = {}
        self._zeros = np.zeros((0, 0), np.float32)
        self._frame_buffer: tuple[tuple[int, ...], Any] | None = None
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
        scalars = self._scalars_of(thresholds)
        try:
            if self._device.cuda is None:
                return self._run_on_cpu(pixels, previous, scalars)
            return self._run_on_cuda(pixels, previous, scalars, self._device.cuda)
        except Exception as error:  # ONNX Runtime's classes have no base but Exception
            raise FrameFailed(f"the model raised on this frame: {first_line(error)}") from error

    def _run_on_cpu(
        self, pixels: NDArray[Any], previous: Normalised | None, scalars: dict[str, NDArray[np.float32]]
    ) -> FusedOutput:
        before = self._nothing_before(pixels.shape) if previous is None else previous
        feeds = {"frame": pixels, "previous": before, **scalars}
        denoised, normalised, measures, overview, *others = self.session.run(self._outputs, feeds)
        return FusedOutput(denoised, normalised, Measures(*measures.tolist()), Overview(overview), *others)

    def _run_on_cuda(
        self,
        pixels: NDArray[Any],
        previous: Normalised | None,
        scalars: dict[str, NDArray[np.float32]],
        device_id: int,
    ) -> FusedOutput:
        """Two frames, an overview and a few numbers cross the bus, and error bars where they are asked for;
        predictions and maps stay on the device."""
        if previous is None:
            zeros = self._nothing_before(pixels.shape)
            previous = ort.OrtValue.ortvalue_from_numpy(zeros, "cuda", device_id)
        binding = self.session.io_binding()
        binding.bind_ortvalue_input("frame", self._on_device(pixels, device_id))
        binding.bind_ortvalue_input("previous", previous)
        for name, value in scalars.items():
            binding.bind_cpu_input(name, value)
        binding.bind_output("denoised", "cpu")
        binding.bind_output("normalised", "cuda", device_id)  # from the session's arena, freed with its plane
        binding.bind_output("measures", "cpu")
        binding.bind_output("overview", "cpu")
        binding.bind_output("support", "cuda", device_id)
        if SD in self._outputs:
            binding.bind_output(SD, "cpu")
        self.session.run_with_iobinding(binding)
        denoised, normalised, measures, overview, support, *others = binding.get_outputs()
        deviations = [one.numpy() for one in others]
        return FusedOutput(
            denoised.numpy(),
            normalised,
            Measures(*measures.numpy().tolist()),
            Overview(overview.numpy()),
            support,
            *deviations,
        )

    def _on_device(self, pixels: NDArray[Any], device_id: int) -> Any:
        """The frame in the device buffer that all frames of its shape reuse."""
        if self._frame_buffer is not None and self._frame_buffer[0] == pixels.shape:
            self._frame_buffer[1].update_inplace(pixels)
        else:
            value = ort.OrtValue.ortvalue_from_numpy(pixels, "cuda", device_id)
            self._frame_buffer = (pixels.shape, value)
        return self._frame_buffer[1]

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
