"""The newest frame of a server's streams, for a reader that has time for a frame only occasionally."""

from __future__ import annotations

import time
from collections.abc import Sequence

from dimstream_client.live import FollowedStream, LiveConnection, LiveMessage, ShownFrame


class NewestFrame:
    """Watches a server's live view. It asks for a frame only when the caller has time for one.

    Parameters
    ----------
    connection : LiveConnection
        A connection that was just opened.
    """

    def __init__(self, connection: LiveConnection) -> None:
        self.streams: dict[str, FollowedStream] = {}
        """Streams by id, as the server last sent them."""
        self._connection = connection

    def catch_up(self) -> None:
        """Read all messages that have arrived; only the list of streams is kept.

        Raises
        ------
        ConnectionLost, ProtocolError
        """
        while (message := self._connection.receive(0)) is not None:
            self._take(message)

    def wait(self, timeout_s: float) -> None:
        """Read until the server has sent its list of streams, or for `timeout_s`.

        Raises
        ------
        ConnectionLost, ProtocolError
        """
        end = time.monotonic() + timeout_s
        while (message := self._receive(end)) is not None:
            self._take(message)
            if message.type == "status":
                return

    def of(
        self, streams: Sequence[str], plane: tuple[int, int, int] | None, timeout_s: float
    ) -> ShownFrame | None:
        """Return the newest denoised frame of one of these streams; None when none arrives in time.

        Parameters
        ----------
        plane : (int, int, int) or None
            Channel, z, position; None: any.

        Raises
        ------
        ConnectionLost, ProtocolError
        """
        end = time.monotonic() + timeout_s
        self._connection.watch([{"stream": one, "plane": plane, "parts": ["denoised"]} for one in streams])
        found = None
        while found is None and (message := self._receive(end)) is not None:
            found = self._take(message)
        self._connection.watch([])
        return found

    def _receive(self, end: float) -> LiveMessage | None:
        return self._connection.receive(max(0.0, end - time.monotonic()))

    def _take(self, message: LiveMessage) -> ShownFrame | None:
        if message.type == "status":
            self.streams = {one.id: one for one in FollowedStream.all_of(message)}
        return ShownFrame.of(message) if message.type == "frame" else None
