"""From a trained torch network to a self-contained ONNX file for photon counts.

Also its version in half precision, for GPUs: half the weights, and the speed of tensor cores. Its input and
output remain float32, and so does everything that needs its range or precision: the normalisation of the
input (65,504 is the largest float16, and a camera may count further) and the mean over the whole image in
channel attention (a sum over 512x512 px overflows).
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterable, Iterator
from copy import deepcopy
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from onnx import GraphProto, NodeProto, TensorProto, helper, numpy_helper, shape_inference
from torch import Tensor, nn

from dimstream_models.training.errors import ParityError
from dimstream_models.training.network import UNetRCAN
from dimstream_models.training.normalisation import Normaliser

PARITY = 1e-5  # largest difference between torch and ONNX Runtime, relative to the largest value
ROUNDING = 8.0  # or relative to the effect of the weights' last bit, for networks that amplify rounding
PARITY_SHAPES = ((64, 64), (72, 56), (200, 304))  # increased to multiples of the network's step
_OPSET = 17


class Denoiser(nn.Module):
    """From photon counts to the fine output of the network: the computation of the ONNX file."""

    def __init__(self, network: UNetRCAN, normaliser: Normaliser) -> None:
        super().__init__()
        self.normalise = normaliser
        self.network = network

    def forward(self, counts: Tensor) -> Tensor:  # (B, 1, y, x)
        """Return the normalised prediction, (B, 1, H, W), for photon counts (B, 1, H, W)."""
        _, fine = self.network(self.normalise(counts))
        return fine  # type: ignore[no-any-return]


def export_onnx(denoiser: Denoiser) -> bytes:
    """Return the ONNX file, for any size divisible by the network's step, after a parity check.

    Raises
    ------
    ParityError
        As `check_parity`.
    """
    denoiser = denoiser.eval().cpu().to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # the exporter without torch.dynamo: one file, the requested opset, no source paths inside
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
    content = without_traces(buffer.getvalue())
    check_parity(denoiser, content)
    return content


def check_parity(denoiser: Denoiser, content: bytes) -> float:
    """Return the largest relative difference between torch and ONNX Runtime at three sizes.

    Raises
    ------
    ParityError
        When it exceeds 1e-5, and 8 times the change of torch's output when the last bit of each weight
        changes: some networks amplify the rounding of float32 beyond 1e-5, also in torch.
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
    """Yield Poisson counts, (1, 1, y, x), of three sizes that the network accepts."""
    rng = np.random.default_rng(0)
    for shape in PARITY_SHAPES:
        sides = (-(-side // step) * step for side in shape)
        yield rng.poisson(2.0, (1, 1, *sides)).astype(np.float32)


class OnnxRunner:
    """Callable that runs an ONNX file on the CPU, from (B, 1, y, x) float32 to the same."""

    def __init__(self, content: bytes) -> None:
        self._session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
        self._input = self._session.get_inputs()[0].name

    def __call__(self, counts: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the network's output, (B, 1, y, x) float32."""
        return np.asarray(self._session.run(None, {self._input: counts})[0])


def without_traces(content: bytes) -> bytes:
    """Return an ONNX file without documentation, metadata and source paths."""
    model = onnx.load_model_from_string(content)
    model.doc_string = ""
    for node in model.graph.node:
        node.doc_string = ""
        del node.metadata_props[:]
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString(deterministic=True))


FLOAT = TensorProto.FLOAT
HALF = "/half"  # suffix of a value's float16 copy
LARGEST_HALF = 65504.0
HALF_LIMIT = 0.005  # as a share of the largest prediction; float16 has slightly more than three digits
IN_FLOAT32 = frozenset({"ReduceMean", "GlobalAveragePool"})
"""Operators of the network that sum over whole images."""
FLOAT32_INPUTS = {"Resize": (1, 2)}
"""Inputs of operators that must be float32: region and scales."""


def half_precision(content: bytes) -> bytes:
    """Return an ONNX file with the same computation in float16 from the first convolution on.

    Raises
    ------
    ParityError
        When a weight is too large for float16.
    """
    model = shape_inference.infer_shapes(onnx.load_model_from_string(content))
    rewriting = _Rewriting(model.graph)
    for node in model.graph.node:
        rewriting.take(node)
    rewriting.finish()
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString(deterministic=True))


def half_error(denoiser: Denoiser, half: bytes, examples: Iterable[NDArray[Any]]) -> float:
    """Return the largest difference from float32, as a share of the largest prediction of each image.

    It is the larger of two measurements: in torch with every layer's result rounded to float16, as on a GPU,
    and with the ONNX file on the CPU, where ONNX Runtime omits most of the rounding.

    Parameters
    ----------
    denoiser : Denoiser
        The float32 network.
    half : bytes
        The result of `half_precision`.
    examples : iterable of (1, 1, y, x) photon counts
        Images of sizes that the network accepts; Poisson noise of three sizes is used too.

    Raises
    ------
    ParityError
        When the difference exceeds 0.5 %: the network is not suitable for float16.
    """
    denoiser = denoiser.eval().cpu()
    rounded, run = _RoundedDenoiser(denoiser).eval(), OnnxRunner(half)
    shares = []
    for counts in (*examples, *parity_inputs(denoiser.network.step)):
        with torch.inference_mode():
            expected, found = (net(torch.from_numpy(counts)).numpy() for net in (denoiser, rounded))
        differences = np.abs(np.stack([found, run(counts)]) - expected)
        shares.append(differences.max() / np.abs(expected).max())
    worst = float(np.max(shares))  # nan, where features overflow, stays nan
    if not worst <= HALF_LIMIT:
        raise ParityError(
            f"expected float16 within {HALF_LIMIT:g} of the largest prediction of float32, got {worst:g}: "
            "this network is not suitable for half precision, so serve the float32 bundle"
        )
    return worst


class _RoundedDenoiser(nn.Module):
    """A denoiser whose network computes in float16; torch's mean is summed in float32."""

    def __init__(self, denoiser: Denoiser) -> None:
        super().__init__()
        self.normalise = denoiser.normalise
        self.network = deepcopy(denoiser.network).half()

    def forward(self, counts: Tensor) -> Tensor:  # (B, 1, y, x)
        _, fine = self.network(self.normalise(counts).half())
        return fine.float()  # type: ignore[no-any-return]


class _Rewriting:
    """One pass over a graph, after which nodes from the first convolution on use float16."""

    def __init__(self, graph: GraphProto) -> None:
        self.graph = graph
        self._weights = {tensor.name: tensor for tensor in graph.initializer}
        values = [*graph.value_info, *graph.input, *graph.output]
        self._floats = {value.name for value in values if value.type.tensor_type.elem_type == FLOAT}
        self._floats |= {name for name, tensor in self._weights.items() if tensor.data_type == FLOAT}
        self._halves: dict[str, str] = {}  # from a float32 value to its copy in float16
        self._in_network: set[str] = set()  # values that depend on a convolution
        self._nodes: list[NodeProto] = []

    def take(self, node: NodeProto) -> None:
        """Add a node, in half precision if it belongs to the network."""
        if node.op_type == "Identity" and node.input[0] in self._weights:  # equal weights are stored once
            twin = TensorProto()
            twin.CopyFrom(self._weights[node.input[0]])
            twin.name = node.output[0]
            self._weights[twin.name] = twin
            return
        if node.op_type != "Conv" and not self._in_network.intersection(node.input):
            self._nodes.append(node)
            return
        self._in_network.update(node.output)
        if node.op_type in IN_FLOAT32:
            self._take_in_float32(node)
            return
        untouched = FLOAT32_INPUTS.get(node.op_type, ())
        for place, name in enumerate(node.input):
            if name in self._floats and place not in untouched:
                node.input[place] = self._half(name)
        for place, name in enumerate(node.output):
            if name in self._floats:
                node.output[place] = self._halves[name] = name + HALF
        self._nodes.append(node)

    def finish(self) -> None:
        """Replace the old nodes and weights by the new ones."""
        for output in self.graph.output:
            self._cast(self._halves[output.name], output.name, FLOAT)
        del self.graph.node[:], self.graph.value_info[:], self.graph.initializer[:]
        self.graph.node.extend(self._nodes)
        used = {name for node in self._nodes for name in node.input}
        self.graph.initializer.extend(tensor for name, tensor in self._weights.items() if name in used)

    def _take_in_float32(self, node: NodeProto) -> None:
        for name in set(node.input) & self._halves.keys():
            self._cast(self._halves[name], name, FLOAT)
        self._nodes.append(node)

    def _half(self, name: str) -> str:
        if name not in self._halves:
            self._halves[name] = name + HALF
            if name in self._weights:
                self._weights[name + HALF] = _rounded(self._weights[name], name + HALF)
            else:
                self._cast(name, name + HALF, TensorProto.FLOAT16)
        return self._halves[name]

    def _cast(self, name: str, to: str, kind: int) -> None:
        self._nodes.append(helper.make_node("Cast", [name], [to], name=f"{to}/Cast", to=kind))


def _rounded(weight: TensorProto, name: str) -> TensorProto:
    values = numpy_helper.to_array(weight)
    largest = float(np.abs(values).max(initial=0.0))
    if not largest <= LARGEST_HALF:
        raise ParityError(
            f"{weight.name}: expected weights of at most {LARGEST_HALF:g}, the range of float16, got "
            f"{largest:g}: serve the float32 bundle"
        )
    return numpy_helper.from_array(values.astype(np.float16), name)
