"""Tests that need bfloat16 of OpenVINO: processors with AVX-512 have it, or emulate it."""

import numpy as np
import pytest
from onnx import TensorProto, helper

from dimstream_models.openvino_network import OpenVinoNetwork, PrecisionUnavailable


def _has_bfloat16() -> bool:
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 1, 8, 8]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "relu", ends[:1], ends[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    try:
        network = OpenVinoNetwork(model.SerializeToString(), precision="bfloat16", threads=1)
        network(np.zeros((1, 1, 8, 8), np.float32))
    except PrecisionUnavailable:
        return False
    return True


needs_bfloat16 = pytest.mark.skipif(not _has_bfloat16(), reason="no bfloat16, not even emulated")
