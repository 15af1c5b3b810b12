"""The check of an ONNX file against torch: any depth, and networks that amplify rounding."""

import numpy as np
import pytest
import torch

from dimstream_models.training.errors import ParityError
from dimstream_models.training.export.onnx_export import (
    PARITY,
    Denoiser,
    OnnxRunner,
    check_parity,
    export_onnx,
)
from dimstream_models.training.network import UNetRCAN
from dimstream_models.training.normalisation import FixedScale


@pytest.mark.parametrize("levels", [1, 4, 6])
def test_a_network_of_any_depth_is_exported(levels: int) -> None:
    denoiser = Denoiser(small(levels), FixedScale(4.0))
    step = 2**levels
    counts = np.random.default_rng(0).poisson(2, (1, 1, 3 * step, 2 * step)).astype(np.float32)
    with torch.no_grad():
        expected = denoiser(torch.from_numpy(counts)).numpy()
    found = OnnxRunner(export_onnx(denoiser))(counts)
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())


def test_rounding_that_torch_shares_is_no_fault() -> None:
    """A small output as the difference of large numbers: single precision holds three digits of it."""
    denoiser = Denoiser(cancelling(), FixedScale(4.0))
    assert check_parity(denoiser, export_onnx(denoiser)) > PARITY


def test_a_fault_beyond_rounding_is_found() -> None:
    content = export_onnx(Denoiser(cancelling(), FixedScale(4.0)))
    with pytest.raises(ParityError, match="explains"):
        check_parity(Denoiser(cancelling(), FixedScale(5.0)), content)


def small(levels: int) -> UNetRCAN:
    torch.manual_seed(0)
    filters = range(2, 2 + levels)
    return UNetRCAN(filters=tuple(filters), filters_cab=1, num_rg=1, num_cab=1, kernel=3).eval()


def cancelling() -> UNetRCAN:
    network, large = small(2), 1e4
    with torch.no_grad():
        network.rcan.fuse.bias += large
        network.rcan.last.bias -= large * network.rcan.last.weight.sum()
    return network
