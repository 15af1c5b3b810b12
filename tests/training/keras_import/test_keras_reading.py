"""Weights of the published code: both outputs of each fixture, other sizes, other ways of saving."""

import json
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from training.keras_import.keras_files import Layers, Published, write_keras2, write_keras3

from dimstream_models.training.keras_import import KerasConfig, read_keras_config, read_keras_weights
from dimstream_models.training.network import UNetRCAN

FIXTURES = "17_keras_fixtures"
CASES = [  # weights, configuration and outputs, inner activation, sizes
    ("2d_notebooks_leaky_relu_k3.h5", "2d_notebooks_leaky_relu_k3", "identity", ("64x64", "72x56")),
    ("2d_notebooks_leakyrelu_k3.h5", "2d_notebooks_leakyrelu_k3", "leaky_relu", ("64x64", "72x56")),
    ("2d_notebooks_tanh_k7.h5", "2d_notebooks_tanh_k7", "tanh", ("64x64", "72x56")),
    ("2d_model_always-leaky_k3.h5", "2d_model_always-leaky_k3", "leaky_relu", ("64x64", "72x56")),
    *(
        (f"2d_notebooks_leakyrelu_k3_{which}instance.h5", "2d_notebooks_leakyrelu_k3_secondinstance", a, s)
        for which in ("first", "second")
        for a, s in [("leaky_relu", ("64x64",))]
    ),
    ("2d_keras3_leakyrelu_k3.weights.h5", "2d_keras3_leakyrelu_k3", "leaky_relu", ("64x64",)),
    ("3d_k3.h5", "3d_k3", "leaky_relu", ("32x24x8",)),
]


@pytest.mark.parametrize(("weights", "tag", "activation", "sizes"), CASES, ids=[case[0] for case in CASES])
def test_both_outputs_equal_the_published_code(
    shared: Path, weights: str, tag: str, activation: str, sizes: tuple[str, ...]
) -> None:
    folder = shared / FIXTURES
    read = read_keras_weights(folder / weights, read_keras_config(folder / f"{tag}.json"))
    assert read.activation == activation
    for size in sizes:
        x = np.load(folder / f"{'x3d' if read.sizes.dims == 3 else 'x'}_{size}.npy")
        outputs = read.network(torch.from_numpy(np.moveaxis(x, -1, 1).copy()))
        for name, output in zip(("unet", "rcan"), outputs, strict=True):
            expected = np.moveaxis(np.load(folder / f"{tag}_out_{name}_{size}.npy"), -1, 1)
            assert np.abs(output.numpy() - expected).max() <= 1e-4 * np.abs(expected).max()


NETWORKS = {
    "one level, one block": Published((3,), 1, 1, 1),
    "two levels": Published((6, 12), 3, 1, 2),
    "four levels": Published((2, 3, 4, 6), 2, 1, 1),
    "the RCAN's width from the middle": Published((8, 2, 4), 2, 2, 1),
    "the RCAN's width from the end": Published((4, 2), 1, 3, 1),
    "equal widths": Published((4, 4, 6), 2, 1, 2),
    "channel attention without a squeeze": Published((3, 5), 3, 2, 2),
    "channel attention wider than its input": Published((2, 3), 7, 2, 2),
    "kernel 1": Published((4, 6), 2, 2, 3, kernel=1),
    "kernel 1, channel attention without a squeeze": Published((4, 6), 4, 2, 3, kernel=1),
    "kernel 5": Published((2, 3), 1, 1, 1, kernel=5),
    "kernel 9": Published((2, 3), 1, 1, 1, kernel=9),
    "lists beyond ten": Published((2, 3), 1, 12, 11),
    "the twelfth model of its process": Published((2, 3), 1, 2, 2, models_before=11),
    "volumes": Published((2, 4), 1, 2, 1, dims=3),
}


@pytest.mark.parametrize("write", [write_keras2, write_keras3])
@pytest.mark.parametrize(
    "name",
    [pytest.param(each, marks=[pytest.mark.slow] if "beyond ten" in each else []) for each in NETWORKS],
)
def test_every_layer_gets_its_own_weights(
    tmp_path: Path, name: str, write: Callable[[Path, Published, Layers], None]
) -> None:
    network, layers = NETWORKS[name], NETWORKS[name].draw()
    write(tmp_path / "w.h5", network, layers)
    read = read_keras_weights(tmp_path / "w.h5", KerasConfig.model_validate(network.config))
    assert read.sizes.dims == network.dims
    assert (read.sizes.num_rg, read.sizes.num_cab) == (network.num_rg, network.num_cab)
    check(read.network, layers)
    with torch.no_grad():
        read.network(torch.rand(1, 1, *[2 ** len(network.filters)] * network.dims))


def test_sizes_follow_from_the_weights_alone(tmp_path: Path) -> None:
    network = Published((8, 2, 4), 3, 3, 2, kernel=5)
    write_keras2(tmp_path / "w.h5", network, network.draw())
    read = read_keras_weights(tmp_path / "w.h5", KerasConfig(activation="tanh"))
    assert read.sizes.filters[0] == 8
    assert (read.sizes.filters_cab, read.sizes.kernel) == (3, 5)


def test_a_whole_model_is_read_like_its_weights(tmp_path: Path) -> None:
    network, layers = Published(), Published().draw()
    write_keras2(tmp_path / "model.h5", network, layers, root="model_weights")
    with h5py.File(tmp_path / "model.h5", "a") as file:
        file["optimizer_weights/adam/m/kernel:0"] = np.zeros((3, 3))
        names = [*file["model_weights"].attrs["layer_names"]]
        file["model_weights"].create_group("input_1").attrs["weight_names"] = np.zeros(0, "S1")
        file["model_weights"].attrs["layer_names"] = [b"input_1", *names]
    check(read_keras_weights(tmp_path / "model.h5", config(network)).network, layers)


def test_a_network_wrapped_in_another_model_is_read(tmp_path: Path) -> None:
    network, layers = Published(), Published().draw()
    write_keras3(tmp_path / "w.weights.h5", network, layers, root="layers/u_net_rcan_1")
    check(read_keras_weights(tmp_path / "w.weights.h5", config(network)).network, layers)


def test_names_cut_into_parts_are_read(tmp_path: Path) -> None:
    network, layers = Published(), Published().draw()
    write_keras2(tmp_path / "w.h5", network, layers, limit=1000)
    with h5py.File(tmp_path / "w.h5") as file:
        assert {"weight_names0", "weight_names1"} <= set(file["rcan"].attrs)
    check(read_keras_weights(tmp_path / "w.h5", config(network)).network, layers)


def test_state_of_the_training_in_keras_3_is_left_aside(tmp_path: Path) -> None:
    network, layers = Published(), Published().draw()
    write_keras3(tmp_path / "w.weights.h5", network, layers)
    with h5py.File(tmp_path / "w.weights.h5", "a") as file:
        for number in range(5):
            file[f"optimizer/vars/{number}"] = np.zeros((3, 3, 1, 4), np.float32)
        file["layers/u_net/dropout/seed_generator/vars/0"] = np.zeros(2, np.uint32)
        file["_loss_tracker/vars/0"] = file["_loss_tracker/vars/1"] = np.float32(0.5)
    check(read_keras_weights(tmp_path / "w.weights.h5", config(network)).network, layers)


def test_names_joined_as_on_windows_are_read(tmp_path: Path) -> None:
    network, layers = Published(), Published().draw()
    with h5py.File(tmp_path / "w.weights.h5", "w") as file:
        for layer, place in network.tree().items():
            group = file.create_group("layers\\" + place.replace("/", "\\"))
            group["vars/0"], group["vars/1"] = layers[layer]
    check(read_keras_weights(tmp_path / "w.weights.h5", config(network)).network, layers)


@pytest.mark.parametrize("counted", ["u_net", "rcan", "cnn_block", "cab", "rg"])
def test_counters_in_a_keras_3_tree_do_not_matter(tmp_path: Path, counted: str) -> None:
    network, layers = Published((2, 3), 1, 3, 3), Published((2, 3), 1, 3, 3).draw()
    tree = network.tree()
    with h5py.File(tmp_path / "w.weights.h5", "w") as file:
        for layer, place in tree.items():
            parts = [later(part, counted) for part in place.split("/")]
            for number, values in enumerate(layers[layer]):
                file["/".join(("layers", *parts, "vars", str(number)))] = values
    check(read_keras_weights(tmp_path / "w.weights.h5", config(network)).network, layers)


def test_half_and_double_precision_are_read(tmp_path: Path) -> None:
    network = Published((2,), 1, 1, 1)
    layers = {name: (k.astype(np.float16), b.astype(np.float64)) for name, (k, b) in network.draw().items()}
    write_keras2(tmp_path / "w.h5", network, layers)
    check(read_keras_weights(tmp_path / "w.h5", config(network)).network, layers)


def later(part: str, counted: str) -> str:
    """The name as a process gives it that has built nine of the kind before: cab_9, cab_10, ..."""
    if part != counted and not (part.startswith(f"{counted}_") and part[len(counted) + 1 :].isdecimal()):
        return part
    return f"{counted}_{9 + int(part[len(counted) + 1 :] or 0)}"


def config(network: Published) -> KerasConfig:
    return KerasConfig.model_validate(json.loads(json.dumps(network.config)))


def check(network: UNetRCAN, layers: Layers) -> None:
    """Every layer holds its own kernel, as (out, in, *sides), and bias, and there is no other."""
    assert len(list(network.parameters())) == 2 * len(layers)
    for name, (kernel, bias) in layers.items():
        turned = np.moveaxis(kernel, (-1, -2), (0, 1)).astype(np.float32)
        np.testing.assert_array_equal(network.get_parameter(f"{name}.weight").numpy(), turned)
        np.testing.assert_array_equal(network.get_parameter(f"{name}.bias").numpy(), bias)
