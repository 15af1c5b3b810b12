"""The arithmetic of a network, as PyTorch counts it."""

from pathlib import Path

import pytest
import torch
from shipped import BUNDLE
from torch.utils.flop_counter import FlopCounterMode

from dimstream_models.bundle import read_bundle
from dimstream_models.training.export.onnx_export import Denoiser, export_onnx
from dimstream_models.training.network import UNetRCAN
from dimstream_models.training.normalisation import build_normaliser
from dimstream_models.training.settings import NormalisationSettings
from dimstream_server.benchmarks.arithmetic import gflop_of, matrix_product
from dimstream_server.benchmarks.errors import BenchmarkError
from dimstream_server.pipeline.device_name import Device


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(1, 1, 64, 72), (1, 1, 16, 8)])
def test_it_is_what_pytorch_counts(shape: tuple[int, ...], tmp_path: Path) -> None:
    network = UNetRCAN(filters=(4, 8, 16), filters_cab=2, num_rg=1, num_cab=2, kernel=3).eval()
    denoiser = Denoiser(network, build_normaliser(NormalisationSettings()))
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        denoiser(torch.ones(shape))
    assert gflop_of(export_onnx(denoiser), shape) == pytest.approx(counter.get_total_flops() / 1e9, rel=1e-9)


def test_the_network_that_ships_takes_19_gflop() -> None:
    assert gflop_of(read_bundle(BUNDLE).onnx, (1, 1, 600, 600)) == pytest.approx(19.164, abs=1e-3)


def test_what_cannot_be_counted_is_refused() -> None:
    network = UNetRCAN(filters=(4, 8), num_rg=1, num_cab=1, kernel=3).eval()
    content = export_onnx(Denoiser(network, build_normaliser(NormalisationSettings())))
    with pytest.raises(BenchmarkError, match="cannot be counted"):
        gflop_of(content.replace(b"Conv", b"Gemm"), (1, 1, 16, 16))


def test_a_product_of_matrices_tells_its_speed() -> None:
    assert matrix_product(Device(), 32)() > 0
