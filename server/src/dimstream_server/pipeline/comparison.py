"""Predictions compared after they were made: moved ones, neighbours in depth, and both halves of the
photons."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from dimstream_models.bundle import Bundle
from dimstream_models.judging import Agreement
from dimstream_models.quality.alignment import Shift
from dimstream_server.errors import FrameFailed
from dimstream_server.pipeline.comparison_graph import compose_agreement, compose_alignment
from dimstream_server.pipeline.device_name import Device
from dimstream_server.pipeline.fused_graph import compose_prediction
from dimstream_server.pipeline.fused_model import FusedOutput, Normalised
from dimstream_server.pipeline.runner import open_runner
from dimstream_server.pipeline.runtime import first_line


class Graph:
    """A graph whose tensors stay on the device, but for outputs that are asked for on the host.

    Raises
    ------
    DeviceUnavailable, UnsupportedNetwork
    """

    def __init__(self, model: onnx.ModelProto, device: Device, *, name: str, threads: int | None) -> None:
        self._runner = open_runner(model, device, name=name, threads=threads)

    def run(
        self, feeds: dict[str, Any], on_host: tuple[str, ...], on_device: tuple[str, ...] = ()
    ) -> list[Any]:
        """Outputs `on_host` as arrays, then those `on_device` as the device keeps them.

        Raises
        ------
        FrameFailed
            The runtime raised.
        """
        try:
            return self._runner.run(feeds, on_host, on_device)
        except Exception as error:  # the runtimes' classes have no base but Exception
            raise FrameFailed(f"predictions could not be compared: {first_line(error)}") from error


class Aligner:
    """SSIM of two predictions of one model, also after a shift.

    Parameters
    ----------
    threads : int or None
        CPU threads of one run; None: one for each core.
    """

    def __init__(self, bundle: Bundle, device: Device, *, threads: int | None) -> None:
        model = compose_alignment(bundle.ssim)
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
        network = compose_prediction(bundle, in_dtype)
        agreement = compose_agreement(bundle.ssim)
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
