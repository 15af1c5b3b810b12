"""UNet-RCAN by itself; `keras_import/` tests it against the published code's weights and outputs."""

import numpy as np
import pytest
import torch

from dimstream_models.training.network import UNetRCAN, initialise


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
