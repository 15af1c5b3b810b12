"""The memory that a frame takes: told by the graph, and measured in a process of its own."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from shipped import BUNDLE

from dimstream_models.bundle import Bundle, read_bundle
from dimstream_server.engine.loading import model_info
from dimstream_server.errors import UnsupportedNetwork
from dimstream_server.pipeline.network_memory import BRACKET_BYTES, COPIES, bytes_per_pixel

MEASURE = """
import sys
from pathlib import Path
import numpy as np
from dimstream_client.quality import Thresholds
from dimstream_models.bundle import read_bundle
from dimstream_server.pipeline.device_name import parse_device
from dimstream_server.pipeline.fused_model import FusedModel

def status(name):
    text = Path("/proc/self/status").read_text()
    return int(text.split(name + ":")[1].split()[0]) * 1024

side = int(sys.argv[2])
bundle = read_bundle(Path(sys.argv[1]))
model = FusedModel(bundle, device=parse_device("cpu"), in_dtype="uint16", out_dtype="uint16", threads=1)
counts = np.random.default_rng(0).poisson(3.0, (side, side)).astype(np.uint16)
before, previous = status("VmRSS"), None
for _ in range(2):
    previous = model.run(counts, previous, Thresholds()).normalised
print(status("VmHWM") - before)
"""


def network(nodes: list[onnx.NodeProto], *weights: onnx.TensorProto) -> bytes:
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["b", 1, "y", "x"]) for name in "xy"]
    graph = helper.make_graph(nodes, "main", ends[:1], ends[1:], list(weights))
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    ).SerializeToString()


def kernel(name: str, outputs: int, inputs: int) -> onnx.TensorProto:
    return numpy_helper.from_array(np.ones((outputs, inputs, 1, 1), np.float32), name)


def test_layers_that_are_there_at_once_are_added_up(tiny_bundle: Callable[..., Bundle]) -> None:
    """Most while 4 channels are made of 8, at half the sides: 3 a pixel."""
    nodes = [
        helper.make_node("MaxPool", ["x"], ["small"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Conv", ["small", "up"], ["wide"]),
        helper.make_node("Conv", ["wide", "down"], ["narrow"]),
        helper.make_node("Conv", ["narrow", "last"], ["one"]),
        helper.make_node("Resize", ["one", "", "twice"], ["y"], mode="nearest"),
    ]
    twice = numpy_helper.from_array(np.array([1, 1, 2, 2], np.float32), "twice")
    weights = [kernel("up", 8, 1), kernel("down", 4, 8), kernel("last", 1, 4), twice]
    bundle = replace(tiny_bundle("identity"), onnx=network(nodes, *weights))
    assert bytes_per_pixel(bundle) == BRACKET_BYTES + COPIES * 4 * (8 + 4) / 4


def test_a_graph_that_does_not_tell_is_not_guessed_and_the_log_says_so(
    tiny_bundle: Callable[..., Bundle], caplog: pytest.LogCaptureFixture
) -> None:
    nodes = [helper.make_node("NonZero", ["x"], ["places"]), helper.make_node("Identity", ["x"], ["y"])]
    bundle = replace(tiny_bundle("identity"), onnx=network(nodes))
    assert bytes_per_pixel(bundle) is None
    assert model_info(bundle).bytes_per_pixel is None
    (said,) = caplog.messages
    assert said.endswith("event=memory_unknown model=identity")
    assert model_info(tiny_bundle("identity")).bytes_per_pixel
    assert len(caplog.messages) == 1


def test_what_is_no_onnx_is_refused(tiny_bundle: Callable[..., Bundle]) -> None:
    with pytest.raises(UnsupportedNetwork, match="cannot be read as ONNX"):
        bytes_per_pixel(replace(tiny_bundle("identity"), onnx=b"no network"))


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc to read the peak from")
def test_a_frame_takes_what_was_told_and_not_much_less() -> None:
    side = 704
    told = bytes_per_pixel(read_bundle(BUNDLE))
    assert told is not None
    command = [sys.executable, "-c", MEASURE, str(BUNDLE), str(side)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    assert 0.5 * told < int(done.stdout) / side**2 < told
