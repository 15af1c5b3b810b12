"""Whether there is enough memory for a stream's frames, checked before the first frame arrives."""

import math
from typing import Final

from dimstream_server.engine.protocol import EngineLimits, ModelInfo, StreamSpec
from dimstream_server.errors import Oversize
from dimstream_server.pipeline.onnx_runner import LARGE_PIXELS

_GB: Final = 1e9
_SPLIT_BYTES: Final = 120  # per pixel: the halves, their predictions, and their comparison


def check_memory(spec: StreamSpec, parts: int, model: ModelInfo, limits: EngineLimits) -> None:
    """Refuse frames that need more memory in a model's network than is available for one frame.

    Parameters
    ----------
    parts : int
        Finer pixels along one side of each pixel in the model's input.

    Raises
    ------
    Oversize
    """
    if limits.network_bytes is None or model.bytes_per_pixel is None:
        return
    pixels = math.prod(spec.shape) * parts**2
    per_pixel = model.bytes_per_pixel
    if spec.split_every:  # by a separate network, which also keeps its memory if frames are small
        per_pixel = per_pixel * (1 if pixels >= LARGE_PIXELS else 2) + _SPLIT_BYTES
    needed = pixels * per_pixel
    if needed <= limits.network_bytes:
        return
    side = int(math.sqrt(limits.network_bytes / per_pixel) / parts)
    divided = f", each divided into {parts}x{parts}," if parts > 1 else ""
    raise Oversize(
        f"frames of {spec.shape[0]}x{spec.shape[1]} px{divided} need up to {needed / _GB:.1f} GB in "
        f"{model.id}, expected at most {limits.network_bytes / _GB:.1f} GB (limits.max_network_bytes); send "
        f"regions of at most {side}x{side} px, or bin the pixels, or use a machine with more memory"
    )
