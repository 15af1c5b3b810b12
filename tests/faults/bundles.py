"""Small bundles on disk, with networks that fail on frames which hold a mark."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from drafts import meaningless_config, png
from onnx import TensorProto, helper, numpy_helper

from dimstream_models.bundle import (
    Author,
    BundleDraft,
    write_bundle,
)
from faults.movies import MARKED

_KERNEL = np.array([[1, 2, 1], [2, 4, 2], [1, 2, 1]], np.float32)[None, None] / 16
KINDS = ("blur", "sharper", "raising", "nan")


def write_tiny_bundle(folder: Path, kind: str = "blur", *, replace: bool = False) -> Path:
    """Write a bundle of a 3x3 convolution and return its folder; its model is called ``tiny``.

    Parameters
    ----------
    kind : {"blur", "sharper", "raising", "nan"}
        ``sharper`` has other weights under the same name. ``raising`` cannot denoise frames whose maximum
        reaches `MARKED`; ``nan`` gives NaN where a pixel has as many counts.
    """
    kernel = _KERNEL if kind != "sharper" else _KERNEL**2 / (_KERNEL**2).sum()
    counts = np.random.default_rng(0).poisson(3.0, (1, 1, 32, 32)).astype(np.float32)
    padded = np.pad(counts[0, 0], 1)
    blurred = sum(padded[y : y + 32, x : x + 32] * kernel[0, 0, y, x] for y in range(3) for x in range(3))
    draft = BundleDraft(
        id="tiny",
        name="Tiny blur",
        description="A small blur.",
        authors=(Author(name="Ada Example"),),
        licence="BSD-3-Clause",
        documentation="# Tiny blur\n\n## Validation\n\nNone.\n",
        cover=png(8, 8),
        onnx=_network(kind, kernel),
        test_input=counts,
        test_output=np.asarray(blurred, np.float32)[None, None],
        config=meaningless_config(structure_score=2.0),
    )
    write_bundle(folder, draft, replace=replace)
    return folder


def _network(kind: str, kernel: np.ndarray) -> bytes:
    def constant(name: str, value: object, dtype: type) -> onnx.TensorProto:
        return numpy_helper.from_array(np.asarray(value, dtype), name)

    nodes = [helper.make_node("Conv", ["x", "kernel"], ["blurred"], pads=[1, 1, 1, 1])]
    weights = [constant("kernel", kernel, np.float32), constant("mark", MARKED, np.float32)]
    if kind == "raising":  # gathers out of its bounds
        nodes += [
            helper.make_node("ReduceMax", ["x"], ["largest"], keepdims=0),
            helper.make_node("GreaterOrEqual", ["largest", "mark"], ["marked"]),
            helper.make_node("Cast", ["marked"], ["place"], to=TensorProto.INT64),
            helper.make_node("Gather", ["zeros", "place"], ["offset"]),
        ]
        weights.append(constant("zeros", [0.0], np.float32))
    elif kind == "nan":  # 0 / 0
        nodes += [
            helper.make_node("Sub", ["x", "mark"], ["apart"]),
            helper.make_node("Div", ["apart", "apart"], ["one"]),
            helper.make_node("Sub", ["one", "one"], ["offset"]),
        ]
    else:
        weights.append(constant("offset", 0, np.float32))
    nodes.append(helper.make_node("Add", ["blurred", "offset"], ["y"]))
    info = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["b", 1, "h" + name, "w" + name])
        for name in "xy"
    ]
    graph = helper.make_graph(nodes, "main", info[:1], info[1:], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())
