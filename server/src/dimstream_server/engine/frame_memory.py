"""Whether there is memory for the frames of a stream: asked before the first one comes, not by the kernel."""

import math
from typing import Final

from dimstream_server.engine.protocol import EngineLimits, ModelInfo, StreamSpec
from dimstream_server.errors import Oversize
from dimstream_server.pipeline.onnx_runner import LARGE_PIXELS

_GB: Final = 1e9
_SPLIT_BYTES: Final = 120  # a pixel: the halves, what is predicted of them, and both compared


def check_memory(spec: StreamSpec, parts: int, model: ModelInfo, limits: EngineLimits) -> None:
    """Refuse frames that would take more memory in a model's network than there is for one frame.

    Parameters
    ----------
    parts : int
        Into which the side of each pixel is divided before the model sees it.

    Raises
    ------
    Oversize
    """
    if limits.network_bytes is None or model.bytes_per_pixel is None:
        return
    pixels = math.prod(spec.shape) * parts**2
    per_pixel = model.bytes_per_pixel
    if spec.split_every:  # by a network of its own, which keeps its memory too where frames are small
        per_pixel = per_pixel * (1 if pixels >= LARGE_PIXELS else 2) + _SPLIT_BYTES
    needed = pixels * per_pixel
    if needed <= limits.network_bytes:
        return
    side = int(math.sqrt(limits.network_bytes / per_pixel) / parts)
    divided = f", each divided into {parts}x{parts}," if parts > 1 else ""
    raise Oversize(
        f"frames of {spec.shape[0]}x{spec.shape[1]} px{divided} would take up to {needed / _GB:.1f} GB in "
        f"{model.id}, and there are {limits.network_bytes / _GB:.1f} GB for a frame "
        f"(limits.max_network_bytes); send regions of at most {side}x{side} px, or bin the pixels, or serve "
        "on a machine with more memory"
    )
