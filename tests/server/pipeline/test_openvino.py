"""OpenVINO gives the pixels and measures of ONNX Runtime, and refuses what it cannot."""

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from shipped import BUNDLE

from dimstream_client.quality import Thresholds
from dimstream_models.bundle import Bundle, read_bundle
from dimstream_models.openvino_network import SHAPES, OpenVinoNetwork, what_it_says
from dimstream_models.quality.split_photon_check import halve_photons
from dimstream_server.engine.local_engine import LocalEngine
from dimstream_server.engine.protocol import EngineResult, FrameTask, StreamSpec
from dimstream_server.errors import DeviceUnavailable, UnsupportedNetwork
from dimstream_server.pipeline.comparison import Aligner, SplitCheck
from dimstream_server.pipeline.device_name import Device
from dimstream_server.pipeline.device_probe import probe
from dimstream_server.pipeline.fused_model import FusedModel, FusedOutput
from dimstream_server.pipeline.runner import open_network

BundleMaker = Callable[..., Bundle]
ONNX_RUNTIME, OPENVINO = Device(), Device(runtime="openvino")
THRESHOLDS = Thresholds(0.6)
PARITY = 1e-5  # of the normalised prediction


def _frames(shape: tuple[int, int], dtype: str = "uint16", count: int = 3) -> list[Any]:
    lines = 4 * np.exp(-(((np.arange(shape[1]) % 40) - 20.0) ** 2) / 8) * np.ones(shape)
    return [np.random.default_rng(seed).poisson(lines).astype(dtype) for seed in range(count)]


def _outputs(bundle: Bundle, device: Device, frames: list[Any], **more: Any) -> list[FusedOutput]:
    model = FusedModel(bundle, device=device, in_dtype=str(frames[0].dtype), out_dtype="float32", **more)
    found: list[FusedOutput] = []
    for frame in frames:
        found.append(model.run(frame, found[-1].normalised if found else None, THRESHOLDS))
    return found


def _assert_alike(bundle: Bundle, frames: list[Any], **more: Any) -> None:
    pairs = zip(
        *(_outputs(bundle, device, frames, **more) for device in (ONNX_RUNTIME, OPENVINO)), strict=True
    )
    for onnx_runtime, openvino in pairs:
        scale = float(np.abs(onnx_runtime.normalised).max())
        np.testing.assert_allclose(openvino.normalised, onnx_runtime.normalised, atol=PARITY * scale, rtol=0)
        brightest = float(onnx_runtime.denoised.max())
        np.testing.assert_allclose(openvino.denoised, onnx_runtime.denoised, atol=PARITY * brightest, rtol=0)
        np.testing.assert_allclose(openvino.measures, onnx_runtime.measures, atol=PARITY, rtol=PARITY)
        assert (openvino.support != onnx_runtime.support).mean() < 1e-4
        if onnx_runtime.sd is not None and openvino.sd is not None:
            np.testing.assert_allclose(openvino.sd, onnx_runtime.sd, rtol=1e-4)


@pytest.mark.parametrize("kind", ["identity", "blur", "flipping"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_tiny_networks_give_the_same(tiny_bundle: BundleMaker, kind: str, dtype: str) -> None:
    _assert_alike(tiny_bundle(kind), _frames((40, 53), dtype))


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(64, 72), (203, 120)])
def test_the_model_that_ships_gives_the_same_error_bars_included(shape: tuple[int, int]) -> None:
    _assert_alike(read_bundle(BUNDLE), _frames(shape), with_sd=True)


def test_nan_from_the_network_is_noticed(tiny_bundle: BundleMaker) -> None:
    frames = _frames((16, 16), count=1)
    frames[0][0, 15] = 999
    assert not _outputs(tiny_bundle("nan"), OPENVINO, frames)[0].finite


def test_moved_predictions_and_halves_are_compared_the_same(tiny_bundle: BundleMaker) -> None:
    bundle, frames = tiny_bundle("blur"), _frames((48, 64), count=2)
    found = []
    for device in (ONNX_RUNTIME, OPENVINO):
        outputs = _outputs(bundle, device, frames)
        aligner = Aligner(bundle, device, threads=1)
        shifted = aligner.ssim(outputs[0].normalised, outputs[1].normalised, (4, -7))
        check = SplitCheck(bundle, device, in_dtype="uint16", threads=1)
        agreement = check.compare(*halve_photons(frames[0], 3), outputs[0])
        found.append((shifted, agreement.ssim, agreement.unsupported_fraction))
    assert found[1] == pytest.approx(found[0], abs=PARITY)


def test_a_network_is_compiled_for_a_few_shapes_only(tiny_bundle: BundleMaker) -> None:
    network = open_network(tiny_bundle("blur").onnx, OPENVINO, name="blur", threads=1)
    other = open_network(tiny_bundle("blur").onnx, ONNX_RUNTIME, name="blur")
    assert isinstance(network, OpenVinoNetwork)
    for side in (*range(8, 14), 8):
        counts = np.random.default_rng(side).poisson(2, (1, 1, side, 9)).astype(np.float32)
        np.testing.assert_allclose(network(counts), other(counts), atol=1e-6)
        assert len(network.shapes) <= SHAPES
    assert network.shapes[-1] == ((1, 1, 8, 9),)


def test_a_processor_multiplies_in_float32_by_openvino_too() -> None:
    probe(OPENVINO)


@pytest.mark.slow
def test_streams_are_judged_as_by_onnx_runtime(tiny_bundle: BundleMaker) -> None:
    bundle = tiny_bundle("blur")
    spec = StreamSpec(bundle.id, (64, 72), "uint16", split_every=2, deliver_maps=True)
    by_onnx_runtime, by_openvino = (_judged(bundle, spec, device) for device in ("cpu", "openvino:cpu"))
    for expected, found in zip(by_onnx_runtime, by_openvino, strict=True):
        assert (found.seq, found.flag, found.compared_seq) == (
            expected.seq,
            expected.flag,
            expected.compared_seq,
        )
        assert (found.device, expected.device) == ("openvino:cpu", "cpu")
        assert found.status == "done"
        if expected.ssim_prev is not None:
            assert found.ssim_prev == pytest.approx(expected.ssim_prev, abs=PARITY)


def _judged(bundle: Bundle, spec: StreamSpec, device: str) -> list[EngineResult]:
    engine = LocalEngine([bundle], devices=[device], threads=1)
    stream = engine.open(spec)
    futures = [engine.submit(stream, FrameTask(n, frame, n)) for n, frame in enumerate(_frames(spec.shape))]
    results = [future.result(60) for future in futures]
    engine.drain().result(60)
    assert engine.device().runtime.startswith(
        "openvino 20" if device.startswith("openvino") else "onnxruntime"
    )
    return results


def test_without_openvino_its_devices_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    monkeypatch.delitem(sys.modules, "dimstream_models.openvino_network")
    with pytest.raises(DeviceUnavailable, match=r'pip install "dimstream-server\[openvino\]"'):
        probe(OPENVINO)


def test_what_is_no_network_is_refused() -> None:
    with pytest.raises(
        UnsupportedNetwork, match="OpenVINO cannot load the network: Unable to read the model"
    ):
        open_network(b"garbage", OPENVINO, name="garbage")


def test_what_openvino_says_is_told_without_its_build() -> None:
    error = RuntimeError(
        "Exception from src/core.cpp:105:\nCheck 'a' failed at src/b.hpp:43:\nShapes differ.\n"
    )
    assert what_it_says(error) == "Shapes differ."
