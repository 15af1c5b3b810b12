"""Stream all frames of a measurement."""

from __future__ import annotations

from typing import Any, Final

from dimstream_client.client import Client
from dimstream_client.imspector.measurement import ImspectorFrames
from dimstream_client.messages import Closed
from dimstream_client.result_buffer import OnResult

_DROPPED: Final = "dropped at Imspector: not taken in time"


def follow(frames: ImspectorFrames, client: Client, *, on_result: OnResult, **settings: Any) -> Closed:
    """Stream the frames of a measurement until it ends.

    Parameters
    ----------
    frames : ImspectorFrames
        Entered.
    on_result : callable
        Called with each result on the client's thread, so it must return quickly. It may call
        `ImspectorFrames.stop`.
    **settings
        Of `Client.open`, such as ``model``, ``spool`` or ``save``. With a spool no frame waits for the
        server.

    Raises
    ------
    ImspectorError
        When a frame could not be read.
    DimstreamError
        As for `Client.open` and `Stream.send`.
    """
    given = {"pixel_size_um": frames.pixel_size_um, "channels": frames.channels, **settings}
    with client.open(frames.shape, frames.dtype, on_result=on_result, **given) as stream:
        for frame in frames:
            if frame.lost_before:
                stream.skip(frame.lost_before, reason=_DROPPED)
            stream.send(frame.pixels, index=frame.index, t_acq=frame.t_acq, copy=False)
        if frames.lost_at_end:
            stream.skip(frames.lost_at_end, reason=_DROPPED)
        return stream.close()
