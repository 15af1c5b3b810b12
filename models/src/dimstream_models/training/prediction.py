"""A network as a plain function of frames: in torch, or from an ONNX file as in the server."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dimstream_models.arithmetic import edge_pad
from dimstream_models.training.fitting.device import require_device
from dimstream_models.training.network import UNetRCAN
from dimstream_models.training.normalisation import Normaliser

Denoise = Callable[[NDArray[Any]], NDArray[np.float32]]
"""From counts (H, W) of any type to the normalised prediction (H, W), before rescaling."""


def network_denoiser(network: UNetRCAN, normaliser: Normaliser, *, device: str = "cpu") -> Denoise:
    """Return a torch network as a function from counts (H, W) of any size to its fine output (H, W).

    Raises
    ------
    NotAvailable
        When the device is missing.
    """
    place = require_device(device)
    network = network.to(place).eval()
    step = network.step

    def predict(padded: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.inference_mode():
            _, fine = network(normaliser(torch.from_numpy(padded).to(place)))
        return np.asarray(fine.float().cpu().numpy())

    return lambda counts: _on_padded(predict, counts, step, step)


def onnx_denoiser(content: bytes, *, step: int, min_side: int) -> Denoise:
    """Return an ONNX file as a function from counts (H, W) of any size to its prediction (H, W).

    Parameters
    ----------
    content : bytes
        The file.
    step, min_side : int
        Sides are padded to a multiple of `step`, and to at least `min_side`, px.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def predict(padded: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(session.run(None, {name: padded})[0])

    return on_padded(predict, step=step, min_side=min_side)


def on_padded(
    predict: Callable[[NDArray[np.float32]], NDArray[np.float32]], *, step: int, min_side: int
) -> Denoise:
    """Return a network for certain sizes, (1, 1, y, x), as a function of frames (H, W) of any size.

    Parameters
    ----------
    step, min_side : int
        Sides are padded to a multiple of `step`, and to at least `min_side`, px.
    """
    return lambda counts: _on_padded(predict, counts, step, min_side)


def _on_padded(
    predict: Callable[[NDArray[np.float32]], NDArray[np.float32]],
    counts: NDArray[Any],
    step: int,
    min_side: int,
) -> NDArray[np.float32]:
    """Return the prediction (H, W) of a frame, which is padded to a valid size by repeating its edges."""
    height, width = counts.shape
    padded = edge_pad(counts, step, min_side=min_side).astype(np.float32)
    return predict(padded[None, None])[0, 0, :height, :width]
