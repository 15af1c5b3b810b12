"""Graphs that run on a device, whatever runs them: one method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import onnx

from dimstream_models.arithmetic import Array
from dimstream_models.extras import install_hint
from dimstream_server.errors import DeviceUnavailable, UnsupportedNetwork
from dimstream_server.pipeline.device_name import Device
from dimstream_server.pipeline.network_split import split_network
from dimstream_server.pipeline.onnx_runner import OnnxNetwork, OnnxRunner


class Runner(Protocol):
    """A graph on a device; belongs to one thread at a time."""

    def run(
        self, feeds: Mapping[str, Any], on_host: Sequence[str], on_device: Sequence[str] = ()
    ) -> list[Any]:
        """Outputs `on_host` as arrays, then those `on_device` as the device keeps them.

        Parameters
        ----------
        feeds : mapping
            Each input by its name: an array, or what an earlier run kept on the device.

        Raises
        ------
        Exception
            Whatever the runtime raises: its classes have no other base.
        """


class Network(Protocol):
    """A network alone."""

    def __call__(self, *values: Array) -> Array:
        """Its first output.

        Raises
        ------
        Exception
            Whatever the runtime raises.
        """


def open_runner(model: onnx.ModelProto, device: Device, *, name: str, threads: int | None) -> Runner:
    """A graph on exactly the device that was asked for.

    Where this runs networks only, the graph is cut around the network, and the rest runs on `device.bracket`.

    Parameters
    ----------
    model : onnx.ModelProto
        Made by `fused_graph`, or a graph without a network.
    name : str
        For messages.
    threads : int or None
        CPU threads of one run; None: one for each core.

    Raises
    ------
    DeviceUnavailable, UnsupportedNetwork
    """
    parts = None if device.bracket == device else split_network(model)
    if parts is None:
        return OnnxRunner(model.SerializeToString(), device.bracket, name=name, threads=threads)
    network = open_network(parts.network, device, name=name, threads=threads)
    enter, leave = (
        OnnxRunner(part.SerializeToString(), device.bracket, name=name, threads=threads)
        for part in (parts.enter, parts.leave)
    )
    return SplitRunner(enter, network, leave, source=parts.source, target=parts.target)


def open_network(content: bytes, device: Device, *, name: str, threads: int | None = None) -> Network:
    """A network alone on exactly the device that was asked for.

    Raises
    ------
    DeviceUnavailable, UnsupportedNetwork
    """
    if device.runtime == "onnxruntime":
        return OnnxNetwork(content, device, name=name, threads=threads)
    try:
        from dimstream_models.openvino_network import NetworkUnreadable, OpenVinoNetwork
    except ModuleNotFoundError as error:
        hint = install_hint(error, "dimstream-server")
        raise DeviceUnavailable(f"{device.name} was asked for; {hint}") from error
    try:
        return OpenVinoNetwork(content, precision=device.precision, threads=threads)
    except NetworkUnreadable as error:
        raise UnsupportedNetwork(
            f"{name}: OpenVINO cannot load the network: {error}; export it again, or serve with --device cpu"
        ) from error


class SplitRunner:
    """A graph whose network runs elsewhere than what surrounds it.

    Parameters
    ----------
    source, target : str
        The network's input, which `enter` gives, and its output, which `leave` takes.
    """

    def __init__(
        self, enter: OnnxRunner, network: Network, leave: OnnxRunner, *, source: str, target: str
    ) -> None:
        self._enter, self._network, self._leave = enter, network, leave
        self._source, self._target = source, target

    def run(
        self, feeds: Mapping[str, Any], on_host: Sequence[str], on_device: Sequence[str] = ()
    ) -> list[Any]:
        """Outputs of the graph; see `Runner.run`."""
        (source,) = self._enter.run({"frame": feeds["frame"]}, (self._source,))
        return self._leave.run({**feeds, self._target: self._network(source)}, on_host, on_device)
