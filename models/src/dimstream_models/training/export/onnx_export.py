"""From a trained torch network to a self-contained ONNX file that takes photon counts."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from copy import deepcopy

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dimstream_models.training.errors import ParityError
from dimstream_models.training.network import UNetRCAN
from dimstream_models.training.normalisation import Normaliser

PARITY = 1e-5  # of the largest value, between torch and ONNX Runtime
ROUNDING = 8.0  # or of what the last bit of the weights changes, for networks that amplify rounding
PARITY_SHAPES = ((64, 64), (72, 56), (200, 304))  # made up to the network's step
_OPSET = 17


class Denoiser(nn.Module):
    """Photon counts in, the fine output of the network out: what the ONNX file computes."""

    def __init__(self, network: UNetRCAN, normaliser: Normaliser) -> None:
        super().__init__()
        self.normalise = normaliser
        self.network = network

    def forward(self, counts: Tensor) -> Tensor:  # (B, 1, y, x)
        """Return the normalised prediction."""
        _, fine = self.network(self.normalise(counts))
        return fine  # type: ignore[no-any-return]


def export_onnx(denoiser: Denoiser) -> bytes:
    """Return the ONNX file, any size divisible by the network's step, after a parity check.

    Raises
    ------
    ParityError
        As `check_parity`.
    """
    denoiser = denoiser.eval().cpu().to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # the exporter without torch.dynamo: one file, the opset asked for, no source paths inside
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            denoiser,
            (torch.zeros(1, 1, *[2 * denoiser.network.step] * 2),),
            buffer,  # type: ignore[arg-type]
            opset_version=_OPSET,
            input_names=["counts"],
            output_names=["prediction"],
            dynamic_axes={name: {0: "b", 2: "y", 3: "x"} for name in ("counts", "prediction")},
            dynamo=False,
        )
    content = _without_traces(buffer.getvalue())
    check_parity(denoiser, content)
    return content


def check_parity(denoiser: Denoiser, content: bytes) -> float:
    """Return the largest relative difference between torch and ONNX Runtime at three sizes.

    Raises
    ------
    ParityError
        When it exceeds 1e-5, and 8 times what torch's output changes by when the last bit of each weight
        does: some networks amplify the rounding of float32 beyond 1e-5, in torch as well.
    """
    run = OnnxRunner(content)
    worst = 0.0
    for counts in parity_inputs(denoiser.network.step):
        expected = _predict(denoiser, torch.from_numpy(counts))
        difference = float(np.abs(run(counts) - expected).max() / np.abs(expected).max())
        if not difference <= PARITY:
            _check_rounding(denoiser, counts, expected, difference)
        worst = max(worst, difference)
    return worst


def _check_rounding(
    denoiser: Denoiser, counts: NDArray[np.float32], expected: NDArray[np.float32], difference: float
) -> None:
    changed = _predict(_with_last_bits_changed(denoiser), torch.from_numpy(counts))
    rounding = float(np.abs(changed - expected).max() / np.abs(expected).max())
    if not difference <= ROUNDING * rounding:
        raise ParityError(
            f"expected ONNX Runtime within {PARITY:g} of torch, got {difference:g}; the last bit of the"
            f" weights explains {rounding:g}"
        )


def _with_last_bits_changed(denoiser: Denoiser) -> Denoiser:
    changed, generator = deepcopy(denoiser), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in changed.parameters():
            sign = 2 * torch.randint(0, 2, weight.shape, generator=generator) - 1
            weight.mul_(1 + sign * torch.finfo(torch.float32).eps)
    return changed


def _predict(denoiser: Denoiser, counts: Tensor) -> NDArray[np.float32]:
    with torch.no_grad():
        return np.asarray(denoiser(counts).numpy())


def parity_inputs(step: int) -> Iterator[NDArray[np.float32]]:
    """Yield Poisson counts of three sizes that the network takes, (1, 1, y, x)."""
    rng = np.random.default_rng(0)
    for shape in PARITY_SHAPES:
        sides = (-(-side // step) * step for side in shape)
        yield rng.poisson(2.0, (1, 1, *sides)).astype(np.float32)


class OnnxRunner:
    """Callable that runs an ONNX file on the CPU: (B, 1, y, x) float32 to the same."""

    def __init__(self, content: bytes) -> None:
        self._session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
        self._input = self._session.get_inputs()[0].name

    def __call__(self, counts: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the network's output."""
        return np.asarray(self._session.run(None, {self._input: counts})[0])


def _without_traces(content: bytes) -> bytes:
    model = onnx.load_model_from_string(content)
    model.doc_string = ""
    for node in model.graph.node:
        node.doc_string = ""
        del node.metadata_props[:]
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString(deterministic=True))
