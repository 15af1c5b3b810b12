"""Loads weights of the published Keras code into the torch network, by structure and order, without
TensorFlow."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dimstream_models.training.errors import InvalidKerasFile
from dimstream_models.training.keras_import.configuration import (
    SIZE_KEYS,
    KerasConfig,
    Shape,
    Sizes,
    difference,
    inner_activation,
    sizes_of,
)
from dimstream_models.training.keras_import.weight_file import StoredArray, open_weight_file
from dimstream_models.training.network import UNetRCAN
from dimstream_models.training.settings import Activation

MAX_WEIGHTS = 2**28
"""Most weights: 1 GiB in float32, three times the published network."""


@dataclass(frozen=True)
class KerasNetwork:
    """A network with weights of the published code, ready for inference."""

    network: UNetRCAN
    """Its input is images (B, 1, y, x), or volumes (B, 1, y, x, z), divided by their maximum."""
    sizes: Sizes
    activation: Activation
    remarks: tuple[str, ...]
    """Remarks for the user on the interpretation of the configuration."""


def read_keras_weights(path: Path, config: KerasConfig, *, activation: str | None = None) -> KerasNetwork:
    """Return the network with the weights of a Keras 2 or Keras 3 file.

    Parameters
    ----------
    path : Path
        File of `model.save_weights` (`.h5`, `.weights.h5`), or a whole model in HDF5.
    config : KerasConfig
        The configuration with which the weights were trained.
    activation : str, optional
        Used in place of the configuration's, with the same names: `leaky_relu` means none.

    Raises
    ------
    InvalidKerasFile
        When the file is damaged, is not a Keras file or that of another network than configured, holds values
        that are not finite, or no activation is stated.
    """
    with open_weight_file(path) as arrays:
        sizes = _check_sizes(path, arrays, config)
        inner, remark = _activation(config, activation, sizes)
        network = sizes.build(inner, config.dropout)
        names = [name for name, _ in network.named_parameters()]
        values = {name: _to_torch(array.read()) for name, array in zip(names, arrays, strict=True)}
    network.load_state_dict(values, assign=True)
    remarks = tuple(text for text in (remark, _normalisation_remark(config)) if text)
    return KerasNetwork(network.requires_grad_(False).eval(), sizes, inner, remarks)


def _check_sizes(path: Path, arrays: Sequence[StoredArray], config: KerasConfig) -> Sizes:
    shapes = [array.shape for array in arrays]
    if (weights := sum(map(math.prod, shapes))) > MAX_WEIGHTS:
        raise InvalidKerasFile(f"{path}: expected at most {MAX_WEIGHTS} weights, got {weights}")
    wanted = _configured(config, shapes)
    found = wanted if wanted and difference(wanted, shapes) is None else sizes_of(shapes)
    if found is None:
        raise InvalidKerasFile(
            f"expected the weights of a UNet-RCAN in {path}: {_what_is_wrong(arrays, wanted)}"
        )
    if wrong := config.contradictions(found):
        example = _first_difference(arrays, replace(found, **config.stated_sizes))
        raise InvalidKerasFile(
            f"{path} was not trained with this configuration: {'; '.join(wrong)} (for example {example}). "
            "Correct the configuration, or give the weights that belong to it"
        )
    if found.kernel % 2 == 0:
        raise InvalidKerasFile(f"{path}: expected an odd kernel, got {found.kernel}: Keras pads it unevenly")
    return found


def _configured(config: KerasConfig, shapes: Sequence[Shape]) -> Sizes | None:
    """Return the sizes in the configuration; None if one is missing."""
    if set(config.stated_sizes) != set(SIZE_KEYS.values()):
        return None
    return Sizes(**config.stated_sizes, dims=3 if any(len(shape) == 5 for shape in shapes) else 2)


def _what_is_wrong(arrays: Sequence[StoredArray], wanted: Sizes | None) -> str:
    if wanted:
        return _first_difference(arrays, wanted)
    first = ", ".join(str(array.shape) for array in arrays[:4])
    return f"expected kernel (*sides, in, out) and bias (out,) of each of its layers, got {first} and so on"


def _first_difference(arrays: Sequence[StoredArray], wanted: Sizes) -> str:
    found = difference(wanted, [array.shape for array in arrays])
    assert found is not None  # otherwise they would have been accepted
    place, sentence = found
    return f"{arrays[place].name}, {sentence}" if place < len(arrays) else sentence


def _activation(config: KerasConfig, stated: str | None, sizes: Sizes) -> tuple[Activation, str | None]:
    named = stated or (config.activation if sizes.dims == 2 else "model-code")
    if named is None:
        raise InvalidKerasFile(
            "expected the activation, which the weights do not contain: state it in the configuration or "
            "with --activation; weights of the original repository, whose configuration has none, want "
            "model-code"
        )
    inner = inner_activation(named)
    if inner == "identity" and named != "identity":
        return inner, (
            f"activation {named} matches no branch of the published code, which knows leakyrelu and tanh: "
            "so these weights were trained without an inner activation and are imported like that (identity)"
        )
    if sizes.dims == 3 and config.activation and inner_activation(config.activation) != inner:
        return inner, (
            f"activation {config.activation} is ignored: the published 3D code has no such option and "
            "always uses LeakyReLU"
        )
    return inner, None


def _normalisation_remark(config: KerasConfig) -> str | None:
    if config.normalization_type == "instance":
        return None
    return (
        f"normalization_type {config.normalization_type}: these weights were trained on images divided by a "
        "common maximum, but the server divides each image by its own"
    )


def _to_torch(values: NDArray[np.float32]) -> Tensor:
    """Return a kernel (*sides, in, out) as (out, in, *sides); a bias is unchanged."""
    turned = values if values.ndim == 1 else np.moveaxis(values, (-1, -2), (0, 1))
    return torch.from_numpy(np.ascontiguousarray(turned))
