"""The processing that a bundle declares around its network, as ONNX nodes.

The numpy reference is :func:`dimstream_models.bundle.apply_steps`; here everything stays float32.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import assert_never

import numpy as np

from dimstream_models.bundle import (
    Clip,
    EnsureDtype,
    FixedZeroMeanUnitVariance,
    ScaleLinear,
    ScalePercentiles,
    Step,
    ZeroMeanUnitVariance,
)
from dimstream_server.errors import UnsupportedNetwork
from dimstream_server.pipeline.onnx_nodes import Nodes


def apply_steps(nodes: Nodes, steps: Iterable[Step], values: str) -> str:
    """Name of `values` (float32) after all steps, in their order."""
    for step in steps:
        values = _apply(nodes, step, values)
    return values


def as_counts(nodes: Nodes, values: str, dtype: str, *, to: str) -> None:
    """Add `to`: float32 values in the type in which they are delivered, as `arithmetic.as_counts`."""
    if dtype == "float32":
        nodes.add("Identity", values, to=to)
        return
    whole = nodes.add("Round", nodes.add("Clip", values, nodes.number(0), nodes.number(65535)))
    nodes.cast(whole, dtype, to=to)


def _apply(nodes: Nodes, step: Step, values: str) -> str:
    match step:
        case EnsureDtype():
            return _ensured(nodes, step, values)
        case ScaleLinear(gain=gain, offset=offset):
            scaled = nodes.add("Mul", values, nodes.number(gain))
            return nodes.add("Add", scaled, nodes.number(offset))
        case Clip(minimum=minimum, maximum=maximum):
            low = "" if minimum is None else nodes.number(minimum)
            high = "" if maximum is None else nodes.number(maximum)
            return nodes.add("Clip", values, low, high)
        case FixedZeroMeanUnitVariance(mean=mean, std=std):
            return nodes.add("Div", nodes.add("Sub", values, nodes.number(mean)), nodes.number(std))
        case ZeroMeanUnitVariance():
            return _standardised(nodes, step, values)
        case ScalePercentiles():
            raise UnsupportedNetwork(
                "scale_range by percentiles is computed offline only (dimstream-analyse); serve a model that"
                " scales its input in another way"
            )
        case _:
            assert_never(step)


def _ensured(nodes: Nodes, step: EnsureDtype, values: str) -> str:
    wanted = np.dtype(step.dtype)
    if wanted.kind == "f":
        return values
    limits = np.iinfo(wanted)
    bounded = nodes.add("Clip", values, nodes.number(limits.min), nodes.number(limits.max))
    return nodes.cast(nodes.cast(bounded, "int32"), "float32")


def _standardised(nodes: Nodes, step: ZeroMeanUnitVariance, values: str) -> str:
    centred = nodes.add("Sub", values, nodes.add("ReduceMean", values, keepdims=0))
    variance = nodes.add("ReduceMean", nodes.add("Mul", centred, centred), keepdims=0)
    deviation = nodes.add("Add", nodes.add("Sqrt", variance), nodes.number(step.eps))
    return nodes.add("Div", centred, deviation)
