"""Graphs and networks in ONNX Runtime, on a CPU or a CUDA device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from dimstream_models.arithmetic import Array
from dimstream_server.pipeline.device_name import Device
from dimstream_server.pipeline.runtime import open_session

SMALL: Final = 16
"""Values up to which an input stays with the host: shifts and thresholds, which nodes on the CPU read."""

LARGE_PIXELS: Final = 2**21
"""Of a frame whose memory is given back after each run, so that sessions do not keep it side by side."""


class OnnxRunner:
    """A session whose tensors stay on the device, but for outputs that are asked for on the host.

    Raises
    ------
    DeviceUnavailable, UnsupportedNetwork
    """

    def __init__(self, model: bytes, device: Device, *, name: str, threads: int | None) -> None:
        self._session = open_session(model, device, name=name, threads=threads)
        self._cuda = device.cuda
        self._buffers: dict[str, Any] = {}  # on the device, one for each input, reused while its shape lasts

    def run(
        self, feeds: Mapping[str, Any], on_host: Sequence[str], on_device: Sequence[str] = ()
    ) -> list[Any]:
        """Outputs `on_host` as arrays, then those `on_device` as the device keeps them."""
        if self._cuda is None:
            return list(self._session.run([*on_host, *on_device], dict(feeds), _run_options(feeds)))
        binding = self._session.io_binding()
        for name, value in feeds.items():
            if isinstance(value, np.ndarray) and value.size <= SMALL:
                binding.bind_cpu_input(name, value)
            else:
                binding.bind_ortvalue_input(name, self._on_device(name, value, self._cuda))
        for name in on_host:
            binding.bind_output(name, "cpu")
        for name in on_device:  # from the session's arena, freed with whoever keeps them
            binding.bind_output(name, "cuda", self._cuda)
        self._session.run_with_iobinding(binding)
        outputs = binding.get_outputs()
        return [*(one.numpy() for one in outputs[: len(on_host)]), *outputs[len(on_host) :]]

    def _on_device(self, name: str, value: Any, cuda: int) -> Any:
        """What lies there already, or a copy in the buffer of this input."""
        if not isinstance(value, np.ndarray):
            return value
        pixels: NDArray[Any] = np.ascontiguousarray(value)
        buffer = self._buffers.get(name)
        if buffer is not None and tuple(buffer.shape()) == pixels.shape:
            buffer.update_inplace(pixels)
        else:
            buffer = self._buffers[name] = ort.OrtValue.ortvalue_from_numpy(pixels, "cuda", cuda)
        return buffer


def _run_options(feeds: Mapping[str, Any]) -> ort.RunOptions | None:
    """Have memory given back after the run of a large frame: to take it again costs a tenth of the time."""
    if max(value.size for value in feeds.values()) < LARGE_PIXELS:
        return None
    options = ort.RunOptions()
    options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
    return options


class OnnxNetwork:
    """A network alone; it takes its inputs in their order.

    Raises
    ------
    DeviceUnavailable, UnsupportedNetwork
    """

    def __init__(self, content: bytes, device: Device, *, name: str, threads: int | None) -> None:
        self._session = open_session(content, device, name=name, threads=threads)
        self._inputs = [each.name for each in self._session.get_inputs()]

    def __call__(self, *values: Array) -> Array:
        """Its first output."""
        output: Array = self._session.run(None, dict(zip(self._inputs, values, strict=True)))[0]
        return output
