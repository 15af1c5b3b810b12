"""A bundle whose network gives what it gets, so that only the bracket around a network remains."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import imagecodecs
import numpy as np
from onnx import TensorProto, helper

from dimstream_models.bundle import Author, Bundle, BundleDraft, DimstreamConfig, Thresholds, write_bundle

GAIN: Final = 2.0
OFFSET: Final = 1.0
_OPSET: Final = 17
_IR: Final = 8


def write_identity_bundle(folder: Path, like: Bundle) -> Bundle:
    """A bundle with an identity for its network and the SSIM, window and padding settings of `like`."""
    counts = np.random.default_rng(0).poisson(2.0, (1, 1, 64, 64)).astype(np.float32)
    draft = BundleDraft(
        id="identity",
        name="Identity network",
        description="Gives the counts that it gets, rescaled; made for benchmarks.",
        authors=(Author("dimstream"),),
        licence="BSD-3-Clause",
        documentation="# Identity\n\n## Validation\n\nNone: there is nothing to learn.\n",
        cover=bytes(imagecodecs.png_encode(np.zeros((8, 8), np.uint8))),
        onnx=identity_network(),
        test_input=counts,
        test_output=GAIN * counts + OFFSET,
        config=DimstreamConfig(ssim=like.ssim, thresholds=_without_ssim(like.thresholds)),
        step=like.step,
        min_side=like.min_side,
        gain=GAIN,
        offset=OFFSET,
        clip_min=0.0,
        clip_max=65535.0,
    )
    return write_bundle(folder, draft)


def identity_network() -> bytes:
    """ONNX of a network (1, 1, H, W) float32 that is one Identity."""
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 1, "h", "w"]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "identity", ends[:1], ends[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR)
    return bytes(model.SerializeToString())


def _without_ssim(thresholds: Thresholds) -> Thresholds:
    """An SSIM threshold wants a calibration record, which an identity cannot have."""
    return thresholds.model_copy(update={"ssim": None})
