"""Learned perceptual image patch similarity: how different two images look to a network for photographs.

Source: Zhang et al. 2018, doi 10.48550/arXiv.1801.03924, version 0.1 of their weights on a VGG16. No weights
are shipped. The trunk is torchvision's `vgg16-397923af.pth` (whose sha256 begins so), the linear heads are
`lpips/weights/v0.1/vgg.pth` of the authors' package. Without both, the metric is missing; random weights are
never used.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from dimstream_models.training.errors import CannotEvaluate
from dimstream_models.training.metrics.images import Image, as_plane, require_range, require_same_shape

HEADS_SHA256: Final = "a78928a0af1e5f0fcb1f3b9e8f8c3a2a5a3de244d830ad5c1feddc79b8432868"
"""Hash of the authors' heads, as shipped with lpips 0.1.4."""
MIN_SIDE: Final = 16  # px: the trunk halves a side four times
_STAGES: Final = (  # the trunk's convolutions by their numbers in torchvision's `features`; channels
    ((0, 2), 64),
    ((5, 7), 128),
    ((10, 12, 14), 256),
    ((17, 19, 21), 512),
    ((24, 26, 28), 512),
)
_COLOUR_MEAN: Final = (-0.030, -0.088, -0.188)  # statistics of the photographs, on the scale from -1 to 1
_COLOUR_SPREAD: Final = (0.458, 0.448, 0.450)
_TINY: Final = 1e-10  # the authors' minimum of a feature's length


@dataclass(frozen=True)
class WeightFile:
    """A file of weights, and its hash.

    Parameters
    ----------
    path : Path
        A torch state dict.
    sha256 : str
        Hash of the file's bytes, hexadecimal.
    """

    path: Path
    sha256: str


class Lpips:
    """The metric with its weights loaded.

    Parameters
    ----------
    trunk, heads : WeightFile
        torchvision's VGG16 (its classifier may be missing), and the five linear heads.
    device : str
        Device of the network.

    Raises
    ------
    CannotEvaluate
        When a file is missing, has another hash, is not a state dict, or lacks a tensor of the right shape.
    """

    def __init__(self, trunk: WeightFile, heads: WeightFile, *, device: str = "cpu") -> None:
        in_trunk, in_heads = _read(trunk, _trunk_shapes()), _read(heads, _head_shapes())
        self._device = device
        self._heads = [in_heads[name].to(device, torch.float32) for name in _head_shapes()]
        self._stages = [[_convolution(in_trunk, at, device) for at in numbers] for numbers, _ in _STAGES]

    @torch.inference_mode()
    def __call__(self, prediction: Image, truth: Image, *, data_range: float) -> float:
        """Return the distance of two images: 0 for equal images, near 1 for unrelated ones.

        Parameters
        ----------
        prediction, truth : (H, W)
            The network gets them as grey photographs, in which 0 is black.
        data_range : float
            The value of white.

        Raises
        ------
        CannotEvaluate
            When shapes differ, images are not planes, a side is shorter than 16 px, pixels are not finite, or
            the data range is not positive.
        """
        require_same_shape(prediction, truth)
        shown = (self._as_photograph(image, require_range(data_range)) for image in (prediction, truth))
        pairs = zip(self._heads, *(self._features(image) for image in shown), strict=True)
        distances = [(head * (_unit_length(a) - _unit_length(b)) ** 2).sum(1).mean() for head, a, b in pairs]
        return float(torch.stack(distances).sum())

    def _as_photograph(self, image: Image, data_range: float) -> Tensor:
        grey = torch.from_numpy(as_plane(image, min_side=MIN_SIDE) / data_range * 2 - 1)
        mean, spread = (torch.tensor(each)[:, None, None] for each in (_COLOUR_MEAN, _COLOUR_SPREAD))
        return ((grey - mean) / spread)[None].to(self._device, torch.float32)  # (1, 3, H, W)

    def _features(self, image: Tensor) -> Iterator[Tensor]:
        for index, stage in enumerate(self._stages):
            image = functional.max_pool2d(image, 2) if index else image
            for weight, bias in stage:
                image = functional.relu(functional.conv2d(image, weight, bias, padding=1))
            yield image  # (1, C, H / 2**index, W / 2**index)


def _convolution(trunk: Mapping[str, Tensor], number: int, device: str) -> tuple[Tensor, Tensor]:
    weight, bias = (trunk[f"features.{number}.{part}"] for part in ("weight", "bias"))
    return weight.to(device, torch.float32), bias.to(device, torch.float32)


def _unit_length(features: Tensor) -> Tensor:
    return functional.normalize(features, dim=1, eps=_TINY)


def _trunk_shapes() -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}
    before = 3
    for numbers, channels in _STAGES:
        for number in numbers:
            shapes[f"features.{number}.weight"] = (channels, before, 3, 3)
            shapes[f"features.{number}.bias"] = (channels,)
            before = channels
    return shapes


def _head_shapes() -> dict[str, tuple[int, ...]]:
    return {f"lin{index}.model.1.weight": (1, channels, 1, 1) for index, (_, channels) in enumerate(_STAGES)}


def _read(file: WeightFile, shapes: Mapping[str, tuple[int, ...]]) -> Mapping[str, Tensor]:
    """Return the tensors of these names and shapes.

    Raises
    ------
    CannotEvaluate
    """
    _check_hash(file)
    try:
        # the authors' heads were saved on a GPU
        state = torch.load(file.path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch does not document its errors for a file that is not a state dict
        raise CannotEvaluate(f"expected a torch state dict at {file.path}, got: {error}") from error
    for name, shape in shapes.items():
        found = state.get(name) if isinstance(state, Mapping) else None
        if not isinstance(found, Tensor) or tuple(found.shape) != shape:
            got = tuple(found.shape) if isinstance(found, Tensor) else "none"
            raise CannotEvaluate(f"expected a tensor {name} of shape {shape} in {file.path}, got {got}")
    return {name: state[name] for name in shapes}


def _check_hash(file: WeightFile) -> None:
    try:
        with file.path.open("rb") as content:
            found = hashlib.file_digest(content, "sha256").hexdigest()
    except OSError as error:
        raise CannotEvaluate(f"expected weights at {file.path}, got: {error}") from error
    if found != file.sha256.lower():
        raise CannotEvaluate(
            f"expected sha256 {file.sha256} of {file.path}, got {found}: this is a different file"
        )
