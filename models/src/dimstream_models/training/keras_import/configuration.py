"""The published configuration file: its settings of the network, and their meaning for the weights.

The sizes of the network are derived from the shapes of its arrays.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dimstream_models.bundle import InvalidBundle
from dimstream_models.bundle.yaml_text import MAX_YAML_BYTES, parse
from dimstream_models.training.errors import InvalidKerasFile
from dimstream_models.training.network import UNetRCAN
from dimstream_models.training.settings import Activation

Shape = tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """All sizes on which the shapes of a weight file's arrays depend."""

    filters: tuple[int, ...]
    """Widths of the U-Net, which sorts them; the first is that of the RCAN."""
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
        """Return each array's name in the network and its shape in Keras; kernels are (*sides, in, out)."""
        parameters = self.build("identity", 0.0).named_parameters()
        return [(name, _keras_shape(tuple(parameter.shape))) for name, parameter in parameters]


def sizes_of(shapes: Sequence[Shape]) -> Sizes | None:
    """Return the sizes of the network whose arrays have these shapes; None if no UNet-RCAN has them.

    Parameters
    ----------
    shapes : sequence of tuple of int
        Alternating shapes of kernels (*sides, in, out) and biases (out,), in the published network's order.
    """
    try:
        sizes = _guess(shapes[::2])
    except (IndexError, ValueError):
        return None
    return sizes if difference(sizes, shapes) is None else None


def difference(sizes: Sizes, shapes: Sequence[Shape]) -> tuple[int, str] | None:
    """Return where and how `shapes` first differ from those of a network of these sizes; None if nowhere."""
    arrays = sizes.arrays()
    for place, ((name, expected), shape) in enumerate(zip(arrays, shapes, strict=False)):
        if shape != expected:
            return place, f"which should be {name}: expected {expected}, got {shape}"
    if len(shapes) != len(arrays):
        return len(shapes), f"expected {len(arrays)} arrays, got {len(shapes)}"
    return None


def _guess(kernels: Sequence[Shape]) -> Sizes:
    """Return each size from its first array; the caller checks whether all shapes agree."""
    if len(kernels[0]) not in (4, 5) or not all(map(all, kernels)):
        raise ValueError("kernels have two or three sides, and nothing in them is zero")
    widths = _widths(kernels)
    unet = 10 * len(widths) + 9  # kernels: 6 per level in encoder and decoder, 4 in its CAB, 3 blocks of 3
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
    """Return the widths of the encoder, from the input widths of its blocks; the decoder's include skips."""
    widths: list[int] = []
    while kernels[3 * len(widths)][-2] == (widths or [1])[-1]:
        widths.append(kernels[3 * len(widths)][-1])
    return widths


def _keras_shape(shape: Shape) -> Shape:
    return shape if len(shape) == 1 else (*shape[2:], shape[1], shape[0])


Width = Annotated[int, Field(ge=1, le=4096)]
Count = Annotated[int, Field(ge=1, le=64)]

ACTIVATIONS: dict[str, Activation] = {
    "leaky_relu": "identity",
    "leakyrelu": "leaky_relu",
    "tanh": "tanh",
    "identity": "identity",
    "model-code": "leaky_relu",
}
"""Activation of the published code for each name in its configuration. `model-code` means the original
repository's model files, which have no such option and always use LeakyReLU."""

SIZE_KEYS = {
    "filters": "filters",
    "filters_cab": "filters_cab",
    "num_RG": "num_rg",
    "num_cab": "num_cab",
    "kernel": "kernel",
}
"""From the configuration's names of sizes to those of `Sizes`."""


class KerasConfig(BaseModel):
    """Section `model` of the published configuration; the keys of its training are ignored.

    Sizes may be left out, because the weights determine them. Stated sizes are compared with the weights.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    filters: Annotated[tuple[Width, ...], Field(min_length=1, max_length=8)] | None = None
    """Widths of the U-Net's levels; the first as written is the RCAN's."""
    filters_cab: Width | None = None
    num_rg: Count | None = Field(None, alias="num_RG")
    num_cab: Count | None = None
    kernel: Annotated[int, Field(ge=1, le=31)] | None = None
    dropout: float = Field(0.2, ge=0, lt=1)
    activation: str | None = None
    """Its name in the published code; None: not stated."""
    normalization_type: str = "instance"
    """Section `data`: division by each image's own maximum (`instance`), or by that of the data set."""
    normalization_range: tuple[Literal[0], Literal[1]] = (0, 1)
    """Section `data`: only this range is a division by the maximum, as in the bundle's graph."""

    @property
    def stated_sizes(self) -> dict[str, Any]:
        """The stated sizes, by the names of `Sizes`."""
        stated = {name: getattr(self, name) for name in SIZE_KEYS.values()}
        return {name: size for name, size in stated.items() if size is not None}

    def contradictions(self, found: Sizes) -> list[str]:
        """Return the differences between configuration and weights, one sentence each."""
        stated = self.stated_sizes
        return [
            f"{key} is {_plain(stated[name])} in the configuration and {_plain(has)} in the weights"
            for key, name in SIZE_KEYS.items()
            if name in stated and _comparable(stated[name]) != _comparable(has := getattr(found, name))
        ]


def read_keras_config(path: Path) -> KerasConfig:
    """Return the configuration in a YAML (.yml, .yaml) or JSON (.json) file.

    Parameters
    ----------
    path : Path
        The published file, with sections `model` and `data`, or a flat mapping of the keys of `model`.

    Raises
    ------
    InvalidKerasFile
        When there is no such file, it is larger than 256 KiB or not a mapping, a value is out of range, or it
        has no key of the network.
    """
    document = _read_mapping(path)
    section, data = (document.get(name, instead) for name, instead in (("model", document), ("data", {})))
    if not isinstance(section, dict) or not isinstance(data, dict):
        raise InvalidKerasFile(f"{path}: expected mappings under model and data")
    if not {*SIZE_KEYS, "activation"} & set(section):
        raise InvalidKerasFile(
            f"{path} does not configure a network: expected {', '.join(SIZE_KEYS)}, activation, at the top "
            f"level or under model, got {', '.join(map(str, list(section)[:8])) or 'nothing'}"
        )
    normalisation = {key: value for key, value in data.items() if str(key).startswith("normalization_")}
    try:
        return KerasConfig.model_validate({**section, **normalisation})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(map(str, first["loc"]))
        raise InvalidKerasFile(f"{path}: {field}: {first['msg']}, got {first['input']!r}") from error


def inner_activation(named: str) -> Activation:
    """Return the published code's activation for this name, which for most names is the identity."""
    return ACTIVATIONS.get(named, "identity")


def _read_mapping(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_YAML_BYTES + 1)
    except OSError as error:
        raise InvalidKerasFile(f"expected a configuration file at {path}: {error.strerror}") from error
    if len(data) > MAX_YAML_BYTES:
        raise InvalidKerasFile(
            f"{path}: expected a configuration of at most {MAX_YAML_BYTES} bytes, got more"
        )
    if path.suffix.lower() not in (".yml", ".yaml", ".json"):
        raise InvalidKerasFile(
            f"{path}: expected a .yml, .yaml or .json file; write its `model` part as YAML"
        )
    try:
        value = json.loads(data) if path.suffix.lower() == ".json" else parse(data, name=str(path))
    except (ValueError, RecursionError, InvalidBundle) as error:
        raise InvalidKerasFile(f"{path} is not a configuration in YAML or JSON: {error}") from error
    if not isinstance(value, dict):
        raise InvalidKerasFile(f"{path}: expected a mapping, got a {type(value).__name__}")
    return value


def _comparable(value: int | tuple[int, ...]) -> object:
    return (value[0], sorted(value)) if isinstance(value, tuple) else value


def _plain(value: int | tuple[int, ...]) -> object:
    return list(value) if isinstance(value, tuple) else value
