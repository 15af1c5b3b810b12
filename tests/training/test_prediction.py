"""A network as a function on frames: any size, padded with the edge, in torch and from ONNX."""

import io
import warnings

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from dimstream_models.training.errors import NotAvailable
from dimstream_models.training.network import UNetRCAN
from dimstream_models.training.normalisation import FixedScale
from dimstream_models.training.prediction import network_denoiser, onnx_denoiser

SIZES = [(16, 16), (17, 23), (5, 40)]


@pytest.fixture(scope="module")
def network() -> UNetRCAN:
    torch.manual_seed(0)
    return UNetRCAN(filters=(2, 3), filters_cab=2, num_rg=1, num_cab=1, kernel=3, dropout=0.5)


@pytest.mark.parametrize("size", SIZES)
def test_any_size_is_padded_with_its_edge(network: UNetRCAN, size: tuple[int, int]) -> None:
    counts = np.random.default_rng(0).poisson(3.0, size).astype(np.uint16)
    rows, columns = ([min(i, side - 1) for i in range(-(-side // 4) * 4)] for side in size)
    padded = counts[np.ix_(rows, columns)].astype(np.float32)
    with torch.no_grad():
        wanted = network.eval()(torch.from_numpy(padded)[None, None] / 4.0)[1][0, 0].numpy()
    found = network_denoiser(network.train(), FixedScale(4.0))(counts)
    assert found.dtype == np.float32
    assert found == pytest.approx(wanted[: size[0], : size[1]], rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("device", ["a GPU", "meta", "cuda:99"])
def test_a_device_that_is_not_there_is_refused(network: UNetRCAN, device: str) -> None:
    with pytest.raises(NotAvailable, match="expected"):
        network_denoiser(network, FixedScale(4.0), device=device)


class Fine(nn.Module):
    """What is exported: counts in, the fine output out."""

    def __init__(self, network: UNetRCAN) -> None:
        super().__init__()
        self.network = network

    def forward(self, counts: Tensor) -> Tensor:
        return self.network(counts / 4.0)[1]


@pytest.mark.parametrize("size", SIZES)
def test_an_onnx_file_denoises_as_its_network_does(network: UNetRCAN, size: tuple[int, int]) -> None:
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            Fine(network).eval(),
            (torch.zeros(1, 1, 16, 16),),
            buffer,
            opset_version=17,
            input_names=["counts"],
            output_names=["prediction"],
            dynamic_axes={name: {2: "y", 3: "x"} for name in ("counts", "prediction")},
            dynamo=False,
        )
    counts = np.random.default_rng(0).poisson(3.0, size).astype(np.uint16)
    found = onnx_denoiser(buffer.getvalue(), step=4, min_side=4)(counts)
    wanted = network_denoiser(network, FixedScale(4.0))(counts)
    assert found == pytest.approx(wanted, abs=1e-5 * float(np.abs(wanted).max()))
