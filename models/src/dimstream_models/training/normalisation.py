"""How counts become numbers near one: inside the network's graph, so that no client can do it differently.

Each image of a batch is taken on its own: a patch in training, the whole frame in service, as the
published code does. `fixed` never lets brightness hang on a single pixel; `maximum` is the paper's.
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
    """Counts divided by one number per image, (B, 1, y, x) to the same; `divisor` says which."""

    def forward(self, counts: Tensor) -> Tensor:
        """Return `counts / divisor(counts)`, (B, 1, H, W) without a unit."""
        return counts / self.divisor(counts).clamp_min(LEAST_DIVISOR)

    def divisor(self, counts: Tensor) -> Tensor:
        """Return what each image is divided by, (B, 1, 1, 1)."""
        raise NotImplementedError


class FixedScale(Normaliser):
    """One constant, whatever the image: brightness never hangs on a single pixel of the frame."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, counts: Tensor) -> Tensor:
        """Return `counts / scale`, (B, 1, H, W) without a unit."""
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

    `torch.quantile` takes at most 16 million values and cannot be exported. This takes the largest
    values down to the quantile, which for one near 1 costs little (ONNX Runtime, 600x600, one core: 1 ms
    at 0.999, 26 ms for the median), at any size.
    """

    def __init__(self, quantile: float) -> None:
        super().__init__()
        self.quantile = quantile

    def divisor(self, counts: Tensor) -> Tensor:
        """Return each image's quantile, (B, 1, 1, 1) counts."""
        flat = counts.flatten(1)  # (B, N)
        # in double, as in single precision a place among 360,000 is off by 0.02; as tensors, so that the
        # exported graph works it out for each size again; (1,), as the exporter makes () single
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
    """Return a divisor (fixed) that brings the structures of images (H, W) near one.

    The 99th percentile of their counts, to two digits, and at least 1.
    """
    counts = np.concatenate([np.asarray(image)[::4, ::4].ravel() for image in images])
    return max(1.0, float(f"{np.quantile(counts, 0.99):.2g}"))


def build_normaliser(settings: NormalisationSettings) -> Normaliser:
    """Return the normaliser of the counts that the network is shown."""
    if settings.kind == "maximum" or settings.value is None:
        return MaximumScale()
    return FixedScale(settings.value) if settings.kind == "fixed" else QuantileScale(settings.value)


def build_truth_normaliser(settings: NormalisationSettings, *, dose_ratio: float) -> Normaliser:
    """Return the normaliser of the truths in training.

    Parameters
    ----------
    settings : NormalisationSettings
        The counts' own; maximum and quantile take the truth's own statistic.
    dose_ratio : float
        Mean truth over mean counts of the training data: with kind fixed and no `target_value` the
        truth's divisor is the counts' times this, so that both come out alike.
    """
    if settings.kind != "fixed":
        return build_normaliser(settings)
    assert settings.value is not None  # the settings make sure
    return FixedScale(settings.target_value or settings.value * dose_ratio)
