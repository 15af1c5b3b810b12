"""On a CUDA device: the same pixels and flags as on the CPU, and nothing falls back."""

from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from shipped import BUNDLE

from dimstream_client.quality import Thresholds
from dimstream_models.bundle import Bundle, read_bundle
from dimstream_models.quality.split_photon_check import halve_photons
from dimstream_server.engine.local_engine import LocalEngine
from dimstream_server.engine.protocol import EngineResult, FrameTask, StreamSpec
from dimstream_server.errors import DeviceUnavailable
from dimstream_server.pipeline.comparison import Aligner, SplitCheck
from dimstream_server.pipeline.device_name import Device, parse_device
from dimstream_server.pipeline.device_probe import probe
from dimstream_server.pipeline.fused_model import FusedModel

THRESHOLDS = Thresholds(0.6)


def _has_cuda() -> bool:
    if "CUDAExecutionProvider" not in ort.get_available_providers():
        return False
    return any(Path("/dev").glob("nvidia[0-9]*"))


pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not _has_cuda(), reason="no CUDA device")]


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return read_bundle(BUNDLE)


@pytest.fixture(scope="module")
def engine(bundle: Bundle) -> Iterator[LocalEngine]:
    engine = LocalEngine([bundle], devices=["cuda:0"])
    yield engine
    engine.drain().result(60)


def _frames(shape: tuple[int, int], count: int = 4, dtype: str = "uint16") -> list[Any]:
    lines = 4 * np.exp(-(((np.arange(shape[1]) % 40) - 20.0) ** 2) / 8) * np.ones(shape)
    return [np.random.default_rng(seed).poisson(lines).astype(dtype) for seed in range(count)]


def _models(bundle: Bundle, in_dtype: str, out_dtype: str) -> tuple[FusedModel, FusedModel]:
    on = {"in_dtype": in_dtype, "out_dtype": out_dtype}
    return FusedModel(bundle, device=Device(None), **on), FusedModel(bundle, device=Device(0), **on)


@pytest.mark.parametrize("shape", [(8, 8), (61, 64), (600, 600), (203, 600)])
@pytest.mark.parametrize("in_dtype", ["uint8", "uint16", "float32"])
def test_pixels_and_measures_equal_the_cpus(bundle: Bundle, shape: tuple[int, int], in_dtype: str) -> None:
    cpu, cuda = _models(bundle, in_dtype, "uint16")
    before: tuple[Any, Any] = (None, None)
    for frame in _frames(shape, dtype=in_dtype):
        one, other = cpu.run(frame, before[0], THRESHOLDS), cuda.run(frame, before[1], THRESHOLDS)
        difference = np.abs(one.denoised.astype(int) - other.denoised.astype(int))
        assert difference.max() <= 1
        np.testing.assert_allclose(one.measures, other.measures, atol=2e-3, rtol=1e-3)
        before = (one.normalised, other.normalised)


@pytest.mark.parametrize("name", ["cuda:0", "cuda:0@tf32"])
def test_factors_are_rounded_as_the_name_of_the_device_says(name: str) -> None:
    probe(parse_device(name))


def test_tf32_is_close(bundle: Bundle) -> None:
    frame, on = _frames((203, 600))[0], {"in_dtype": "uint16", "out_dtype": "float32"}
    exact, rounded = (
        FusedModel(bundle, device=parse_device(name), **on).run(frame, None, THRESHOLDS).denoised
        for name in ("cuda:0", "cuda:0@tf32")
    )
    assert np.abs(rounded - exact).max() < 0.01 * exact.max()


def test_empty_frames_between_leave_pixels_and_flags(bundle: Bundle) -> None:
    spec = StreamSpec(bundle.id, (64, 72), "uint16")
    warm, cold = (LocalEngine([bundle], devices=["cuda:0"], keep_warm_s=s) for s in (0.01, None))
    for one, other in zip(_interleaved(warm, spec), _interleaved(cold, spec), strict=True):
        assert (one.seq, one.flag, one.compared_seq) == (other.seq, other.flag, other.compared_seq)
    for engine in (warm, cold):
        engine.drain().result(60)


def test_predictions_and_maps_stay_on_the_device(bundle: Bundle) -> None:
    cuda = _models(bundle, "uint16", "uint16")[1]
    output = cuda.run(_frames((64, 64))[0], None, THRESHOLDS)
    for kept in (output.normalised, output.support):
        assert isinstance(kept, ort.OrtValue)
        assert kept.device_name() == "cuda"
    assert isinstance(output.overview.pixels, np.ndarray)


def test_alignment_and_split_check_equal_the_cpus(bundle: Bundle) -> None:
    models, frames = _models(bundle, "uint16", "uint16"), _frames((96, 120), 2)
    found = []
    for model, device in zip(models, (Device(None), Device(0)), strict=True):
        outputs = [model.run(frame, None, THRESHOLDS) for frame in frames]
        aligner = Aligner(bundle, device, threads=None)
        split_check = SplitCheck(bundle, device, in_dtype="uint16", threads=None)
        agreement = split_check.compare(*halve_photons(frames[0], 3), outputs[0])
        shifted = aligner.ssim(outputs[0].normalised, outputs[1].normalised, (4, -7))
        support = agreement.support
        support = support if isinstance(support, np.ndarray) else support.numpy()
        found.append((shifted, agreement.ssim, agreement.unsupported_fraction, support))
    cpu, cuda = found
    assert cuda[:3] == pytest.approx(cpu[:3], abs=2e-3)
    assert (cpu[3] != cuda[3]).mean() < 2e-3


def test_reused_buffers_do_not_mix_frames_up(bundle: Bundle) -> None:
    cuda = _models(bundle, "uint16", "float32")[1]
    frames = [*_frames((64, 72)), *_frames((80, 64)), *_frames((64, 72))]
    kept = [cuda.run(frame, None, THRESHOLDS).denoised for frame in frames]
    again = [cuda.run(frame, None, THRESHOLDS).denoised for frame in reversed(frames)][::-1]
    for one, other in zip(kept, again, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-3)


def test_interleaved_streams_are_judged_as_on_the_cpu(bundle: Bundle, engine: LocalEngine) -> None:
    spec = StreamSpec(bundle.id, (64, 72), "uint16")
    on_cpu = LocalEngine([bundle])
    results = [_interleaved(one, spec) for one in (engine, on_cpu)]
    on_cpu.drain().result(60)
    for cuda, cpu in zip(*results, strict=True):
        assert (cuda.seq, cuda.flag, cuda.compared_seq) == (cpu.seq, cpu.flag, cpu.compared_seq)
        assert cuda.quality is not None
        assert cpu.quality is not None
        assert cuda.quality.structure_score == pytest.approx(cpu.quality.structure_score, rel=1e-3, abs=1e-2)
        assert (cuda.support is None, cuda.quality.notes) == (cpu.support is None, cpu.quality.notes)


def _interleaved(engine: LocalEngine, spec: StreamSpec) -> list[EngineResult]:
    streams = [
        engine.open(spec),
        engine.open(replace(spec, deliver_pixels=False, deliver_maps=True, split_every=2)),
    ]
    futures: list[Future[EngineResult]] = [
        engine.submit(stream, FrameTask(seq, frame, seq))
        for seq, frame in enumerate(_frames(spec.shape, 6))
        for stream in streams
    ]
    results = [future.result(60) for future in futures]
    for stream in streams:
        engine.close(stream).result(60)
    return results


def test_a_device_that_is_not_there_is_a_refusal(bundle: Bundle) -> None:
    with pytest.raises(DeviceUnavailable, match="cuda:63 was asked for"):
        FusedModel(bundle, device=Device(63), in_dtype="uint16", out_dtype="uint16")
