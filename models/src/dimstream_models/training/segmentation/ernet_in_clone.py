"""A script that runs in the user's clone of ERnet v2 and converts its network and weights to an ONNX file.

It imports nothing of dimstream, and no other module imports ERnet. Arguments: the file with the network's
class, the weights, the ONNX file to write, and the folder for an input and torch's output for it.
"""

from __future__ import annotations

import importlib.util
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
import torch

CLASSES = 4
TABLE = "relative_position_bias_table"
TABLE_SHAPE = (9, 8)  # tables of windows of 2 x 2 px; with other windows, tiles would not equal the frame


def network_of(arch: Path) -> Any:
    """Return the network for the released weights, from a file of the clone."""
    sys.path.insert(0, str(arch.parent))
    sys.path.insert(0, str(arch.parent.parent))
    spec = importlib.util.spec_from_file_location("ernet_arch", arch)
    assert spec is not None  # the file exists
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if not hasattr(module, "SwinIR_RCAB"):
        raise SystemExit(f"{arch}: expected a file with the class SwinIR_RCAB of ERnet v2, got none")
    settings = {"img_size": 128, "in_chans": 1, "upscale": 1, "use_checkpoint": False, "vis": False}
    return module.SwinIR_RCAB(Namespace(task="segment"), **settings)


def load_checked(network: Any, weights: Path) -> None:
    """Load the weights after checking that all names and shapes are the network's."""
    state = torch.load(weights, map_location="cpu", weights_only=True)
    if not isinstance(state, dict) or "state_dict" not in state:
        raise SystemExit(f"{weights}: expected a checkpoint with the key state_dict, got none")
    state, wanted = state["state_dict"], network.state_dict()
    for name in sorted(state.keys() | wanted.keys()):
        came, expected = (None if name not in each else tuple(each[name].shape) for each in (state, wanted))
        if came != expected:
            raise SystemExit(
                f"{weights}: {name}: expected shape {expected}, got {came}: these are not ERnet v2's"
                " weights for this network"
            )
    tables = {tuple(value.shape) for name, value in state.items() if name.endswith(TABLE)}
    if tables != {TABLE_SHAPE}:
        raise SystemExit(
            f"{weights}: expected {TABLE} of shape {TABLE_SHAPE} (windows of 2 px), got {sorted(tables)}: "
            "this is another network, whose halo is unknown"
        )
    network.load_state_dict(state)


class Probabilities(torch.nn.Module):
    """The network followed by a softmax."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Return the probabilities, (B, 4, y, x), of an image (B, 1, y, x) from 0 to 1."""
        return torch.softmax(self.network(image), dim=1)


def main(arch: Path, weights: Path, target: Path, folder: Path) -> None:
    """Write the ONNX file, and an input with torch's output."""
    network = network_of(arch)
    load_checked(network, weights)
    model = Probabilities(network.eval())
    frame = np.random.default_rng(0).random((1, 1, 30, 38), np.float32)
    with torch.no_grad():
        shares = model(torch.from_numpy(frame)).numpy()
    if shares.shape != (1, CLASSES, 30, 38):
        raise SystemExit(f"{arch}: expected {CLASSES} classes for every pixel, got {shares.shape}")
    np.save(folder / "frame.npy", frame)
    np.save(folder / "shares.npy", shares)
    torch.onnx.export(
        model,
        (torch.zeros(1, 1, 64, 64),),
        str(target),
        opset_version=17,
        input_names=["image"],
        output_names=["probabilities"],
        dynamic_axes={"image": {2: "y", 3: "x"}, "probabilities": {2: "y", 3: "x"}},
        dynamo=False,
    )


if __name__ == "__main__":
    main(*(Path(each) for each in sys.argv[1:]))
