"""The log's lines about who is not let in: few, however often they knock."""

import logging
import time
from typing import Final

AGAIN_S: Final = 60.0
_MOST: Final = 1024
_log = logging.getLogger(__name__)


class RefusalLog:
    """Writes a line about an address at most every `AGAIN_S` seconds. One thread owns it.

    ZeroMQ knocks ten times a second while it is refused, and who tries tokens more often than that; neither
    may fill the disk. Nothing of what they said is written down.
    """

    def __init__(self, door: str) -> None:
        self._door = door
        self._told: dict[str, float] = {}
        self._silent = 0

    def tell(self, code: str, address: str, detail: str) -> None:
        """Write down that an address was refused, unless that was done a moment ago."""
        now = time.monotonic()
        if now - self._told.get(address, -AGAIN_S) < AGAIN_S:
            self._silent += 1
            return
        if len(self._told) >= _MOST:
            self._told.clear()
        self._told[address] = now
        _log.info(
            "refused event=refused door=%s code=%s address=%s reason=%r not_told=%d",
            *(self._door, code, address, detail, self._silent),
        )
        self._silent = 0
