"""Predictions compared after they were made: moved ones, neighbours in depth, and both halves of the
photons."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from dimstream_models.bundle import Bundle
from dimstream_models.judging import Agreement
from dimstream_models.quality.alignment import Shift
from dimstream_server.errors import FrameFailed
from dimstream_server.pipeline.comparison_graph import compose_agreement, compose_alignment
from dimstream_server.pipeline.device import Device
from dimstream_server.pipeline.fused_graph import compose_prediction
from dimstream_server.pipeline.fused_model import FusedOutput, Normalised
from dimstream_server.pipeline.runtime import first_line, open_session


class Graph:
    """A session whose tensors stay on the device, but for outputs that are asked for on the host.

    Raises
    ------
    DeviceUnavailable, UnsupportedNetwork
    """

    def __init__(self, model: bytes, device: Device, *, name: str, threads: int | None) -> None:
        self._session = open_session(model, device, name=name, threads=threads)
        self._cuda = device.cuda

    def run(
        self, feeds: dict[str, Any], on_host: tuple[str, ...], on_device: tuple[str, ...] = ()
    ) -> list[Any]:
        """Outputs `on_host` as arrays, then those `on_device` as the device keeps them.

        Raises
        ------
        FrameFailed
            ONNX Runtime raised.
        """
        try:
            if self._cuda is None:
                return list(self._session.run([*on_host, *on_device], feeds))
            return self._run_on_cuda(feeds, on_host, on_device, self._cuda)
        except Exception as error:  # ONNX Runtime's classes have no base but Exception
            raise FrameFailed(f"predictions could not be compared: {first_line(error)}") from error

    def _run_on_cuda(
        self, feeds: dict[str, Any], on_host: tuple[str, ...], on_device: tuple[str, ...], device_id: int
    ) -> list[Any]:
        binding = self._session.io_binding()
        for name, value in feeds.items():
            if isinstance(value, np.ndarray):
                value = ort.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(value), "cuda", device_id)
            binding.bind_ortvalue_input(name, value)
        for name in on_host:
            binding.bind_output(name, "cpu")
        for name in on_device:
            binding.bind_output(name, "cuda", device_id)
        self._session.run_with_iobinding(binding)
        outputs = binding.get_outputs()
        return [*(one.numpy() for one in outputs[: len(on_host)]), *outputs[len(on_host) :]]


class Aligner:
    """SSIM of two predictions of one model, also after a shift.

    Parameters
    ----------
    threads : int or None
        CPU threads of one run; None: one for each core.
    """

    def __init__(self, bundle: Bundle, device: Device, *, threads: int | None) -> None:
        model = compose_alignment(bundle.ssim).SerializeToString()
        self._graph = Graph(model, device, name=bundle.id, threads=threads)

    def ssim(self, before: Normalised, after: Normalised, shift: Shift = (0, 0)) -> float:
        """SSIM of the part that both show, once `shift` was taken out.

        Raises
        ------
        FrameFailed
        """
        feeds = {"before": before, "after": after, "shift": np.asarray(shift, np.int64)}
        return float(self._graph.run(feeds, ("ssim",))[0])


class SplitCheck:
    """Denoises both halves of a frame's photons and compares them: two inferences.

    Its network is a second copy of the model's weights.

    Parameters
    ----------
    in_dtype : str
        Pixel type of the raw counts.
    threads : int or None
        CPU threads of one run; None: one for each core.
    """

    def __init__(self, bundle: Bundle, device: Device, *, in_dtype: str, threads: int | None) -> None:
        network = compose_prediction(bundle, in_dtype).SerializeToString()
        agreement = compose_agreement(bundle.ssim).SerializeToString()
        self._network = Graph(network, device, name=bundle.id, threads=threads)
        self._agreement = Graph(agreement, device, name=bundle.id, threads=threads)
        self._in_dtype = np.dtype(in_dtype)

    def compare(self, first: NDArray[Any], second: NDArray[Any], output: FusedOutput) -> Agreement[Any]:
        """What both halves say of a frame that was denoised.

        Parameters
        ----------
        first, second : ndarray
            (H, W), the halves of its photons.
        output : FusedOutput
            Of the whole frame.

        Raises
        ------
        FrameFailed
            The network raises on a half.
        """
        halves = [np.ascontiguousarray(half, self._in_dtype) for half in (first, second)]
        one, other = (self._network.run({"frame": half}, (), ("normalised",))[0] for half in halves)
        feeds = {"first": one, "second": other, "normalised": output.normalised, "support": output.support}
        measures, support = self._agreement.run(feeds, ("measures",), ("map",))
        ssim, unsupported_fraction = measures.tolist()
        return Agreement(ssim, unsupported_fraction, support)
