"""A network's weights in a wider one: it computes the same, and what is new can learn."""

from typing import Any

import pytest
import torch
from shipped import BUNDLE

from dimstream_models.bundle import read_bundle
from dimstream_models.training.errors import CannotLoad
from dimstream_models.training.loading import load_bundle
from dimstream_models.training.network import UNetRCAN, build_network, initialise
from dimstream_models.training.settings import NetworkSettings, NormalisationSettings
from dimstream_models.training.wider_network import widen

SMALL = {"filters": (2, 3), "filters_cab": 2, "num_rg": 1, "num_cab": 1, "kernel": 3}


def network(**changes: Any) -> UNetRCAN:
    made = UNetRCAN(**{**SMALL, **changes})
    initialise(made, "glorot_uniform", torch.Generator().manual_seed(1))
    return made.eval()


@pytest.mark.parametrize("wider", [{"filters": (2, 5)}, {"filters": (4, 6)}, {"filters_cab": 3}, {}])
def test_the_wider_network_computes_the_same(wider: dict[str, Any]) -> None:
    narrow, wide = network(), network(**wider)
    torch.manual_seed(0)
    with torch.no_grad():
        for weight in narrow.parameters():
            weight.normal_(0, 0.3)
    widen(narrow, wide)
    x = torch.rand(2, 1, 16, 24)
    for old, new in zip(narrow(x), wide(x), strict=True):  # sums of float32, in another order
        torch.testing.assert_close(new, old, rtol=1e-4, atol=1e-4)


def test_every_new_weight_can_learn() -> None:
    narrow, wide = network(), network(filters=(4, 6))
    widen(narrow, wide)
    optimiser = torch.optim.SGD(wide.parameters(), lr=0.1)
    for _ in range(3):
        optimiser.zero_grad()
        x = torch.rand(2, 1, 16, 16)
        coarse, fine = wide(x)
        ((coarse - x).square().mean() + (fine - x).square().mean()).backward()
        optimiser.step()
    kernels = [weight.grad for weight in wide.parameters() if weight.ndim > 1]
    assert all(grad is not None and grad.abs().sum() > 0 for grad in kernels)


def test_the_shipped_bundle_begins_a_wider_network() -> None:
    narrow = build_network(NetworkSettings())
    load_bundle(narrow, read_bundle(BUNDLE), NormalisationSettings())
    wide = build_network(NetworkSettings(filters=(8, 24, 48)))
    initialise(wide, "glorot_uniform", torch.Generator().manual_seed(1))
    widen(narrow, wide)
    x = torch.poisson(torch.full((1, 1, 64, 64), 0.5)) / 4
    with torch.no_grad():
        torch.testing.assert_close(wide(x)[1], narrow(x)[1])


@pytest.mark.parametrize("other", [{"filters": (1, 3)}, {"kernel": 5}, {"num_rg": 2}, {"filters": (2, 3, 4)}])
def test_other_layers_and_narrower_ones_are_refused(other: dict[str, Any]) -> None:
    with pytest.raises(CannotLoad):
        widen(network(), network(**other))
