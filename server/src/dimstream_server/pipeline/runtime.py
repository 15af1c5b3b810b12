"""ONNX Runtime: which one is installed, what it is asked for, and whether that is what it gave."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from importlib import metadata
from typing import Any, Final

import onnxruntime as ort

from dimstream_server.errors import DeviceUnavailable, RuntimeInstallation, UnsupportedNetwork
from dimstream_server.pipeline.device_name import Device

DISTRIBUTIONS: Final = ("onnxruntime", "onnxruntime-gpu")
ERRORS_ONLY: Final = 3
LONGEST_ERROR: Final = 300
BUILD_PATH: Final = re.compile(r"/\S*onnxruntime\S*:\d+ ")


def check_installation(installed: Callable[[str], Any] = metadata.distribution) -> str:
    """Name of the one ONNX Runtime distribution that is installed; both write the same import folder.

    Raises
    ------
    RuntimeInstallation
        When none or both are installed.
    """
    found = [name for name in DISTRIBUTIONS if _is_installed(name, installed)]
    if len(found) == 1:
        return found[0]
    raise RuntimeInstallation(
        f"exactly one of {' and '.join(DISTRIBUTIONS)} must be installed, found {found or 'none'}; "
        "uninstall both, then install dimstream-server[cpu] or dimstream-server[gpu]"
    )


def open_session(
    model: bytes, device: Device, *, name: str, threads: int | None = None
) -> ort.InferenceSession:
    """Session of a model on exactly the device that was asked for.

    Parameters
    ----------
    name : str
        For messages.
    threads : int or None
        CPU threads of one run; None: one for each core.

    Raises
    ------
    DeviceUnavailable
        When ONNX Runtime gives another provider: it would silently run on the CPU.
    UnsupportedNetwork
        When ONNX Runtime cannot read or prepare the model.
    """
    _check_built_for(device)
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.intra_op_num_threads = threads or 0
    options.inter_op_num_threads = 1
    # its plan for a session's first shape comes on top of what that took: 1.7 times the memory, and no faster
    options.enable_mem_pattern = device.cuda is not None
    options.log_severity_level = ERRORS_ONLY
    # spinning threads gain nothing measurable and take the cores from the event loop
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        # On a CPU its fall-back only tries the same again, and prints so.
        session = ort.InferenceSession(
            model, options, providers=_providers(device), enable_fallback=int(device.cuda is not None)
        )
    except Exception as error:  # its classes have no base but Exception
        raise UnsupportedNetwork(
            f"{name}: ONNX Runtime cannot load the network: {first_line(error)}; export it again"
        ) from error
    check_given(device, session.get_providers())
    return session


def first_line(error: Exception) -> str:
    """What ONNX Runtime says, without the paths of its own build."""
    lines = str(error).splitlines() or [type(error).__name__]
    return BUILD_PATH.sub("", lines[0])[:LONGEST_ERROR]


def check_given(device: Device, given: Iterable[str]) -> None:
    """Compare a session's providers with the device that was asked for.

    Raises
    ------
    DeviceUnavailable
        When the first is another: ONNX Runtime falls back to the CPU with no more than a warning.
    """
    first = next(iter(given), None)
    if first != _wanted(device):
        raise DeviceUnavailable(
            f"{device.name} was asked for and ONNX Runtime gave {first}; "
            "check the driver and the CUDA libraries (nvidia-smi), or serve with --device cpu"
        )


def _is_installed(name: str, installed: Callable[[str], Any]) -> bool:
    try:
        installed(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def _providers(device: Device) -> list[Any]:
    """Execution providers to ask for, the wanted one first."""
    if device.cuda is None:
        return ["CPUExecutionProvider"]
    options = {
        "device_id": str(device.cuda),
        # EXHAUSTIVE, the default search, stalls about 0.6 s on each new shape
        "cudnn_conv_algo_search": "HEURISTIC",
        "use_tf32": str(int(device.precision == "tf32")),
        "prefer_nhwc": "1",
        "do_copy_in_default_stream": "1",
    }
    return [("CUDAExecutionProvider", options), "CPUExecutionProvider"]


def _wanted(device: Device) -> str:
    return "CPUExecutionProvider" if device.cuda is None else "CUDAExecutionProvider"


def _check_built_for(device: Device) -> None:
    available = ort.get_available_providers()
    if _wanted(device) not in available:
        raise DeviceUnavailable(
            f"{device.name} was asked for, but the installed ONNX Runtime only has {available}; "
            "install dimstream-server[gpu] in place of [cpu], or serve with --device cpu"
        )
