"""Predictions compared after they were made: moved ones, neighbours in depth, and both halves of the
photons."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from dimstream_models.bundle import Bundle
from dimstream_models.evidence.alignment import Shift
from dimstream_models.evidence.photons import no_photons, split_photons
from dimstream_server.errors import FrameFailed
from dimstream_server.pipeline.comparing import compose_agreement, compose_alignment
from dimstream_server.pipeline.fused_model import FusedOutput, Normalised
from dimstream_server.pipeline.fusing import compose_prediction
from dimstream_server.pipeline.runtime import Device, first_line, open_session


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


@dataclass(frozen=True, slots=True, eq=False)
class Testimony:
    """What the two halves of a frame's photons say of its prediction.

    Parameters
    ----------
    refused : str or None
        Why the photons were not split; then `unsupported` and `support` are those of the whole frame alone.
    ssim : float or None
        Of the predictions of both halves; None when refused.
    unsupported : float
        Share of the predicted signal that lacks photons, or on which the halves disagree.
    support
        (H, W) uint8 on the device: the support map with what they disagree on.
    """

    refused: str | None
    ssim: float | None
    unsupported: float
    support: Any


class Witness:
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

    def testify(
        self, pixels: NDArray[Any], output: FusedOutput, *, seed: int, converted: bool = False
    ) -> Testimony:
        """What both halves say of a frame that was denoised.

        Parameters
        ----------
        pixels : ndarray
            (H, W) photons.
        seed : int
            Of the split: the same halves for the same seed.
        converted : bool
            Whether the photons were made of a detector's values by its offset and gain.

        Raises
        ------
        FrameFailed
            The network raises on a half.
        """
        refusal = no_photons(pixels, converted=converted)
        if refusal is not None:
            return Testimony(refusal, None, output.measures.unsupported, output.support)
        halves = [np.ascontiguousarray(half, self._in_dtype) for half in split_photons(pixels, seed)]
        first, second = (self._network.run({"frame": half}, (), ("normalised",))[0] for half in halves)
        feeds = {"first": first, "second": second, "normalised": output.normalised, "support": output.support}
        measures, support = self._agreement.run(feeds, ("measures",), ("map",))
        ssim, unsupported = measures.tolist()
        return Testimony(None, ssim, unsupported, support)
