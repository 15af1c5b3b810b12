"""UNet-RCAN, the network of the paper, in torch.

A U-Net (Ronneberger 2015, doi 10.48550/arXiv.1505.04597) restores the coarse content, and a residual channel
attention network (Zhang 2018, doi 10.48550/arXiv.1807.02758) the fine detail. UNet-RCAN joins both (Ebrahimi
2023, doi 10.1038/s42003-023-05054-z). Layers are registered in the order of the published code's weight
files, so that weights can be matched by structure and order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from dimstream_models.training.settings import Activation, Initializer, NetworkSettings

LEAKY_SLOPE = 0.3  # Keras' default; torch's would be 0.01


class ConvBlock(nn.Module):
    """Two convolutions with a 1x1 shortcut, followed by a LeakyReLU."""

    def __init__(self, inputs: int, outputs: int, *, kernel: int, activation: Activation, dims: int) -> None:
        super().__init__()
        self.conv1 = _conv(inputs, outputs, kernel, dims)
        self.conv2 = _conv(outputs, outputs, kernel, dims)
        self.shortcut = _conv(inputs, outputs, 1, dims)
        self.inner = _activation(activation)

    def forward(self, x: Tensor) -> Tensor:  # (B, inputs, ...) -> (B, outputs, ...)
        """Return the block's features, (B, outputs, ...), without unit."""
        y = self.conv2(self.inner(self.conv1(x)))
        return functional.leaky_relu(y + self.shortcut(x), LEAKY_SLOPE)


class ChannelAttentionBlock(nn.Module):
    """Two convolutions whose channels are weighted by their mean over the whole image."""

    def __init__(self, width: int, reduced: int, *, kernel: int, activation: Activation, dims: int) -> None:
        super().__init__()
        self.conv1 = _conv(width, width, kernel, dims)
        self.conv2 = _conv(width, width, kernel, dims)
        self.squeeze = _conv(width, reduced, 1, dims)
        self.excite = _conv(reduced, width, 1, dims)
        self.inner = _activation(activation)

    def forward(self, x: Tensor) -> Tensor:  # (B, width, ...)
        """Return `x`, (B, width, ...), plus its attended features."""
        y: Tensor = self.conv2(self.inner(self.conv1(x)))
        pooled = y.mean(dim=tuple(range(2, y.ndim)), keepdim=True)  # (B, width, 1, ...)
        weight = torch.sigmoid(self.excite(functional.leaky_relu(self.squeeze(pooled), LEAKY_SLOPE)))
        return x + y * weight


class ResidualGroup(nn.Module):
    """A chain of channel attention blocks and one convolution around a residual connection."""

    def __init__(
        self, width: int, reduced: int, num_cab: int, *, kernel: int, activation: Activation, dims: int
    ) -> None:
        super().__init__()
        self.cabs = nn.Sequential(
            *(
                ChannelAttentionBlock(width, reduced, kernel=kernel, activation=activation, dims=dims)
                for _ in range(num_cab)
            )
        )
        self.conv = _conv(width, width, kernel, dims)

    def forward(self, x: Tensor) -> Tensor:  # (B, width, ...)
        """Return `x`, (B, width, ...), plus the group's residual."""
        return x + cast(Tensor, self.conv(self.cabs(x)))


class UNet(nn.Module):
    """The coarse half: an encoder, a two-block bridge and a decoder with attended skips."""

    def __init__(
        self,
        filters: Sequence[int],
        reduced: int,
        *,
        kernel: int,
        activation: Activation,
        dropout: float,
        dims: int,
    ) -> None:
        super().__init__()
        widths = sorted(filters)
        inputs = [1, *widths[:-1]]
        below = [2 * widths[-1], *reversed(widths[1:])]

        def block(i: int, o: int, k: int = kernel) -> ConvBlock:
            return ConvBlock(i, o, kernel=k, activation=activation, dims=dims)

        self.encoder = nn.ModuleList(block(i, o) for i, o in zip(inputs, widths, strict=True))
        self.decoder = nn.ModuleList(
            block(low + width, width) for low, width in zip(below, reversed(widths), strict=True)
        )
        self.skips = nn.ModuleList(
            ChannelAttentionBlock(width, reduced, kernel=kernel, activation=activation, dims=dims)
            for width in reversed(widths)
        )
        self.bridge = nn.Sequential(block(widths[-1], 2 * widths[-1]), block(2 * widths[-1], 2 * widths[-1]))
        self.last = block(widths[0], 1, 1)
        self.dropout = nn.Dropout(dropout)
        self.pool = nn.MaxPool2d(2) if dims == 2 else nn.MaxPool3d(2)

    def forward(self, x: Tensor) -> Tensor:  # (B, 1, ...)
        """Return the coarse restoration, (B, 1, ...) in the unit of the input: normalised counts."""
        kept = []
        for encode in self.encoder:
            x = self.dropout(encode(x))
            kept.append(x)
            x = self.pool(x)
        x = self.bridge(x)
        for decode, attend, skip in zip(self.decoder, self.skips, reversed(kept), strict=True):
            x = functional.interpolate(x, scale_factor=2.0, mode="nearest")
            x = self.dropout(decode(torch.cat([x, attend(skip)], dim=1)))
        return cast(Tensor, self.last(x))


class RCAN(nn.Module):
    """The fine half: residual groups of channel attention blocks at full resolution."""

    def __init__(
        self,
        width: int,
        reduced: int,
        num_rg: int,
        num_cab: int,
        *,
        kernel: int,
        activation: Activation,
        dropout: float,
        dims: int,
    ) -> None:
        super().__init__()
        self.groups = nn.ModuleList(
            ResidualGroup(width, reduced, num_cab, kernel=kernel, activation=activation, dims=dims)
            for _ in range(num_rg)
        )
        self.fuse = _conv(width, width, kernel, dims)
        self.first = _conv(2, width, kernel, dims)
        self.last = _conv(width, 1, 1, dims)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:  # (B, 2, ...) -> (B, 1, ...)
        """Return the fine restoration, (B, 1, ...), of the coarse one and the input as channels."""
        start = x = self.first(x)
        for group in self.groups:
            x = self.dropout(group(x))
        return cast(Tensor, self.last(start + self.fuse(x)))


class UNetRCAN(nn.Module):
    """UNet-RCAN in two or three dimensions.

    Parameters
    ----------
    filters : sequence of int
        Widths of the U-Net's levels; the image's sides must be divisible by `2 ** len(filters)`.
    filters_cab : int
        Number of channels after the squeeze of channel attention.
    num_rg, num_cab : int
        Residual groups, and channel attention blocks in each.
    kernel : int
        Side of the convolutions, odd.
    activation : {"identity", "leaky_relu", "tanh"}
        Activation between the two convolutions of each block. (The published configuration's `leaky_relu`
        matched no branch of its code, so weights trained with it have `identity`.)
    dropout : float
        Share of features dropped in training, 0 to 1.
    dims : {2, 3}
        2 for planes, 3 for volumes.
    """

    def __init__(
        self,
        *,
        filters: Sequence[int] = (64, 128, 256),
        filters_cab: int = 4,
        num_rg: int = 3,
        num_cab: int = 8,
        kernel: int = 7,
        activation: Activation = "identity",
        dropout: float = 0.2,
        dims: Literal[2, 3] = 2,
    ) -> None:
        super().__init__()
        self.step = 2 ** len(filters)  # sides must be divisible by this
        self.unet = UNet(
            filters, filters_cab, kernel=kernel, activation=activation, dropout=dropout, dims=dims
        )
        self.rcan = RCAN(
            filters[0],
            filters_cab,
            num_rg,
            num_cab,
            kernel=kernel,
            activation=activation,
            dropout=dropout,
            dims=dims,
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:  # (B, 1, ...) normalised counts
        """Return the coarse (U-Net) and the fine (RCAN, the denoised image) restoration."""
        coarse = self.unet(x)
        return coarse, self.rcan(torch.cat([coarse, x], dim=1))


def build_network(settings: NetworkSettings, *, dims: Literal[2, 3] = 2) -> UNetRCAN:
    """Return the network that the settings describe."""
    return UNetRCAN(
        filters=settings.filters,
        filters_cab=settings.filters_cab,
        num_rg=settings.num_rg,
        num_cab=settings.num_cab,
        kernel=settings.kernel,
        activation=settings.activation,
        dropout=settings.dropout,
        dims=dims,
    )


def initialise(network: nn.Module, initializer: Initializer, generator: torch.Generator) -> None:
    """Draw every kernel from `initializer` and set every bias to zero, as in Keras."""
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.Conv3d)):
            if initializer == "orthogonal":
                nn.init.orthogonal_(module.weight, generator=generator)
            elif initializer == "lecun_uniform":
                fan_in = module.weight[0].numel()
                bound = (3.0 / fan_in) ** 0.5
                nn.init.uniform_(module.weight, -bound, bound, generator=generator)
            else:
                nn.init.xavier_uniform_(module.weight, generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def _conv(inputs: int, outputs: int, kernel: int, dims: int) -> nn.Conv2d | nn.Conv3d:
    layer: type[nn.Conv2d | nn.Conv3d] = nn.Conv2d if dims == 2 else nn.Conv3d
    return layer(inputs, outputs, kernel, padding=kernel // 2)


def _activation(name: Activation) -> nn.Module:
    if name == "leaky_relu":
        return nn.LeakyReLU(LEAKY_SLOPE)
    return nn.Tanh() if name == "tanh" else nn.Identity()
