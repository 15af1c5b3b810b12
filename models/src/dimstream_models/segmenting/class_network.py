"""A bundle that classifies each pixel, run by ONNX Runtime on the CPU."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dimstream_models.bundle import (
    Bundle,
    UnsupportedModel,
    apply_steps,
    check_test_output,
    read_bundle,
)
from dimstream_models.segmenting.resampling import resampled, shape_on
from dimstream_models.segmenting.tiling import Network, in_tiles


@dataclass(frozen=True, eq=False)
class ClassNetwork:
    """Returns the probability of each class for each pixel of a frame.

    Parameters
    ----------
    bundle : Bundle
    run : function
        The bare network, from (1, 1, y, x) float32 to (1, C, y, x).
    """

    bundle: Bundle
    run: Network

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in order."""
        return self.bundle.classes

    @property
    def pixel_nm(self) -> float | None:
        """Side of the pixels that the network knows, nm."""
        return None if self.bundle.config is None else self.bundle.config.pixel_size_nm

    def probabilities(self, image: NDArray[Any], pixel_nm: float | None = None) -> NDArray[np.float32]:
        """Return the probability of each class, (C, H, W) float32, for a frame (H, W) of any unit.

        The frame is resampled to the network's pixel size, and the result back to the frame's own.

        Parameters
        ----------
        pixel_nm : float, optional
            Side of the frame's pixels; None: the frame is not resampled.
        """
        height, width = image.shape
        seen = resampled(image, shape_on((height, width), pixel_nm, self.pixel_nm))
        found = self._on_known_pixels(seen)
        if seen.shape == image.shape:
            return found
        return np.stack([resampled(each, (height, width)) for each in found])

    def _on_known_pixels(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        bundle = self.bundle
        assert bundle.config is not None  # it names the classes
        assert bundle.config.class_output is not None
        return in_tiles(
            self.run,
            apply_steps(bundle.preprocessing, image),
            step=bundle.step,
            halo_px=bundle.config.class_output.halo_px,
        )


def read_class_network(path: Path, *, threads: int = 1) -> ClassNetwork:
    """Return a bundle of classes, ready to run, after it has reproduced its test output.

    Parameters
    ----------
    path : Path
        Folder or zip.
    threads : int
        Threads of ONNX Runtime.

    Raises
    ------
    BundleError
        `UnsupportedModel` when the bundle denoises instead of classifying.
    """
    import onnxruntime

    bundle = read_bundle(path)
    if not bundle.classes:
        raise UnsupportedModel(
            f"{path}: expected a model that classifies pixels (config.dimstream.class_output), got one that "
            "denoises: name a segmentation bundle"
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(bundle.onnx, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def run(frame: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(session.run(None, {name: frame})[0], np.float32)

    network = ClassNetwork(bundle, run)
    frame = apply_steps(bundle.preprocessing, bundle.test_input)
    check_test_output(bundle, run(np.ascontiguousarray(frame, np.float32)))
    return network
