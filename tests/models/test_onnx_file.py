"""The small ONNX reader against files that `onnx` itself writes."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from dimstream_models.bundle import ExternalData, NotOnnx
from dimstream_models.bundle.onnx_file import check_onnx

FRAME: list[str | int | None] = [1, 1, "y", "x"]


def model_of(
    *nodes: onnx.NodeProto, initializers: tuple[TensorProto, ...] = (), opset: int = 17
) -> onnx.ModelProto:
    graph = helper.make_graph(
        list(nodes),
        "test",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, FRAME)],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, FRAME)],
        list(initializers),
    )
    opsets = [helper.make_opsetid("com.example", 3), helper.make_opsetid("", opset)]
    return helper.make_model(graph, opset_imports=opsets)


def external(name: str) -> TensorProto:
    tensor = numpy_helper.from_array(np.zeros(3, np.float32), name)
    onnx.external_data_helper.set_external_data(tensor, location="weights.data", offset=0, length=12)
    return tensor


def constant(tensor: TensorProto) -> onnx.NodeProto:
    return helper.make_node("Constant", [], ["c"], value=tensor)


def branch(tensor: TensorProto) -> onnx.NodeProto:
    inner = helper.make_graph([constant(tensor)], "inner", [], [])
    return helper.make_node("If", ["condition"], ["output"], then_branch=inner, else_branch=inner)


def function_model(tensor: TensorProto) -> onnx.ModelProto:
    model = model_of(helper.make_node("Relu", ["input"], ["output"]))
    opsets = [helper.make_opsetid("", 17)]
    model.functions.append(helper.make_function("local", "f", [], ["c"], [constant(tensor)], opsets))
    return model


PLACES = {
    "initializer": model_of(helper.make_node("Relu", ["input"], ["output"]), initializers=(external("w"),)),
    "node": model_of(constant(external("w"))),
    "branch of a node": model_of(branch(external("w"))),
    "function": function_model(external("w")),
}


@pytest.mark.parametrize("place", PLACES)
def test_external_data_is_found_wherever_it_hides(place: str) -> None:
    with pytest.raises(ExternalData, match=r"'weights\.data'"):
        check_onnx(PLACES[place].SerializeToString(), name="weights.onnx")


@pytest.mark.parametrize("opset", [13, 17, 21])
def test_the_opset_of_the_standard_operators_is_found(opset: int) -> None:
    model = model_of(helper.make_node("Relu", ["input"], ["output"]), opset=opset)
    assert check_onnx(model.SerializeToString(), name="w") == opset


def test_a_model_that_torch_wrote_with_a_data_file_is_refused(tmp_path: Path) -> None:
    model = model_of(
        helper.make_node("Relu", ["input"], ["output"]),
        initializers=(numpy_helper.from_array(np.zeros(2000, np.float32), "w"),),
    )
    onnx.save_model(model, tmp_path / "m.onnx", save_as_external_data=True, location="m.onnx.data")
    with pytest.raises(ExternalData, match=r"m\.onnx\.data"):
        check_onnx((tmp_path / "m.onnx").read_bytes(), name="m.onnx")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00",
        b"\xff" * 40,
        b"PK\x03\x04",
        b"\x08\x08\x3a\xff\xff\xff\x7f",
        model_of().SerializeToString(),
        onnx.TensorProto(name="alone").SerializeToString(),
    ],
    ids=["empty", "zero", "ones", "zip", "cut off", "no node", "a tensor"],
)
def test_what_is_no_model_is_refused(data: bytes) -> None:
    with pytest.raises(NotOnnx, match=r"'w\.onnx' is not an ONNX model"):
        check_onnx(data, name="w.onnx")


def test_damaged_models_give_one_of_two_errors_and_no_other() -> None:
    good = PLACES["branch of a node"].SerializeToString()
    random = np.random.default_rng(5)
    for _ in range(2000):
        bad = bytearray(good[: random.integers(1, len(good))])
        for position in random.integers(0, len(bad), 3):
            bad[position] = random.integers(0, 256)
        try:
            check_onnx(bytes(bad), name="w")
        except (NotOnnx, ExternalData):
            continue
