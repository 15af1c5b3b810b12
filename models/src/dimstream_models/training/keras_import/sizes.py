"""The network's sizes, as the shapes of its arrays tell them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from dimstream_models.training.network import UNetRCAN
from dimstream_models.training.settings import Activation

Shape = tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """All that the shapes of a weight file's arrays depend on."""

    filters: tuple[int, ...]
    """Of the U-Net, which sorts them; the first is the RCAN's."""
    filters_cab: int
    num_rg: int
    num_cab: int
    kernel: int
    dims: Literal[2, 3]

    def build(self, activation: Activation, dropout: float) -> UNetRCAN:
        """Return the network without memory for its weights (torch's meta device)."""
        with torch.device("meta"):
            return UNetRCAN(
                filters=self.filters,
                filters_cab=self.filters_cab,
                num_rg=self.num_rg,
                num_cab=self.num_cab,
                kernel=self.kernel,
                activation=activation,
                dropout=dropout,
                dims=self.dims,
            )

    def arrays(self) -> list[tuple[str, Shape]]:
        """Return each array's name in the network and its shape in Keras: kernels are (*sides, in, out)."""
        parameters = self.build("identity", 0.0).named_parameters()
        return [(name, _keras_shape(tuple(parameter.shape))) for name, parameter in parameters]


def sizes_of(shapes: Sequence[Shape]) -> Sizes | None:
    """Return the sizes of the network whose arrays have these shapes, None when no UNet-RCAN has them.

    Parameters
    ----------
    shapes : sequence of tuple of int
        Of kernels (*sides, in, out) and biases (out,) in turn, in the published network's order.
    """
    try:
        sizes = _guess(shapes[::2])
    except (IndexError, ValueError):
        return None
    return sizes if difference(sizes, shapes) is None else None


def difference(sizes: Sizes, shapes: Sequence[Shape]) -> tuple[int, str] | None:
    """Return where `shapes` first differ from those of a network of these sizes, and how; None: nowhere."""
    arrays = sizes.arrays()
    for place, ((name, expected), shape) in enumerate(zip(arrays, shapes, strict=False)):
        if shape != expected:
            return place, f"which is to be {name}: expected {expected}, got {shape}"
    if len(shapes) != len(arrays):
        return len(shapes), f"expected {len(arrays)} arrays, got {len(shapes)}"
    return None


def _guess(kernels: Sequence[Shape]) -> Sizes:
    """Read each size off where it first shows; whether all shapes agree is for the caller to see."""
    if len(kernels[0]) not in (4, 5) or not all(map(all, kernels)):
        raise ValueError("kernels have two or three sides, and nothing in them is zero")
    widths = _widths(kernels)
    unet = 10 * len(widths) + 9  # kernels: 6 a level in encoder and decoder, 4 in its CAB, 3 blocks of 3
    *groups, _, _, last = kernels[unet:]
    reduced, width = kernels[6 * len(widths) + 2][-1], last[-2]
    squeeze = (*last[:-2], width, reduced)
    num_cab = 0
    while groups[4 * num_cab + 2 :][:1] == [squeeze]:  # conv, conv, squeeze, excite
        num_cab += 1
    others = sorted(widths)
    others.remove(width)
    return Sizes(
        filters=(width, *others),
        filters_cab=reduced,
        num_rg=len(groups) // (4 * num_cab + 1),
        num_cab=num_cab,
        kernel=kernels[0][0],
        dims=2 if len(kernels[0]) == 4 else 3,
    )


def _widths(kernels: Sequence[Shape]) -> list[int]:
    """Widths of the encoder: each block begins where the one before ended, the decoder's where skips join."""
    widths: list[int] = []
    while kernels[3 * len(widths)][-2] == (widths or [1])[-1]:
        widths.append(kernels[3 * len(widths)][-1])
    return widths


def _keras_shape(shape: Shape) -> Shape:
    return shape if len(shape) == 1 else (*shape[2:], shape[1], shape[0])
