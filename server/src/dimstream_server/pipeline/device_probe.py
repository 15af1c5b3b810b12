"""Whether a device multiplies as it was asked to: a tiny network that shows how factors are rounded."""

from __future__ import annotations

from typing import Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from dimstream_models.precisions import FRACTION_BITS
from dimstream_server.errors import DeviceUnavailable
from dimstream_server.pipeline.device_name import Device
from dimstream_server.pipeline.runner import open_network
from dimstream_server.pipeline.runtime import first_line

CHANNELS: Final = 16
SIDE: Final = 32
MOST_BITS: Final = 23
NAME: Final = "the probe of the device"


def probe(device: Device) -> None:
    """Run a convolution there, and see by its output how many bits of its factors took part.

    Raises
    ------
    DeviceUnavailable
        When the device is not there, does not run it, or rounds more or less than its precision says.
    """
    try:
        output = open_network(_network().SerializeToString(), device, name=NAME)(_input())
    except DeviceUnavailable:
        raise
    except Exception as error:  # the runtimes' classes have no base but Exception
        raise DeviceUnavailable(
            f"{device.name} was asked for and fails on a tiny network: {first_line(error)}; "
            "check its driver, or serve with another --device"
        ) from error
    check_bits(device, fraction_bits(output))


def is_emulated(device: Device) -> bool:
    """Whether the processor lacks the precision: rounded factors are multiplied in float32, slower."""
    if device.runtime != "openvino" or device.precision == "float32":
        return False
    from dimstream_models.openvino_network import is_native

    return not is_native(device.precision)


def check_bits(device: Device, found: int) -> None:
    """Compare the bits of fraction that took part with those of the precision that was asked for.

    Raises
    ------
    DeviceUnavailable
    """
    expected = FRACTION_BITS[device.precision]
    # cards from before Ampere, and products that the tensor cores do not take, keep all bits in tf32
    if found == expected or (device.precision == "tf32" and found == MOST_BITS):
        return
    raise DeviceUnavailable(
        f"{device.name} was asked for: expected factors of {expected} bits of fraction ({device.precision}), "
        f"got {found}; serve with another --device"
    )


def fraction_bits(output: NDArray[np.float32]) -> int:
    """Up to which bit behind the point `output` still has what the input had."""
    expected = _input()
    exact = (output == expected).all(axis=(0, 1, 2))  # (SIDE,)
    wrong = np.flatnonzero(~exact[: MOST_BITS + 1])
    return MOST_BITS if wrong.size == 0 else int(wrong[0]) - 1


def _input() -> NDArray[np.float32]:
    """(1, CHANNELS, SIDE, SIDE): column k holds 1 + 2 ** -k."""
    columns = 1 + np.exp2(-np.arange(SIDE, dtype=np.float64)).clip(2.0**-MOST_BITS)
    return np.broadcast_to(columns.astype(np.float32), (1, CHANNELS, SIDE, SIDE)).copy()


def _network() -> onnx.ModelProto:
    """A convolution with the identity."""
    identity = np.eye(CHANNELS, dtype=np.float32)[:, :, None, None]  # (C, C, 1, 1)
    shape = [1, CHANNELS, SIDE, SIDE]
    graph = helper.make_graph(
        [helper.make_node("Conv", ["input", "identity"], ["output"], kernel_shape=[1, 1])],
        "probe",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(identity, "identity")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
