"""A light U-Net that classifies each pixel as background, tubule or sheet.

It is a U-Net (Ronneberger 2015, doi 10.48550/arXiv.1505.04597) on two images. The first is the frame with
mean 0 and variance 1. The second is its local contrast: minus the mean around each pixel, divided by the
deviation around it, which an uneven background does not change. Mean and variance of the whole frame are
calculated before, so that tiles with a halo give the same result as the whole frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

WIDTHS: Final = (32, 64, 64, 96)
"""Features of each level, beginning with the finest, which has half the frame's pixels along each side."""
STEP: Final = 2 ** len(WIDTHS)
"""The network accepts sides that are multiples of this, px."""
HALO_PX: Final = 128
"""Largest distance at which a pixel affects the class of another."""
_AROUND: Final = 9
"""Side of the neighbourhood for mean and deviation, in squares of `STEP` / 2 px."""
_LEAST_DEVIATION: Final = 0.05


class SegmentationNetwork(nn.Module):
    """From a normalised frame to the probability of each class.

    Parameters
    ----------
    classes : int
    widths : sequence of int
        Features of each level, beginning with the finest.
    """

    def __init__(self, classes: int = 3, widths: Sequence[int] = WIDTHS) -> None:
        super().__init__()
        self.step = 2 ** len(widths)
        inputs = [2 * 4, *widths[:-1]]
        self.down = nn.ModuleList(_Block(i, o) for i, o in zip(inputs, widths, strict=True))
        pairs = list(zip(widths[1:], widths[:-1], strict=True))[::-1]
        self.up = nn.ModuleList(_Block(low + high, high) for low, high in pairs)
        self.last = nn.Conv2d(widths[0], 4 * classes, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:  # (B, 1, y, x)
        """Return the logarithm of unnormalised probabilities, (B, classes, y, x)."""
        # squares of four pixels as features: a quarter of the work, without loss of pixels
        x = functional.pixel_unshuffle(torch.cat([x, _local_contrast(x)], dim=1), 2)  # (B, 8, y / 2, x / 2)
        kept = []
        for number, block in enumerate(self.down):
            x = block(functional.max_pool2d(x, 2) if number else x)
            kept.append(x)
        for block, skip in zip(self.up, kept[-2::-1], strict=True):
            x = functional.interpolate(x, scale_factor=2.0, mode="nearest")
            x = block(torch.cat([x, skip], dim=1))
        return functional.pixel_shuffle(self.last(x), 2)


class Classifier(nn.Module):
    """The computation of the ONNX file: from normalised frames to probabilities."""

    def __init__(self, network: SegmentationNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, frame: Tensor) -> Tensor:  # (B, 1, y, x)
        """Return the probability of each class, (B, classes, y, x); their sum is 1."""
        return torch.softmax(self.network(frame), dim=1)


class _Block(nn.Module):
    """Two convolutions; the second is added to the first."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:  # (B, inputs, y, x) -> (B, outputs, y, x)
        x = functional.relu(self.conv1(x))
        return x + functional.relu(self.conv2(x))


def _local_contrast(x: Tensor) -> Tensor:  # (B, 1, y, x)
    """Return the distance from the local mean in local deviations, both from means of squares of 8 px, (B, 1,
    y, x)."""
    square = STEP // 2
    means = functional.avg_pool2d(torch.cat([x, x * x], dim=1), square)
    around = functional.avg_pool2d(means, _AROUND, 1, _AROUND // 2, count_include_pad=False)
    mean, second = torch.split(around, 1, dim=1)
    deviation = torch.sqrt(torch.relu(second - mean * mean)) + _LEAST_DEVIATION
    both = functional.interpolate(torch.cat([mean, deviation], dim=1), scale_factor=float(square))
    mean, deviation = torch.split(both, 1, dim=1)
    return (x - mean) / deviation
