"""Whether a device still computes: asked when a frame has failed, to tell a bad frame from a lost device."""

from __future__ import annotations

from typing import Final

import numpy as np
from onnx import TensorProto, helper

from dimstream_server.pipeline.device_name import Device
from dimstream_server.pipeline.runtime import first_line, open_session

_OPSET: Final = 17
_IR_VERSION: Final = 8


class DeviceCheck:
    """One addition on a device. After a CUDA error that lasts, every kernel of the process fails there.

    Raises
    ------
    DeviceUnavailable
    """

    def __init__(self, device: Device) -> None:
        self.session = open_session(
            _addition(), device.bracket, name=f"the check of {device.name}", threads=1
        )

    def why_lost(self) -> str | None:
        """Why the device is lost; None while it computes."""
        two = np.full(1, 2, np.float32)
        try:
            (four,) = self.session.run(None, {"x": two})
        except Exception as error:  # ONNX Runtime's classes have no base but Exception
            return f"it fails on an addition: {first_line(error)}"
        return None if four[0] == 4 else f"it says that 2 + 2 is {four[0]:g}"


def _addition() -> bytes:
    infos = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Add", ["x", "x"], ["y"])], "check", infos[:1], infos[1:])
    opset = helper.make_opsetid("", _OPSET)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=_IR_VERSION)
    return bytes(model.SerializeToString())
