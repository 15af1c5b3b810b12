"""Loading a bundle's ONNX weights into torch, matched by the structure of the graph, never by names alone.

An ONNX file may store a tensor once for several layers, under another layer's name or behind an `Identity`.
When read by name, such a layer would keep its random weights. Here, each convolution of the graph, in running
order, gives its weights to the convolution at the same place in torch. Then both must compute the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import nn

from dimstream_models.bundle import Bundle
from dimstream_models.training.errors import CannotLoad, ParityError
from dimstream_models.training.export.onnx_export import Denoiser, check_parity
from dimstream_models.training.network import UNetRCAN
from dimstream_models.training.normalisation import build_normaliser
from dimstream_models.training.settings import NormalisationSettings

Convolution = nn.Conv2d | nn.Conv3d
Values = NDArray[np.float32]


def load_bundle(network: UNetRCAN, bundle: Bundle, normalisation: NormalisationSettings) -> float:
    """Load a bundle's weights into a torch network, and return the largest difference of their outputs.

    Parameters
    ----------
    network : UNetRCAN
        A network of the bundle's size; its weights are replaced, unless an error is raised.
    bundle : Bundle
        The bundle whose ONNX file is read.
    normalisation : NormalisationSettings
        Normalisation of the counts; it must be the bundle's.

    Returns
    -------
    float
        The largest difference between torch and ONNX Runtime at three image sizes, relative to the largest
        value.

    Raises
    ------
    CannotLoad
        When the graph has different layers than the network, or computes something else.
    """
    before = {name: value.clone() for name, value in network.state_dict().items()}
    training = network.training
    try:
        load_weights(network, bundle.onnx)
        return check_parity(Denoiser(network, build_normaliser(normalisation)).eval(), bundle.onnx)
    except (CannotLoad, ParityError) as error:
        network.load_state_dict(before)
        if isinstance(error, CannotLoad):
            raise
        raise CannotLoad(
            f"{bundle.id} has layers of the same sizes as the recipe's network, but computes something else:"
            f" {error}; give the recipe the bundle's network and normalisation (both are in the bundle's"
            " config.dimstream.provenance.settings)"
        ) from error
    finally:
        network.train(training)


def load_weights(network: UNetRCAN, content: bytes) -> None:
    """Load the weights of an ONNX file's convolutions into those of a network, in running order.

    Raises
    ------
    CannotLoad
        When their number or a shape differs, or a weight is not a constant of the file.
    """
    graph = onnx.load_model_from_string(content).graph
    given, wanted = list(_convolutions(graph)), _running_order(network)
    if len(given) != len(wanted):
        raise CannotLoad(
            f"expected {len(wanted)} convolutions as in the recipe's network, got {len(given)} in the"
            " bundle: give the recipe the bundle's network settings"
        )
    for (name, weight, bias), into in zip(given, wanted, strict=True):
        _check_shapes(name, (weight, bias), into)
    with torch.no_grad():
        for (_, weight, bias), into in zip(given, wanted, strict=True):
            into.weight.copy_(torch.from_numpy(weight))
            if into.bias is not None:
                into.bias.copy_(torch.from_numpy(bias))


def _check_shapes(name: str, given: tuple[Values, Values], into: Convolution) -> None:
    weight, bias = given
    if weight.shape != tuple(into.weight.shape) or bias.shape != (into.weight.shape[0],):
        raise CannotLoad(
            f"expected a convolution of {tuple(into.weight.shape)} (out, in, sides) as in the recipe's "
            f"network, got {weight.shape} at {name!r} of the bundle: give the recipe the bundle's network"
            " settings"
        )


def _convolutions(graph: Any) -> Iterator[tuple[str, Values, Values]]:
    """Yield name, weight and bias of each convolution; the nodes in the file are in running order."""
    constants = _constants(graph)
    for node in graph.node:
        if node.op_type != "Conv":
            continue
        missing = [name for name in node.input[1:] if name and name not in constants]
        if missing:
            raise CannotLoad(
                f"expected constants as weights of {node.name!r}, but {missing[0]!r} is computed"
            )
        weight = constants[node.input[1]]
        has_bias = len(node.input) > 2 and node.input[2]
        bias = constants[node.input[2]] if has_bias else np.zeros(len(weight), np.float32)
        yield node.name, weight, bias


def _constants(graph: Any) -> dict[str, Values]:
    """Return every constant of the graph under each of its names, including aliases."""
    constants = {each.name: _values(each) for each in graph.initializer}
    for node in graph.node:  # in topological order: an alias comes after the constant that it names
        if node.op_type == "Constant":
            values = [_values(a.t) for a in node.attribute if a.name == "value"]
            constants |= dict(zip(node.output, values, strict=False))
        elif node.op_type == "Identity" and node.input[0] in constants:
            constants[node.output[0]] = constants[node.input[0]]
    return constants


def _values(tensor: Any) -> Values:
    return np.array(numpy_helper.to_array(tensor), dtype=np.float32)  # a copy, because torch must own it


def _running_order(network: UNetRCAN) -> list[Convolution]:
    """Return the network's convolutions in running order, which differs from the order of their creation."""
    order: list[Convolution] = []
    convolutions = [module for module in network.modules() if isinstance(module, Convolution)]
    dims = 2 if isinstance(convolutions[0], nn.Conv2d) else 3
    handles = [
        each.register_forward_pre_hook(lambda module, _: order.append(module)) for each in convolutions
    ]
    try:
        with torch.no_grad():
            network(convolutions[0].weight.new_zeros(1, 1, *[network.step] * dims))
    finally:
        for handle in handles:
            handle.remove()
    return order
