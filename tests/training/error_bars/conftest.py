"""A bundle that gives back what it is shown: its error is the photons' own noise, which is known."""

from pathlib import Path

import numpy as np
import pytest
from drafts import meaningless_config, png
from onnx import TensorProto, helper

from dimstream_models.bundle import Author, Bundle, BundleDraft, write_bundle


@pytest.fixture
def identity(tmp_path: Path) -> Bundle:
    """Denoised counts are twice the photons that came."""
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["b", 1, "y", "x"]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "same", ends[:1], ends[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    counts = np.random.default_rng(0).poisson(3.0, (1, 1, 24, 32)).astype(np.float32)
    draft = BundleDraft(
        id="identity",
        name="what it is shown",
        description="For tests only.",
        authors=(Author("a test"),),
        licence=None,
        documentation="# Identity\n\n## Validation\n\nNone.\n",
        cover=png(32, 32),
        onnx=model.SerializeToString(),
        test_input=counts,
        test_output=2 * counts,
        config=meaningless_config(),
        gain=2.0,
        clip_min=0.0,
        clip_max=65535.0,
    )
    return write_bundle(tmp_path / "identity", draft)
