"""The thread that examines raw frames while the network processes them."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor

from dimstream_models.arithmetic import Array
from dimstream_models.judging import RawFindings
from dimstream_models.quality.detector import Detector


class RawFrameThread:
    """Finds what a raw frame shows by itself; it keeps no state between frames.

    The caller waits for the answer before its next call, unless its network failed on the frame. So at most
    two frames are in memory.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="dimstream-raw")

    def look_at(self, photons: Array, detector: Detector | None) -> Future[RawFindings]:
        """Return the future findings of a frame (H, W), which must not be changed meanwhile.

        Parameters
        ----------
        detector : Detector or None
            Offset and gain by which the photons were calculated; None: the values are photons.
        """
        return self._thread.submit(RawFindings.of, photons, detector)

    def stop(self) -> None:
        """End the thread."""
        self._thread.shutdown(wait=False, cancel_futures=True)
