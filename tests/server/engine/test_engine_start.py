"""What keeps an engine from starting."""

from collections.abc import Callable

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from dimstream_models.bundle import Bundle, TestTensorMismatch
from dimstream_server import errors
from dimstream_server.engine.local_engine import LocalEngine

BundleMaker = Callable[..., Bundle]


def test_an_engine_does_not_start_with_a_wrong_test_tensor(tiny_bundle: BundleMaker) -> None:
    with pytest.raises(TestTensorMismatch):
        LocalEngine([tiny_bundle(test_output=np.full((1, 1, 16, 16), 50, np.float32))])


def test_a_network_that_the_runtime_cannot_load_is_refused(
    tiny_bundle: BundleMaker, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(errors.UnsupportedNetwork, match="blur: ONNX Runtime cannot load the network"):
        LocalEngine([tiny_bundle("blur", onnx=_network("NoSuchOperator"))])
    assert "Falling back" not in capfd.readouterr().out


def test_a_network_that_fails_on_its_test_input_is_refused(tiny_bundle: BundleMaker) -> None:
    with pytest.raises(errors.UnsupportedNetwork, match="blur: the network fails on its test input"):
        LocalEngine([tiny_bundle("blur", onnx=_network("Gather"))])


def _network(operator: str) -> bytes:
    """One operator that finds nothing at place 9."""
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["b", 1, "H", "W"]) for name in "xy"]
    nine = numpy_helper.from_array(np.array([9]), "nine")
    nodes = [helper.make_node(operator, ["x", "nine"], ["y"])]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], [nine])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return model.SerializeToString()


def test_two_bundles_of_one_id_are_refused(tiny_bundle: BundleMaker) -> None:
    with pytest.raises(errors.DuplicateModel, match="both have a model 'blur'"):
        LocalEngine([tiny_bundle("blur"), tiny_bundle("blur")])
