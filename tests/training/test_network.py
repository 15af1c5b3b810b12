"""UNet-RCAN against weights, inputs and outputs of the published Keras code (no TensorFlow needed)."""

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from dimstream_models.training.network import UNetRCAN, initialise

FIXTURES = "17_keras_fixtures"
CASES = [
    ("2d_notebooks_leaky_relu_k3", "identity", "64x64"),
    ("2d_notebooks_leaky_relu_k3", "identity", "72x56"),
    ("2d_notebooks_leakyrelu_k3", "leaky_relu", "64x64"),
    ("2d_notebooks_leakyrelu_k3", "leaky_relu", "72x56"),
    ("2d_notebooks_tanh_k7", "tanh", "64x64"),
    ("2d_notebooks_tanh_k7", "tanh", "72x56"),
    ("2d_model_always-leaky_k3", "leaky_relu", "64x64"),
    ("2d_model_always-leaky_k3", "leaky_relu", "72x56"),
    ("2d_notebooks_leakyrelu_k3_secondinstance", "leaky_relu", "64x64"),
    ("3d_k3", "leaky_relu", "32x24x8"),
]


def keras_weights(path: Path) -> list[np.ndarray]:
    """Every array of a Keras 2 weight file in its own order, kernels turned to torch's layout."""
    with h5py.File(path) as file:
        arrays = [
            file[group][name][()]
            for group in file.attrs["layer_names"]
            for name in file[group].attrs["weight_names"]
        ]
    return [np.moveaxis(a, (-1, -2), (0, 1)) if a.ndim > 1 else a for a in arrays]


@pytest.mark.parametrize(("tag", "activation", "size"), CASES)
def test_both_outputs_equal_the_published_code(shared: Path, tag: str, activation: str, size: str) -> None:
    folder = shared / FIXTURES
    config = json.loads((folder / f"{tag}.json").read_text())
    dims = 3 if tag.startswith("3d") else 2
    network = UNetRCAN(
        filters=config["filters"],
        filters_cab=config["filters_cab"],
        num_rg=config["num_RG"],
        num_cab=config["num_cab"],
        kernel=config.get("kernel", 3),
        activation=activation,
        dims=dims,
    ).eval()
    parameters = list(network.parameters())
    weights = keras_weights(folder / f"{tag}.h5")
    assert [tuple(p.shape) for p in parameters] == [w.shape for w in weights]
    with torch.no_grad():
        for parameter, weight in zip(parameters, weights, strict=True):
            parameter.copy_(torch.from_numpy(weight.copy()))
        prefix = "x3d" if dims == 3 else "x"
        x = np.moveaxis(np.load(folder / f"{prefix}_{size}.npy"), -1, 1)
        outputs = network(torch.from_numpy(x.copy()))
    for name, output in zip(("unet", "rcan"), outputs, strict=True):
        expected = np.moveaxis(np.load(folder / f"{tag}_out_{name}_{size}.npy"), -1, 1)
        assert np.abs(output.numpy() - expected).max() <= 1e-4 * np.abs(expected).max()


def test_the_u_net_sorts_its_widths_and_the_rcan_takes_the_first() -> None:
    network = UNetRCAN(filters=(8, 2, 4), num_rg=1, num_cab=1, kernel=3)
    assert [block.conv1.out_channels for block in network.unet.encoder] == [2, 4, 8]
    assert network.rcan.first.out_channels == 8
    assert network.step == 8


def test_dropout_works_in_training_alone() -> None:
    network = UNetRCAN(filters=(4, 8), num_rg=1, num_cab=1, kernel=3, dropout=0.5)
    x = torch.rand(1, 1, 8, 8)
    assert not torch.equal(network.train()(x)[1], network.train()(x)[1])
    assert torch.equal(network.eval()(x)[1], network.eval()(x)[1])


def test_kernels_begin_as_keras_draws_them() -> None:
    convolution = torch.nn.Conv2d(16, 32, 5)
    fan_in, fan_out = 16 * 25, 32 * 25
    for initializer, bound in {
        "glorot_uniform": np.sqrt(6 / (fan_in + fan_out)),
        "lecun_uniform": np.sqrt(3 / fan_in),
    }.items():
        initialise(convolution, initializer, torch.Generator().manual_seed(0))
        drawn = convolution.weight.detach().numpy()
        assert 0.999 * bound < np.abs(drawn).max() <= bound
        assert drawn.std() == pytest.approx(bound / np.sqrt(3), rel=0.02)
    initialise(convolution, "orthogonal", torch.Generator().manual_seed(0))
    rows = convolution.weight.detach().numpy().reshape(32, -1)
    np.testing.assert_allclose(rows @ rows.T, np.eye(32), atol=1e-5)


def test_initialisation_is_seeded_and_zeroes_biases() -> None:
    first, second = (UNetRCAN(filters=(4, 8), num_rg=1, num_cab=1, kernel=3) for _ in range(2))
    for network in (first, second):
        initialise(network, "glorot_uniform", torch.Generator().manual_seed(7))
    for (name, a), b in zip(first.named_parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b)
        assert not name.endswith("bias") or not a.any()
