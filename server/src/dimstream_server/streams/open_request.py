"""The content of an OPEN request, before there is a stream."""

from typing import Any

import numpy as np

from dimstream_client.messages import Open
from dimstream_models.quality.detector import Detector
from dimstream_server.engine.protocol import StreamSpec
from dimstream_server.problem_details import RequestRefused

FRAME_CODECS = ("none", "zlib")


def choose_codec(offered: tuple[str, ...]) -> str:
    """Return the first codec in the client's list that this server can read.

    Raises
    ------
    RequestRefused
        When it can read none of them.
    """
    for codec in offered:
        if codec in FRAME_CODECS:
            return codec
    raise RequestRefused(
        "bad_codec", f"expected one of {', '.join(FRAME_CODECS)} in codecs, got {list(offered)}"
    )


def check_frame_bytes(message: Open, max_frame_bytes: int) -> None:
    """Refuse a stream whose frames would be too large.

    Raises
    ------
    RequestRefused
    """
    nbytes = message.shape[0] * message.shape[1] * np.dtype(message.dtype).itemsize
    if nbytes > max_frame_bytes:
        raise RequestRefused(
            "oversize",
            f"expected frames of at most {max_frame_bytes} bytes, but shape and dtype make {nbytes}",
            expected={"max_frame_bytes": max_frame_bytes},
        )


def spec_of(message: Open, *, model: str) -> StreamSpec:
    """Return the settings of a stream for the engine, which checks shape and pixel types itself."""
    options: dict[str, Any] = {"in_dtype": message.dtype, "out_dtype": message.out_dtype}
    options["priority"] = message.priority or "live"
    return StreamSpec(
        model=model,
        shape=message.shape,
        deliver_pixels=message.deliver == "result" or message.save,
        deliver_maps=message.maps,
        deliver_sd=bool(message.sd),
        split_every=message.split_every,
        frame_interval_s=message.frame_interval_s,
        detector=Detector.given(message.offset, message.gain),
        pixel_size_um=message.pixel_size_um,
        match_pixel_size=bool(message.match_pixel_size),
        weight=message.weight or 1,
        deadline_ms=message.deadline_ms,
        **options,
    )
