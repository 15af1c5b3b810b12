"""The session of a fused graph: on the device that was asked for, with any array, and its failures."""

from collections.abc import Callable
from importlib import metadata
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

from dimstream_client.quality import Thresholds
from dimstream_models.bundle import Bundle
from dimstream_server.errors import DeviceUnavailable, FrameFailed, RuntimeInstallation, UnsupportedNetwork
from dimstream_server.pipeline import runtime
from dimstream_server.pipeline.device_name import Device
from dimstream_server.pipeline.fused_model import FusedModel
from dimstream_server.pipeline.runtime import check_installation

BundleMaker = Callable[..., Bundle]
CPU = Device(cuda=None)
THRESHOLDS = Thresholds(0.6)


def _model(bundle: Bundle) -> FusedModel:
    return FusedModel(bundle, device=CPU, in_dtype="uint16", out_dtype="uint16")


def _counts(shape: tuple[int, ...]) -> Any:
    return np.random.default_rng(1).poisson(3, shape).astype(np.uint16)


def test_views_and_read_only_arrays_are_taken(tiny_bundle: BundleMaker) -> None:
    model, whole = _model(tiny_bundle("identity")), _counts((64, 66))
    view = whole[::2, 3::3].T
    read_only = np.frombuffer(np.ascontiguousarray(view).tobytes(), np.uint16).reshape(view.shape)
    assert not view.flags.c_contiguous
    assert not read_only.flags.writeable
    for pixels in (view, read_only):
        np.testing.assert_array_equal(model.run(pixels, None, THRESHOLDS).denoised, 3 * view + 1)


def test_what_is_handed_back_is_compared_with(tiny_bundle: BundleMaker) -> None:
    model, frame = _model(tiny_bundle("blur")), _counts((30, 31))
    first = model.run(frame, None, THRESHOLDS)
    assert model.run(frame, first.normalised, THRESHOLDS).measures.ssim == pytest.approx(1, abs=1e-6)


def test_results_do_not_share_memory(tiny_bundle: BundleMaker) -> None:
    model = _model(tiny_bundle("identity"))
    first = model.run(np.full((9, 9), 5, np.uint16), None, THRESHOLDS)
    model.run(np.full((9, 9), 6, np.uint16), first.normalised, THRESHOLDS)
    assert (first.denoised == 16).all()


def test_thresholds_hold_from_the_frame_that_they_come_with(tiny_bundle: BundleMaker) -> None:
    model, frame = _model(tiny_bundle()), np.ones((20, 20), np.uint16)
    assert model.run(frame, None, Thresholds(None, 5, 25)).measures.signal == 1
    assert model.run(frame, None, Thresholds(None, 5, 100)).measures.uncertain == 1
    assert model.run(frame, None, Thresholds(None, 100, 200)).measures.background == 1


def test_nan_from_the_network_is_noticed_anywhere(tiny_bundle: BundleMaker) -> None:
    model, frame = _model(tiny_bundle("nan")), _counts((16, 16))
    assert model.run(frame, None, THRESHOLDS).finite
    frame[0, 15] = 999
    assert not model.run(frame, None, THRESHOLDS).finite


def test_a_network_that_raises_says_so(tiny_bundle: BundleMaker) -> None:
    model, frame = _model(tiny_bundle("raising")), _counts((16, 16))
    frame[3, 3] = 999
    with pytest.raises(FrameFailed, match="the model raised on this frame") as raised:
        model.run(frame, None, THRESHOLDS)
    assert "Gather" in str(raised.value)
    assert "/" not in str(raised.value).replace("network/", "")


def test_a_network_that_changes_the_size_is_refused(tiny_bundle: BundleMaker) -> None:
    with pytest.raises(UnsupportedNetwork, match=r"halving: .* keep the size"):
        _model(tiny_bundle("halving"))


def test_asked_for_cuda_without_it_is_a_refusal(tiny_bundle: BundleMaker) -> None:
    if "CUDAExecutionProvider" in ort.get_available_providers():
        pytest.skip("this ONNX Runtime is built for CUDA; see tests/gpu")
    with pytest.raises(DeviceUnavailable, match="cuda:0 was asked for"):
        FusedModel(tiny_bundle(), device=Device(cuda=0), in_dtype="uint16", out_dtype="uint16")


def test_a_session_that_fell_back_to_the_cpu_is_refused() -> None:
    with pytest.raises(DeviceUnavailable, match="ONNX Runtime gave CPUExecutionProvider"):
        runtime.check_given(Device(cuda=1), ["CPUExecutionProvider"])


@pytest.mark.parametrize("found", [(), ("onnxruntime", "onnxruntime-gpu")])
def test_exactly_one_onnx_runtime_must_be_installed(found: tuple[str, ...]) -> None:
    def installed(name: str) -> None:
        if name not in found:
            raise metadata.PackageNotFoundError(name)

    with pytest.raises(RuntimeInstallation, match="exactly one"):
        check_installation(installed)


def test_this_installation_has_one_onnx_runtime() -> None:
    assert check_installation() in runtime.DISTRIBUTIONS
