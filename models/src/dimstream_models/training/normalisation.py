"""Normalisation of counts to about one, inside the network's graph, so that all clients use the same.

Each image of a batch is normalised separately: a patch in training, the whole frame in the server, as in the
published code. With `fixed`, no single pixel affects the brightness; `maximum` is the paper's method.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dimstream_models.training.settings import NormalisationSettings

LEAST_DIVISOR = 1e-6  # an image of zeros stays zeros


class Normaliser(nn.Module):
    """Divides counts (B, 1, y, x) by one number per image, which `divisor` returns."""

    def forward(self, counts: Tensor) -> Tensor:
        """Return `counts / divisor(counts)`, (B, 1, H, W), without unit."""
        return counts / self.divisor(counts).clamp_min(LEAST_DIVISOR)

    def divisor(self, counts: Tensor) -> Tensor:
        """Return the divisor of each image, (B, 1, 1, 1) counts."""
        raise NotImplementedError


class FixedScale(Normaliser):
    """The same constant for all images: no single pixel affects the brightness."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, counts: Tensor) -> Tensor:
        """Return `counts / scale`, (B, 1, H, W), without unit."""
        return counts / self.scale

    def divisor(self, counts: Tensor) -> Tensor:
        """Return the constant for each image, (B, 1, 1, 1) counts."""
        return counts.new_full((len(counts), 1, 1, 1), self.scale)


class MaximumScale(Normaliser):
    """Each image's largest value, as in the paper: one bright pixel rescales the whole image."""

    def divisor(self, counts: Tensor) -> Tensor:
        """Return each image's maximum, (B, 1, 1, 1) counts."""
        return counts.amax(dim=(1, 2, 3), keepdim=True)


class QuantileScale(Normaliser):
    """Each image's quantile, interpolated linearly between its neighbours as `numpy.quantile` does.

    `torch.quantile` accepts at most 16 million values and cannot be exported. This method sorts out the
    largest values down to the quantile, for any size. For quantiles near 1 this is fast (ONNX Runtime,
    600x600, one core: 1 ms at 0.999, 26 ms for the median).
    """

    def __init__(self, quantile: float) -> None:
        super().__init__()
        self.quantile = quantile

    def divisor(self, counts: Tensor) -> Tensor:
        """Return each image's quantile, (B, 1, 1, 1) counts."""
        flat = counts.flatten(1)  # (B, N)
        # in double, because in single precision a position among 360,000 is off by 0.02; as tensors, so that
        # the exported graph calculates it for each size; (1,), because the exporter makes () single
        end = torch._shape_as_tensor(flat)[1:] - 1
        place = end.double() * self.quantile
        below, above = place.long(), place.ceil().long()
        number = cast(int, (end + 1 - below)[0])
        largest = flat.topk(number, dim=1).values  # (B, number), descending to `below`
        low = largest[:, -1:]
        high = largest.index_select(1, (end - above).to(flat.device))
        value = low + (high - low) * (place - below).to(counts)  # (B, 1)
        return value[:, :, None, None]


def suggest_scale(images: Iterable[NDArray[Any]]) -> float:
    """Return a divisor (fixed) that scales the structures of images (H, W) to about one.

    It is the 99th percentile of their counts, to two digits, and at least 1.
    """
    counts = np.concatenate([np.asarray(image)[::4, ::4].ravel() for image in images])
    return max(1.0, float(f"{np.quantile(counts, 0.99):.2g}"))


def build_normaliser(settings: NormalisationSettings) -> Normaliser:
    """Return the normaliser of the network's input."""
    if settings.kind == "maximum" or settings.value is None:
        return MaximumScale()
    return FixedScale(settings.value) if settings.kind == "fixed" else QuantileScale(settings.value)


def build_truth_normaliser(settings: NormalisationSettings, *, dose_ratio: float) -> Normaliser:
    """Return the normaliser of the truths in training.

    Parameters
    ----------
    settings : NormalisationSettings
        Settings for the counts; maximum and quantile use the truth's own statistic.
    dose_ratio : float
        Ratio of mean truth to mean counts of the training data. With kind fixed and no `target_value`, the
        truth's divisor is the counts' divisor times this, so that both have the same scale.
    """
    if settings.kind != "fixed":
        return build_normaliser(settings)
    assert settings.value is not None  # guaranteed by the settings
    return FixedScale(settings.target_value or settings.value * dose_ratio)
