"""Frames are judged by thresholds of the precision that their predictions were made in, or not at all."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from bfloat16 import needs_bfloat16

from dimstream_models.bundle import Bundle, Difference, PrecisionRecord, PrecisionThresholds
from dimstream_models.openvino_network import is_native
from dimstream_server.engine.device_list import places_of
from dimstream_server.engine.local_engine import LocalEngine
from dimstream_server.engine.protocol import EngineResult, FrameTask, StreamSpec
from dimstream_server.errors import DeviceUnavailable, UnsupportedNetwork
from dimstream_server.pipeline.device_name import parse_device
from dimstream_server.pipeline.device_probe import probe

BundleMaker = Callable[..., Bundle]


def _calibrated(bundle: Bundle, value: float) -> Bundle:
    """With an SSIM threshold for bfloat16."""
    assert bundle.config is not None
    difference = Difference(movies="", frames=1, largest=0, quantile_999=0, mean=0)
    record = PrecisionRecord.model_construct(
        runtime="",
        processor="",
        emulated=True,
        signal=difference,
        dark=difference,
        thresholds=PrecisionThresholds(ssim=value),
        calibration=None,  # type: ignore[arg-type]  # none was made
        split_calibration=None,
        correlation_calibration=None,
    )
    bundle.config.precisions["bfloat16"] = record
    return bundle


def _judged(bundle: Bundle, device: str) -> tuple[list[EngineResult], LocalEngine]:
    engine = LocalEngine([bundle], devices=[device], threads=1)
    stream = engine.open(StreamSpec(bundle.id, (48, 64), "uint16"))
    frames = [np.random.default_rng(n).poisson(20, (48, 64)).astype(np.uint16) for n in range(2)]
    futures = [engine.submit(stream, FrameTask(n, frame, n)) for n, frame in enumerate(frames)]
    results = [future.result(60) for future in futures]
    engine.drain().result(60)
    return results, engine


@needs_bfloat16
def test_thresholds_of_float32_judge_nothing_in_bfloat16(tiny_bundle: BundleMaker) -> None:
    (_, second), engine = _judged(tiny_bundle("blur", threshold=0.6), "openvino:cpu@bf16")
    assert (second.flag, second.reason) == ("unjudged", "no SSIM threshold for bfloat16 in the bundle")
    assert second.ssim_prev is not None
    assert second.device == engine.device().name == "openvino:cpu@bf16"
    assert engine.device().precision == "bfloat16"
    assert ("bfloat16 is emulated" in engine.device().runtime) == (not is_native("bfloat16"))
    assert engine.models()["blur"].thresholds.ssim is None


@needs_bfloat16
@pytest.mark.parametrize(("value", "flag"), [(-1.0, "ok"), (1.0, "suspect")])
def test_thresholds_of_bfloat16_judge_there(tiny_bundle: BundleMaker, value: float, flag: str) -> None:
    (_, second), engine = _judged(_calibrated(tiny_bundle("blur", threshold=0.6), value), "openvino:cpu@bf16")
    assert second.flag == flag
    assert engine.models()["blur"].thresholds.ssim == value


@needs_bfloat16
def test_a_loaded_bundle_is_judged_in_the_precision_of_the_device(tiny_bundle: BundleMaker) -> None:
    engine = LocalEngine([tiny_bundle("blur")], devices=["openvino:cpu@bf16"], threads=1)
    info = engine.serve(engine.prepare(tiny_bundle("identity", id="other")).result(60))
    assert info.thresholds.ssim is None
    engine.drain().result(60)


@needs_bfloat16
def test_a_network_that_rounding_spoils_is_refused(tiny_bundle: BundleMaker) -> None:
    """A small difference of large numbers, which seven bits cannot hold."""
    bundle = tiny_bundle("blur", threshold=0.6, onnx=_difference_of_large_numbers())
    rows = np.linspace(1000, 1010, 16, dtype=np.float32)
    frame = np.broadcast_to(rows[:, None], (1, 1, 16, 16)).copy()
    exact = tiny_bundle("blur", onnx=bundle.onnx, test_input=frame, test_output=3 * (frame - 1000) + 1)
    with pytest.raises(UnsupportedNetwork, match=r"in bfloat16 it differs from its test output by .* 5% of"):
        LocalEngine([exact], devices=["openvino:cpu@bf16"], threads=1)


def _difference_of_large_numbers() -> Any:
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["b", 1, "y", "x"]) for name in "xy"]
    kernel = numpy_helper.from_array(np.ones((1, 1, 1, 1), np.float32), "kernel")
    offset = numpy_helper.from_array(np.full(1, -1000, np.float32), "offset")
    node = helper.make_node("Conv", ["x", "kernel", "offset"], ["y"])
    graph = helper.make_graph([node], "large", ends[:1], ends[1:], [kernel, offset])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model.SerializeToString()


@needs_bfloat16
def test_bfloat16_keeps_seven_bits() -> None:
    probe(parse_device("openvino:cpu@bf16"))


def test_float16_is_refused_where_the_processor_has_none() -> None:
    device = parse_device("openvino:cpu@fp16")
    if is_native("float16"):
        probe(device)
    else:
        with pytest.raises(
            DeviceUnavailable, match=r"expected precision f16, but OpenVINO uses f32 on this processor"
        ):
            probe(device)


def test_devices_of_two_precisions_are_refused() -> None:
    with pytest.raises(DeviceUnavailable, match="one precision, got bfloat16 and float32"):
        places_of(["cpu", "openvino:cpu@bf16"])
    assert len(places_of(["cpu", "openvino:cpu"])) == 2
