"""The network of a peer's server: the graph and the session's settings of dimstream, nothing else of it."""

from threading import Lock

import numpy as np
import onnxruntime


class Network:
    """Denoises one frame at a time; each prediction is the next frame's `previous`, as in dimstream."""

    def __init__(self, settings):
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.intra_op_num_threads = settings["threads"]
        options.inter_op_num_threads = 1
        options.enable_mem_pattern = False
        options.log_severity_level = 3
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(
            settings["graph"], options, providers=["CPUExecutionProvider"]
        )
        self._outputs = settings["outputs"]
        self._limits = {name: np.asarray(value, np.float32) for name, value in settings["limits"].items()}
        self._previous = None
        self._lock = Lock()

    def __call__(self, frame):
        """Denoised counts of a frame, both (H, W) uint16."""
        with self._lock:
            previous = np.zeros(frame.shape, np.float32) if self._previous is None else self._previous
            feeds = {"frame": frame, "previous": previous, **self._limits}
            denoised, self._previous, *_ = self._session.run(self._outputs, feeds)
            return denoised
