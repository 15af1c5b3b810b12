"""Kernels that ONNX Runtime has for CUDA, as its docs/OperatorKernels.md lists them: operators that we use.

Facts from https://github.com/microsoft/onnxruntime, docs/OperatorKernels.md, commit 001d12d2623f (2026; MIT
licence, Copyright (c) Microsoft Corporation), rows of the CUDAExecutionProvider that serve opsets 17 to 22.
"""

from __future__ import annotations

from typing import NamedTuple

HALF = frozenset({"float16"})
FLOATS = frozenset({"float", "double"}) | HALF
BF16 = FLOATS | {"bfloat16"}
LARGE = frozenset({"int32", "int64", "uint32", "uint64"})
NUMBERS = FLOATS | LARGE
BF16_NUMBERS = BF16 | LARGE
SMALL = frozenset({"int8", "int16", "uint8", "uint16"})
ARITHMETIC = BF16_NUMBERS | SMALL
BOOL = frozenset({"bool"})
ANY = ARITHMETIC | BOOL
INT64 = frozenset({"int64"})
PLACES = frozenset({"int32", "int64"})
FLOAT = frozenset({"float"})


class Kernel(NamedTuple):
    """A row: versions of the operator, and types of its inputs and outputs in order; the last one repeats."""

    since: int
    until: int | None
    inputs: tuple[frozenset[str], ...]
    outputs: tuple[frozenset[str], ...]


def _same(types: frozenset[str], since: int, until: int | None = None) -> Kernel:
    return Kernel(since, until, (types,), (types,))


def _to(inputs: frozenset[str], outputs: frozenset[str], since: int, until: int | None = None) -> Kernel:
    return Kernel(since, until, (inputs,), (outputs,))


def _beside(types: frozenset[str], *others: frozenset[str], since: int, until: int | None = None) -> Kernel:
    """The first input and the outputs are of `types`, further inputs of `others`."""
    return Kernel(since, until, (types, *others), (types,))


_REDUCED = PLACES - {"int64"} | FLOATS
_REDUCED_64 = PLACES | FLOATS

KERNELS: dict[str, tuple[Kernel, ...]] = {
    "Abs": (_same(ARITHMETIC, 13),),
    "Add": (_same(ARITHMETIC, 14),),
    "And": (_same(BOOL, 7),),
    "AveragePool": (_same(FLOATS, 11, 18), _same(FLOATS, 19, 21), _same(BF16, 22)),
    "Cast": (_same(ANY, 13, 18), _same(ANY, 19, 20), _same(ANY, 21, 22)),
    "Clip": (_same(FLOATS | {"int64", "int8", "uint64", "uint8"}, 13),),
    "Concat": (_same(ANY, 13),),
    "ConstantOfShape": (_to(INT64, ANY, 9),),
    "Conv": (_same(FLOATS, 11, 21), _same(BF16, 22)),
    "ConvTranspose": (_same(FLOATS, 11),),
    "Div": (_same(ARITHMETIC, 14),),
    "Equal": (_to(NUMBERS | BOOL, BOOL, 13),),
    "Exp": (_same(BF16, 13),),
    "Expand": (_beside(ANY, INT64, since=13),),
    "Floor": (_same(FLOATS, 13),),
    "Gather": (_beside(ANY, PLACES, since=13),),
    "GlobalAveragePool": (_same(FLOATS, 1),),
    "Greater": (_to(NUMBERS, BOOL, 13),),
    "GreaterOrEqual": (_to(NUMBERS, BOOL, 16),),
    "Identity": (_same(ANY, 14, 18), _same(ANY, 19)),
    "LeakyRelu": (_same(FLOATS, 16),),
    "Less": (_to(NUMBERS, BOOL, 13),),
    "LessOrEqual": (_to(NUMBERS, BOOL, 16),),
    "Log": (_same(FLOATS, 13),),
    "MatMul": (_same(BF16, 13),),
    "Max": (_same(BF16_NUMBERS, 13),),
    "MaxPool": (_same(FLOATS | {"int8", "uint8"}, 12),),
    "Min": (_same(BF16_NUMBERS, 13),),
    "Mod": (_same(BF16_NUMBERS, 13),),
    "Mul": (_same(ARITHMETIC, 14),),
    "Neg": (_same(BF16 | PLACES | {"int8", "int16"}, 13),),
    "Not": (_same(BOOL, 1),),
    "Or": (_same(BOOL, 7),),
    "Pad": (
        _beside(FLOATS | BOOL, INT64, FLOATS | BOOL, PLACES, since=13, until=17),
        _beside(FLOATS | BOOL, INT64, FLOATS | BOOL, PLACES, since=18),
    ),
    "Pow": (_beside(BF16 | PLACES, BF16 | PLACES, since=15),),
    "Reciprocal": (_same(FLOATS, 13),),
    "ReduceMax": (_same(_REDUCED_64, 1, 17), _beside(_REDUCED_64, INT64, since=18)),
    "ReduceMean": (_same(_REDUCED, 1, 17), _beside(_REDUCED, INT64, since=18)),
    "ReduceMin": (
        _same(_REDUCED_64 | {"int8", "uint8"}, 1, 17),
        _beside(_REDUCED_64 | {"int8", "uint8"}, INT64, since=18),
    ),
    "ReduceProd": (_same(_REDUCED, 1, 17), _beside(_REDUCED, INT64, since=18)),
    "ReduceSum": (_beside(BF16 | PLACES, INT64, since=13),),
    "Relu": (_same(BF16, 14),),
    "Reshape": (_beside(ANY, INT64, since=14, until=18), _beside(ANY, INT64, since=19, until=20)),
    "Resize": (
        _beside(FLOATS | {"int32", "uint8"}, FLOAT | INT64, since=13, until=17),
        _beside(FLOATS | {"int32", "uint8"}, FLOAT | INT64, since=18, until=18),
        _beside(FLOATS | {"int32", "uint8"}, FLOAT | INT64, since=19),
    ),
    "Round": (_same(FLOATS, 11),),
    "Shape": (_to(ANY, INT64, 15, 18), _to(ANY, INT64, 19, 20), _to(ANY, INT64, 21, 22)),
    "Sigmoid": (_same(BF16, 13),),
    "Size": (_to(ANY, INT64, 13),),
    "Slice": (_beside(ANY, PLACES, since=13),),
    "Split": (_beside(ANY, INT64, since=13, until=17), _beside(ANY, INT64, since=18)),
    "Sqrt": (_same(BF16, 13),),
    "Squeeze": (_beside(ANY, INT64, since=13, until=20), _beside(ANY, INT64, since=21, until=22)),
    "Sub": (_same(ARITHMETIC, 14),),
    "Sum": (_same(BF16, 13),),
    "Transpose": (_same(ANY, 13, 20), _same(ANY, 21, 22)),
    "Unsqueeze": (_beside(ANY, INT64, since=13, until=20), _beside(ANY, INT64, since=21, until=22)),
}
