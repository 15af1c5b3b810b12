"""The arrays of a Keras weight file, in the order of the published network's layers.

Keras 2 lists its arrays in attributes (`layer_names`, `weight_names`). Keras 3 has a tree of groups whose
leaves are `vars/0` (kernel) and `vars/1` (bias). Names contain counters that depend on the number of models
that the process had built, and their order as text differs from that as numbers. So only the order of arrays
is used. Nothing is read from the file before its links were checked to stay inside it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count, takewhile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from dimstream_models.training.errors import InvalidKerasFile

MAX_LINKS = 50_000
"""Most groups and arrays in a file; the published network has 282 arrays."""

H5_FAILURES = (OSError, RuntimeError, LookupError, ValueError, TypeError, AttributeError, SystemError)
"""Errors of h5py for a damaged file; SystemError if a name is not text."""

ORDER = (
    *("u_net", "rcan", "encoder", "decoder", "cab", "bridge1", "bridge2", "cnn_last"),
    *("rir", "RG", "rg", "cnn_block", "conv1", "conv2", "ident", "cab_conv", "conv_cab", "conv"),
)
"""Names in a Keras 3 tree, without counters, in the order in which Keras 2 lists siblings."""


@dataclass(frozen=True)
class StoredArray:
    """One array of the file, not yet read."""

    name: str
    """Its path in the file."""
    shape: tuple[int, ...]
    dataset: h5py.Dataset = field(repr=False)

    def read(self) -> NDArray[np.float32]:
        """Return its values: kernels (H, W, I, O), or biases (O,), without unit.

        Raises
        ------
        InvalidKerasFile
            When they cannot be read, or are not finite numbers.
        """
        with _translated(self.name), np.errstate(over="ignore"):
            self._check_kind()
            values = np.asarray(self.dataset[()], dtype=np.float32)
        if not np.isfinite(values).all():
            raise InvalidKerasFile(
                f"{self.name} holds values that are not finite: the training diverged; take an earlier file"
            )
        return values

    def _check_kind(self) -> None:
        if self.dataset.is_virtual or self.dataset.external:
            raise InvalidKerasFile(
                f"{self.name}: expected values inside the file, got a reference to another"
            )
        if self.dataset.dtype.kind != "f":
            raise InvalidKerasFile(f"{self.name}: expected floating-point values, got {self.dataset.dtype}")
        if not self.dataset.id.get_storage_size():
            raise InvalidKerasFile(f"{self.name}: expected values, but none were written")


@contextmanager
def open_weight_file(path: Path) -> Iterator[tuple[StoredArray, ...]]:
    """Yield the arrays of a weight file: kernel, bias, kernel, bias, in the network's order.

    Raises
    ------
    InvalidKerasFile
        When there is no file, or it is not HDF5, is damaged, refers to other files, or was not written by
        Keras.
    """
    _check_kind(path)
    with _translated(path):
        file = h5py.File(path, "r")
    with file:
        with _translated(path):
            arrays = tuple(_arrays(file, _links(file, path), path))
        yield arrays


@contextmanager
def _translated(what: Path | str) -> Iterator[None]:
    try:
        yield
    except H5_FAILURES as error:
        raise InvalidKerasFile(
            f"{what} cannot be read: expected a complete HDF5 file, got: {error}; copy it again"
        ) from error


def _check_kind(path: Path) -> None:
    wanted = "expected an HDF5 file, as written by model.save_weights('weights.h5')"
    if path.is_dir():
        raise InvalidKerasFile(f"{path} is a folder, such as a SavedModel: {wanted}")
    if not path.is_file():
        raise InvalidKerasFile(f"{path} is not a file: {wanted}")
    try:
        with path.open("rb") as file:
            start = file.read(4)
    except OSError as error:
        raise InvalidKerasFile(f"{path} cannot be opened: {error.strerror}") from error
    if start == b"PK\x03\x04":
        raise InvalidKerasFile(
            f"{path} is a zip, such as model.keras: unpack it and give its model.weights.h5"
        )
    if not h5py.is_hdf5(os.fspath(path)):
        raise InvalidKerasFile(f"{path} is not an HDF5 file: {wanted}")


def _links(file: h5py.File, path: Path) -> list[str]:
    """Return the path of everything in the file; refuse links to other files, and trees that are too
    large."""
    names: list[str] = []

    def take(name: str) -> bool | None:
        names.append(name)
        return len(names) > MAX_LINKS or None  # any value except None ends the walk

    file.visit_links(take)
    if len(names) > MAX_LINKS:
        raise InvalidKerasFile(f"{path}: expected at most {MAX_LINKS} groups and arrays, got more")
    for name in names:
        if not isinstance(file.get(name, getlink=True), h5py.HardLink):
            raise InvalidKerasFile(
                f"{path}: {name} is a link to another place or file; expected the group or array itself"
            )
    return names


def _arrays(file: h5py.File, names: list[str], path: Path) -> list[StoredArray]:
    root = file["model_weights"] if "layer_names" not in file.attrs and "model_weights" in file else file
    if "layer_names" in root.attrs or "layer_names0" in root.attrs:
        return _keras2(root)
    if arrays := _keras3(file, names):
        return arrays
    raise InvalidKerasFile(
        f"{path} does not hold Keras weights: expected the attribute layer_names (Keras 2) or a tree that "
        "ends in"
        f" vars/0, vars/1 (Keras 3), got {sorted(file)[:8] or 'nothing'}"
        + ("; it holds only the optimiser's state" if "optimizer_weights" in file else "")
    )


def _keras2(root: h5py.Group) -> list[StoredArray]:
    return [
        _stored(root[layer], name)
        for layer in _names(root, "layer_names")
        for name in _names(root[layer], "weight_names")
    ]


def _names(group: h5py.Group, attribute: str) -> list[str]:
    """Return the names in an attribute, which Keras divides into `attribute0`, `attribute1`, ... if it is
    long."""
    numbered = (f"{attribute}{number}" for number in count())
    parts = [attribute] if attribute in group.attrs else list(takewhile(group.attrs.__contains__, numbered))
    if not parts:
        raise InvalidKerasFile(f"{group.name}: expected the attribute {attribute}, which Keras writes")
    names = [name for part in parts for name in np.atleast_1d(group.attrs[part])]
    return [name.decode() if isinstance(name, bytes) else str(name) for name in names]


def _stored(group: h5py.Group, name: str) -> StoredArray:
    found: Any = group[name]
    if not isinstance(found, h5py.Dataset) or found.shape is None:
        raise InvalidKerasFile(f"{group.name}/{name}: expected an array, got {type(found).__name__}")
    return StoredArray(found.name.strip("/"), tuple(found.shape), found)


def _keras3(file: h5py.File, names: list[str]) -> list[StoredArray]:
    layers = {}
    for name in names:
        *parents, last = name.replace("\\", "/").split("/")  # early Keras on Windows joins them like this
        if last == "vars" and parents[:1] != ["optimizer"] and isinstance(group := file[name], h5py.Group):
            arrays = [_stored(group, number) for number in sorted(group, key=int)]
            if any(array.shape and array.dataset.dtype.kind == "f" for array in arrays):
                layers[tuple(parents)] = arrays  # otherwise it is a metric, or a random state
    same = takewhile(lambda parts: len(set(parts)) == 1, zip(*layers, strict=False))
    shared = sum(1 for _ in same)
    return [array for path in sorted(layers, key=lambda p: _rank(p[shared:])) for array in layers[path]]


def _rank(path: tuple[str, ...]) -> list[tuple[int, int]]:
    ranks = []
    for part in path:
        name, counter = _counted(part)
        if name not in ORDER:
            raise InvalidKerasFile(f"{'/'.join(path)}: expected layers of the published network, got {part}")
        ranks.append((ORDER.index(name), counter))
    return ranks


def _counted(name: str) -> tuple[str, int]:
    """Return a name without its counter, and the counter, so that cab_10 comes after cab_2."""
    base, _, counter = name.rpartition("_")
    return (base, int(counter)) if base and counter.isdecimal() else (name, 0)
