"""Weights of a network in a wider one that computes the same (Chen et al. 2016, Net2Net, arXiv 1511.05641).

New channels start with random weights; the weights from them to existing channels are zero.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from dimstream_models.training.errors import CannotLoad
from dimstream_models.training.network import UNetRCAN

Convolution = nn.Conv2d | nn.Conv3d


def widen(narrow: UNetRCAN, wide: UNetRCAN) -> None:
    """Copy a network's weights into one with the same layers that is at least as wide at each.

    Parameters
    ----------
    narrow : UNetRCAN
        The source; it is not changed.
    wide : UNetRCAN
        With random kernels and biases of 0, as after `initialise`; afterwards it computes the same as
        `narrow`.

    Raises
    ------
    CannotLoad
        When the wider network has different layers, or is narrower at any of them.
    """
    given, wanted = _convolutions(narrow), _convolutions(wide)
    if list(given) != list(wanted):
        raise CannotLoad(
            "expected a network with the same layers as the bundle's, got one of another depth: give the "
            "recipe"
            " the bundle's number of filters, num_rg and num_cab"
        )
    with torch.no_grad():
        for name, source in given.items():
            _embed(name, source, wanted[name], _parts(name, narrow), _parts(name, wide))


def _embed(name: str, source: Convolution, into: Convolution, old: Sequence[int], new: Sequence[int]) -> None:
    """Copy one convolution; `old` and `new` are the parts of its input channels."""
    outputs = source.weight.shape[0]
    fits = all(o <= n for o, n in zip(old, new, strict=True)) and outputs <= into.weight.shape[0]
    if not fits or source.weight.shape[2:] != into.weight.shape[2:]:
        raise CannotLoad(
            f"expected a convolution at least as wide as {tuple(source.weight.shape)} (out, in, sides) at"
            f" {name}, got {tuple(into.weight.shape)}: make all network.filters at least as wide"
        )
    into.weight[:outputs] = 0
    before, after = 0, 0
    for width, wider in zip(old, new, strict=True):
        into.weight[:outputs, after : after + width] = source.weight[:, before : before + width]
        before, after = before + width, after + wider
    if source.bias is not None and into.bias is not None:
        into.bias[:outputs] = source.bias


def _convolutions(network: UNetRCAN) -> dict[str, Convolution]:
    return {name: each for name, each in network.named_modules() if isinstance(each, Convolution)}


def _parts(name: str, network: UNetRCAN) -> tuple[int, ...]:
    """Return the number of channels of each tensor that is concatenated at a convolution's input."""
    inputs = int(_convolutions(network)[name].weight.shape[1])
    where = name.split(".")
    if where[:2] == ["unet", "decoder"] and where[-1] in ("conv1", "shortcut"):
        skipped = int(_convolutions(network)[f"unet.skips.{where[2]}.conv1"].weight.shape[1])
        return inputs - skipped, skipped
    return (inputs,)
