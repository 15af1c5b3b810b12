"""A bundle that says what each pixel shows: by its brightness alone, so that every answer is known."""

import numpy as np
from drafts import png
from onnx import TensorProto, helper, numpy_helper

from dimstream_models.arithmetic import Array
from dimstream_models.bundle import (
    Author,
    BundleDraft,
    ClassOutput,
    DimstreamConfig,
    Provenance,
    Step,
    ZeroMeanUnitVariance,
    apply_steps,
)
from dimstream_models.bundle.schema import SSIM_WITHOUT_CONFIG, THRESHOLDS_WITHOUT_CONFIG

CLASSES = ("background", "tubule", "sheet")
TUBULE_FROM, SHEET_FROM = 0.5, 1.5
"""Standard deviations above the frame's mean."""
STANDARDISED = (ZeroMeanUnitVariance(1e-6),)


def brightness_network() -> bytes:
    """Three straight lines over the brightness, whose highest changes at `TUBULE_FROM` and `SHEET_FROM`."""
    slopes = np.array([0, 8, 16], np.float32).reshape(3, 1, 1, 1)
    heights = np.array([0, -8 * TUBULE_FROM, -8 * TUBULE_FROM - 8 * SHEET_FROM], np.float32)
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, channels, "y", "x"])
        for name, channels in (("frame", 1), ("probabilities", 3))
    ]
    nodes = [
        helper.make_node("Conv", ["frame", "slopes", "heights"], ["lines"]),
        helper.make_node("Softmax", ["lines"], ["probabilities"], axis=1),
    ]
    weights = [numpy_helper.from_array(slopes, "slopes"), numpy_helper.from_array(heights, "heights")]
    graph = helper.make_graph(nodes, "brightness", ends[:1], ends[1:], weights)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    content: bytes = made.SerializeToString()
    return content


def probabilities(frame: Array) -> Array:
    """What the network gives for a frame (..., H, W) of mean 0 and variance 1, (1, 3, H, W)."""
    lines = np.stack(
        [0 * frame, 8 * (frame - TUBULE_FROM), 16 * frame - 8 * (TUBULE_FROM + SHEET_FROM)]
    ).reshape(1, 3, *frame.shape[-2:])
    shares = np.exp(lines - lines.max(axis=1, keepdims=True))
    return np.asarray(shares / shares.sum(axis=1, keepdims=True), np.float32)


def expected_labels(counts: Array) -> Array:
    """The places in `CLASSES`, (H, W), of a frame of counts (H, W)."""
    frame = apply_steps(STANDARDISED, counts.astype(np.float32))
    return (frame > TUBULE_FROM).astype(np.uint8) + (frame > SHEET_FROM).astype(np.uint8)


def class_config(**fields: object) -> DimstreamConfig:
    values = {
        "ssim": SSIM_WITHOUT_CONFIG,
        "thresholds": THRESHOLDS_WITHOUT_CONFIG,
        "class_output": ClassOutput(classes=CLASSES, frames="denoised", halo_px=0),
        "pixel_size_nm": 20.0,
        "provenance": Provenance(command="none", seed=0, versions={}, git_commit=None, settings={}),
    }
    return DimstreamConfig.model_validate({**values, **fields})


def class_draft(*, preprocessing: tuple[Step, ...] = STANDARDISED) -> BundleDraft:
    counts = np.random.default_rng(0).poisson(6.0, (1, 1, 32, 40)).astype(np.float32)
    return BundleDraft(
        id="brightness",
        name="By brightness",
        description="Says what each pixel shows by its brightness.",
        authors=(Author("Nobody"),),
        licence="BSD-3-Clause",
        documentation="# By brightness\n\n## Validation\n\nNone.\n",
        cover=png(8, 4),
        onnx=brightness_network(),
        test_input=counts,
        test_output=probabilities(apply_steps(preprocessing, counts)[0, 0]),
        preprocessing=preprocessing,
        config=class_config(),
        tags=("semantic-segmentation",),
    )
