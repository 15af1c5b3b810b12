"""The log's lines about what is refused: few, however often somebody tries."""

import logging
import time
from typing import Final

AGAIN_S: Final = 60.0
_MOST: Final = 1024
_log = logging.getLogger(__name__)


class RefusalLog:
    """Writes a line about an address and a code at most every `AGAIN_S` seconds. One thread owns it.

    ZeroMQ tries ten times a second while it is refused, and a faulty program sends the same message 50,000
    times; neither may fill the disk. Nothing of what they said is written down.
    """

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint
        self._logged_at: dict[tuple[str, str], float] = {}
        self._left_out: dict[tuple[str, str], int] = {}

    def tell(
        self, code: str, address: str, reason: str, *, stream: str | None = None, seq: int | None = None
    ) -> None:
        """Write down that an address was refused, unless that was done a moment ago."""
        now, key = time.monotonic(), (address, code)
        if now - self._logged_at.get(key, -AGAIN_S) < AGAIN_S:
            self._left_out[key] = self._left_out.get(key, 0) + 1
            return
        if len(self._logged_at) >= _MOST:
            self._logged_at.clear()
            self._left_out.clear()
        self._logged_at[key] = now
        _log.info(
            "refused event=refused endpoint=%s code=%s address=%s stream=%r seq=%s reason=%r not_logged=%d",
            *(self._endpoint, code, address, stream, seq, reason, self._left_out.pop(key, 0)),
        )
