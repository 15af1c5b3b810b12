"""The thread that looks at raw frames while the network runs on them."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor

from dimstream_models.arithmetic import Array
from dimstream_models.judging import RawFindings
from dimstream_models.quality.detector import Detector


class RawFrameThread:
    """Finds what a raw frame shows by itself; nothing that it does outlives the frame.

    The thread that asks waits for the answer before it asks again, unless its network failed on the frame. So
    two frames are held at most.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="dimstream-raw")

    def look_at(self, photons: Array, detector: Detector | None) -> Future[RawFindings]:
        """What is found in a frame (H, W), which must not be changed meanwhile.

        Parameters
        ----------
        detector : Detector or None
            By which the photons were made of the detector's values; None: the values are photons.
        """
        return self._thread.submit(RawFindings.of, photons, detector)

    def stop(self) -> None:
        """End the thread."""
        self._thread.shutdown(wait=False, cancel_futures=True)
