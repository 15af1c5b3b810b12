"""A minimal reader of the ONNX format, without `onnx`: it refuses other files, and weights in other files.

An ONNX file is a protocol buffer, ``ModelProto``. The field numbers are those of ``onnx.proto3``.
"""

from collections.abc import Iterator
from typing import NamedTuple

from dimstream_models.bundle.errors import ExternalData, NotOnnx

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5

MODEL_IR_VERSION, MODEL_GRAPH, MODEL_OPSET = 1, 7, 8
OPSET_DOMAIN, OPSET_VERSION = 1, 2
GRAPH_NODE = 1
TENSOR_EXTERNAL_DATA, TENSOR_DATA_LOCATION = 13, 14
ENTRY_KEY, ENTRY_VALUE = 1, 2

TENSOR = "TensorProto"
WAY_TO_TENSORS: dict[str, dict[int, str]] = {
    "ModelProto": {7: "GraphProto", 20: "TrainingInfoProto", 25: "FunctionProto"},
    "TrainingInfoProto": {1: "GraphProto", 2: "GraphProto"},
    "FunctionProto": {7: "NodeProto", 11: "AttributeProto"},
    "GraphProto": {1: "NodeProto", 5: TENSOR, 15: "SparseTensorProto"},
    "NodeProto": {5: "AttributeProto"},
    "AttributeProto": {
        5: TENSOR,
        6: "GraphProto",
        10: TENSOR,
        11: "GraphProto",
        22: "SparseTensorProto",
        23: "SparseTensorProto",
    },
    "SparseTensorProto": {1: TENSOR, 2: TENSOR},
}
MAX_DEPTH = 64
MAX_FIELDS = 1_000_000
"""Most fields that are read, which takes about two seconds; large networks have about ten thousand."""
MAX_NUMBER = 2**29 - 1
"""Largest number of a field. Other readers truncate a larger one, and so would read another field."""
ENUM_BITS = 0xFFFFFFFF
MAX_SHOWN = 200


class Field(NamedTuple):
    """One field of a message: its number, and its value."""

    number: int
    value: int | memoryview


def check_onnx(data: bytes, *, name: str) -> int:
    """Return the ONNX opset of a model, and check that the model holds all of its weights.

    Parameters
    ----------
    data
        Bytes of the file.
    name
        Its name, for messages.

    Raises
    ------
    NotOnnx
        When the bytes are not an ONNX model with a graph.
    ExternalData
        When a tensor is stored in another file, inside the bundle or outside.
    """
    budget = _Budget()
    try:
        opset = _opset(memoryview(data), budget)
        _refuse_external_data(memoryview(data), "ModelProto", name, 0, budget)
    except (ValueError, IndexError) as error:
        raise NotOnnx(f"{name!r} is not an ONNX model ({error}); export the network again") from error
    return opset


class _Budget:
    """Counts the fields that may still be read."""

    def __init__(self) -> None:
        self.left = MAX_FIELDS

    def take(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise ValueError(f"it has more than {MAX_FIELDS} fields")


def _opset(model: memoryview, budget: _Budget) -> int:
    fields = list(_fields(model, budget))
    numbers = {field.number for field in fields}
    graphs = [field.value for field in fields if field.number == MODEL_GRAPH]
    if not {MODEL_IR_VERSION, MODEL_GRAPH, MODEL_OPSET} <= numbers or not isinstance(graphs[-1], memoryview):
        raise ValueError("it states no version, graph and opset")
    if GRAPH_NODE not in {field.number for field in _fields(graphs[-1], budget)}:
        raise ValueError("its graph has no node")
    for field in fields:
        if field.number == MODEL_OPSET and isinstance(field.value, memoryview):
            stated = {part.number: part.value for part in _fields(field.value, budget)}
            domain, version = stated.get(OPSET_DOMAIN, b""), stated.get(OPSET_VERSION)
            if isinstance(version, int) and domain in (b"", b"ai.onnx"):
                return version
    raise ValueError("it does not state an opset of the standard operators")


def _refuse_external_data(message: memoryview, kind: str, name: str, depth: int, budget: _Budget) -> None:
    if depth > MAX_DEPTH:
        raise ValueError("it is nested too deeply")
    for number, value in _fields(message, budget):
        inner = WAY_TO_TENSORS.get(kind, {}).get(number)
        if inner is not None and isinstance(value, memoryview):
            _refuse_external_data(value, inner, name, depth + 1, budget)
        elif kind == TENSOR and (number == TENSOR_EXTERNAL_DATA or _is_outside(number, value)):
            raise ExternalData(
                f"{name!r} keeps weights in another file{_location(value, budget)}; a bundle's ONNX file "
                "holds all of them: export with external_data=False"
            )


def _is_outside(number: int, value: int | memoryview) -> bool:
    return number == TENSOR_DATA_LOCATION and isinstance(value, int) and value & ENUM_BITS == 1


def _location(value: int | memoryview, budget: _Budget) -> str:
    if not isinstance(value, memoryview):
        return ""
    entry = {
        number: bytes(part[:MAX_SHOWN])
        for number, part in _fields(value, budget)
        if isinstance(part, memoryview)
    }
    if entry.get(ENTRY_KEY) != b"location":
        return ""
    return f", {entry.get(ENTRY_VALUE, b'').decode('utf-8', 'backslashreplace')!r}"


def _fields(message: memoryview, budget: _Budget) -> Iterator[Field]:
    position = 0
    while position < len(message):
        budget.take()
        tag, position = _varint(message, position)
        number, wire_type = tag >> 3, tag & 7
        if not 1 <= number <= MAX_NUMBER:
            raise ValueError(f"a field has number {number}")
        if wire_type == VARINT:
            value, position = _varint(message, position)
            yield Field(number, value)
        else:
            start, position = _span(message, position, wire_type)
            yield Field(number, message[start:position])


def _span(message: memoryview, position: int, wire_type: int) -> tuple[int, int]:
    if wire_type == BYTES:
        length, position = _varint(message, position)
    elif wire_type in (FIXED32, FIXED64):
        length = 4 if wire_type == FIXED32 else 8
    else:
        raise ValueError(f"a field has wire type {wire_type}")
    if position + length > len(message):
        raise ValueError("it is truncated")
    return position, position + length


def _varint(message: memoryview, position: int) -> tuple[int, int]:
    result = 0
    for shift in range(0, 70, 7):
        byte = message[position]
        position += 1
        result |= (byte & 0x7F) << shift
        if byte < 0x80:
            return result, position
    raise ValueError("a number has more than ten bytes")
