"""Writes weight files as Keras 2 and Keras 3 do, from rules of their layout: independent of the reader.

Layers are named as in our torch network. Names and orders inside the files are built from the order in
which the published code constructs its layers; the tests compare them with the layouts that it wrote.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

Layers = dict[str, tuple[np.ndarray, np.ndarray]]
"""Layer of the torch network to its Keras kernel (*sides, in, out) and bias (out,)."""

BLOCK = ("conv1", "conv2", "shortcut")
CAB = ("conv1", "conv2", "squeeze", "excite")
KERAS3 = {"shortcut": "ident", "squeeze": "cab_conv", "excite": "conv_cab"}


@dataclass(frozen=True)
class Published:
    """Sizes of a network of the published code."""

    filters: tuple[int, ...] = (4, 8, 16)
    filters_cab: int = 2
    num_rg: int = 2
    num_cab: int = 2
    kernel: int = 3
    dims: int = 2
    models_before: int = 0
    """Built by the same process: names count on."""

    @property
    def config(self) -> dict[str, object]:
        return {
            "filters": list(self.filters),
            "filters_cab": self.filters_cab,
            "num_RG": self.num_rg,
            "num_cab": self.num_cab,
            "kernel": self.kernel,
            "dropout": 0.2,
            "activation": "leakyrelu",
        }

    def constructed(self) -> dict[str, tuple[int, int, int]]:
        """Layer to (side, in, out), in the order in which the published code constructs them."""
        widths, k, made = sorted(self.filters), self.kernel, {}

        def block(name: str, i: int, o: int, side: int = k) -> None:
            sizes = ((side, i, o), (side, o, o), (1, i, o))
            made.update({f"{name}.{part}": size for part, size in zip(BLOCK, sizes, strict=True)})

        def cab(name: str, f: int) -> None:
            sizes = ((k, f, f), (k, f, f), (1, f, self.filters_cab), (1, self.filters_cab, f))
            made.update({f"{name}.{part}": size for part, size in zip(CAB, sizes, strict=True)})

        for level, width in enumerate(widths):
            block(f"unet.encoder.{level}", 1 if level == 0 else widths[level - 1], width)
        block("unet.bridge.0", widths[-1], 2 * widths[-1])
        block("unet.bridge.1", 2 * widths[-1], 2 * widths[-1])
        block("unet.last", widths[0], 1, 1)
        below = 2 * widths[-1]
        for level, width in enumerate(widths[::-1]):
            block(f"unet.decoder.{level}", below + width, width)
            cab(f"unet.skips.{level}", width)
            below = width
        width = self.filters[0]
        made["rcan.fuse"] = (k, width, width)
        for group in range(self.num_rg):
            for number in range(self.num_cab):
                cab(f"rcan.groups.{group}.cabs.{number}", width)
            made[f"rcan.groups.{group}.conv"] = (k, width, width)
        made["rcan.first"] = (k, 2, width)
        made["rcan.last"] = (1, width, 1)
        return made

    def draw(self, seed: int = 0) -> Layers:
        """Random weights, every layer its own."""
        rng = np.random.default_rng(seed)
        return {
            name: (
                rng.normal(0, 0.3, (*[side] * self.dims, i, o)).astype(np.float32),
                rng.normal(0, 0.1, o).astype(np.float32),
            )
            for name, (side, i, o) in self.constructed().items()
        }

    def listed(self) -> Iterator[tuple[str, str]]:
        """Layer and its Keras 2 path, in the order of `weight_names`."""
        paths = self._paths()
        orders = ("unet.encoder", "unet.decoder", "unet.skips", "unet.bridge", "unet.last", "rcan.groups")
        for prefix in (*orders, "rcan.fuse", "rcan.first", "rcan.last"):
            yield from ((layer, path) for layer, path in paths.items() if layer.startswith(prefix))

    def _paths(self) -> dict[str, str]:
        levels, before = len(self.filters), self.models_before
        blocks, cabs = 2 * levels + 3, levels + self.num_rg * self.num_cab
        convolutions = len(self.constructed())
        unet = f"{_named('u_net_rcan', before)}/{_named('u_net', before)}"
        rcan = f"{_named('u_net_rcan', before)}/{_named('rcan', before)}"
        place = {"encoder": 0, "bridge": levels, "last": levels + 2, "decoder": levels + 3}
        paths = {}
        for number, layer in enumerate(self.constructed()):
            conv = _named(f"conv{self.dims}d", before * convolutions + number)
            half, kind, *rest = layer.split(".")
            index = int(rest[0]) if rest and rest[0].isdecimal() else 0
            if kind == "skips":
                parent = f"{unet}/{_named('cab', before * cabs + index)}"
            elif half == "unet":
                parent = f"{unet}/{_named('cnn_block', before * blocks + place[kind] + index)}"
            elif kind == "groups":
                parent = f"{rcan}/{_named('rir', before)}/{_named('rg', before * self.num_rg + index)}"
                if "cabs" in rest:
                    cab = before * cabs + levels + index * self.num_cab + int(rest[2])
                    parent += f"/{_named('cab', cab)}"
            else:
                parent = f"{rcan}/{_named('rir', before)}" if kind == "fuse" else rcan
            paths[layer] = f"{parent}/{conv}"
        return paths

    def tree(self) -> dict[str, str]:
        """Layer to its path in a Keras 3 tree."""
        return {layer: self._leaf(layer) for layer in self.constructed()}

    def _leaf(self, layer: str) -> str:
        half, kind, *rest = layer.split(".")
        if half == "rcan":
            if kind != "groups":
                return {"fuse": "rcan/rir/conv", "first": "rcan/conv1", "last": "rcan/conv2"}[kind]
            group = f"rcan/rir/RG/{_named('rg', int(rest[0]))}"
            if "cabs" not in rest:
                return f"{group}/conv"
            return f"{group}/cab/{_named('cab', int(rest[2]))}/{KERAS3.get(rest[-1], rest[-1])}"
        leaf = KERAS3.get(rest[-1], rest[-1])
        if kind in ("encoder", "decoder"):
            return f"u_net/{kind}/{_named('cnn_block', int(rest[0]))}/{leaf}"
        if kind == "skips":
            return f"u_net/cab/{_named('cab', int(rest[0]))}/{leaf}"
        return f"u_net/cnn_last/{leaf}" if kind == "last" else f"u_net/bridge{int(rest[0]) + 1}/{leaf}"


HEADER_LIMIT = 64512
"""Bytes of an attribute that Keras 2 writes in one piece."""


def write_keras2(
    path: Path, network: Published, layers: Layers, *, root: str = "/", limit: int = HEADER_LIMIT
) -> None:
    """As `model.save_weights('x.h5')`; `root` "model_weights": as a whole model."""
    with h5py.File(path, "w") as file:
        top = file.require_group(root)
        groups: dict[str, dict[str, np.ndarray]] = {}
        for layer, name in network.listed():
            arrays = zip(("kernel:0", "bias:0"), layers[layer], strict=True)
            groups.setdefault(name.split("/")[1], {}).update((f"{name}/{kind}", a) for kind, a in arrays)
        save_names(top, "layer_names", list(groups), limit)
        top.attrs.update({"backend": "tensorflow", "keras_version": "2.12.0"})
        for group, arrays in {**groups, "top_level_model_weights": {}}.items():
            save_names(top.create_group(group), "weight_names", list(arrays), limit)
            for name, values in arrays.items():
                top[group][name] = values


def save_names(group: h5py.Group, attribute: str, names: list[str], limit: int = HEADER_LIMIT) -> None:
    """As Keras 2: a list beyond the size of an HDF5 header is cut into numbered parts."""
    encoded = np.asarray([name.encode() for name in names])
    parts = 1
    while any(part.nbytes > limit for part in np.array_split(encoded, parts)):
        parts += 1
    if parts == 1:
        group.attrs[attribute] = encoded
    for number, part in enumerate(np.array_split(encoded, parts) if parts > 1 else ()):
        group.attrs[f"{attribute}{number}"] = part


def write_keras3(path: Path, network: Published, layers: Layers, *, root: str = "layers") -> None:
    """As `model.save_weights('x.weights.h5')`."""
    with h5py.File(path, "w") as file:
        for layer, place in network.tree().items():
            file[f"{root}/{place}/vars/0"], file[f"{root}/{place}/vars/1"] = layers[layer]


def _named(name: str, counter: int) -> str:
    return name if counter == 0 else f"{name}_{counter}"
