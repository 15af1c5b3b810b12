"""The writer of weight files that the tests use, against layouts that the published code wrote."""

from pathlib import Path

import h5py
import pytest
from training.keras_import.keras_files import Published, write_keras2, write_keras3

LAYOUTS = {
    "h5_layout_default_2d_k3": Published((64, 128, 256), 4, 3, 8, 3),
    "h5_layout_default_2d_k7": Published((64, 128, 256), 4, 3, 8, 7),
    "2d_notebooks_leakyrelu_k3_firstinstance.layout": Published(),
    "2d_notebooks_leakyrelu_k3_secondinstance.layout": Published(models_before=1),
    "2d_notebooks_tanh_k7.layout": Published((2, 4, 8), kernel=7),
    "3d_k3.layout": Published(dims=3),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_names_shapes_and_order_are_those_of_keras_2(shared: Path, name: str) -> None:
    network, stated = LAYOUTS[name], []
    for line in (shared / "17_keras_fixtures" / f"{name}.txt").read_text().splitlines():
        if line[0].isdecimal():
            _, _, array, *shape, _ = line.split()
            stated.append((array, " ".join(shape)))
    sizes, built = network.constructed(), []
    for layer, path in network.listed():
        side, i, o = sizes[layer]
        built += [(f"{path}/kernel:0", str((*[side] * network.dims, i, o))), (f"{path}/bias:0", f"({o},)")]
    assert built == stated


def test_a_written_file_is_built_like_that_of_keras_2(shared: Path, tmp_path: Path) -> None:
    write_keras2(tmp_path / "own.h5", Published(), Published().draw())
    published = shared / "17_keras_fixtures/2d_notebooks_leakyrelu_k3.h5"
    with h5py.File(published) as theirs, h5py.File(tmp_path / "own.h5") as ours:
        assert tree(ours) == tree(theirs)
        assert list(ours.attrs["layer_names"]) == [name.encode() for name in theirs.attrs["layer_names"]]


def test_a_written_tree_is_that_of_keras_3(shared: Path, tmp_path: Path) -> None:
    write_keras3(tmp_path / "own.weights.h5", Published(), Published().draw())
    published = shared / "17_keras_fixtures/2d_keras3_leakyrelu_k3.weights.h5"
    with h5py.File(published) as theirs, h5py.File(tmp_path / "own.weights.h5") as ours:
        assert tree(ours) == tree(theirs)


def tree(file: h5py.File) -> dict[str, tuple[int, ...]]:
    found: dict[str, tuple[int, ...]] = {}
    file.visititems(lambda name, item: found.update({name: item.shape} if hasattr(item, "shape") else {}))
    return found
