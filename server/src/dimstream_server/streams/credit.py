"""How many frames a stream may have in flight: its window, as a part of the credit that all streams share."""

from collections.abc import Sequence
from typing import Self

from dimstream_client.messages import Open
from dimstream_server.errors import TooManyStreams
from dimstream_server.settings import Settings
from dimstream_server.streams.stream import ServerStream, largest_frame_bytes

LATEST_WINDOW = 2
_KEPT_FOR_OTHERS = 4  # 1 / this of all credit is reserved for clients without streams


class Credit:
    """The credit of all streams, and each client's share of it.

    Parameters
    ----------
    max_streams : int
        Most open streams.
    default_window, max_window : int
        Window if OPEN does not state one, and the largest window.
    max_credit, max_credit_bytes : int
        Most frames in flight of all streams together, and their bytes: of raw or denoised pixels, whichever
        is more, and of maps. Later streams get smaller windows. A client that already has streams gets at
        most half of what remains of three quarters; the rest is for other clients.
    max_streams_per_client, max_credit_per_client : int
        The same for the streams of one client: one key or, without keys, one connection.
    """

    def __init__(
        self,
        *,
        max_streams: int,
        default_window: int,
        max_window: int,
        max_credit: int,
        max_credit_bytes: int,
        max_streams_per_client: int,
        max_credit_per_client: int,
    ) -> None:
        self._max_streams = max_streams
        self._default_window = default_window
        self._max_window = max_window
        self._max_credit = max_credit
        self._max_credit_bytes = max_credit_bytes
        self._max_streams_per_client = max_streams_per_client
        self._max_credit_per_client = max_credit_per_client

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Return credit with the bounds of these settings."""
        limits, zmq = settings.limits, settings.zmq
        return cls(
            max_streams=limits.max_streams,
            default_window=zmq.window,
            max_window=zmq.max_window,
            max_credit=limits.max_credit,
            max_credit_bytes=limits.max_credit_bytes,
            max_streams_per_client=limits.max_streams_per_client,
            max_credit_per_client=limits.max_credit_per_client,
        )

    def window_for(self, message: Open, streams: Sequence[ServerStream], *, client: str | bytes) -> int:
        """Return the window for a new stream of a client.

        Parameters
        ----------
        streams : sequence of ServerStream
            The streams that have credit now.
        client : str or bytes
            Its public key or, without keys, its routing id.

        Raises
        ------
        TooManyStreams
            When no stream or no credit is left.
        """
        own = [stream for stream in streams if (stream.owner or stream.peer) == client]
        self._refuse_without_place(len(streams), own)
        left = self._max_credit - sum(stream.window for stream in streams)
        if _share(left, own, of=self._max_credit) < 1:
            raise TooManyStreams(
                f"all {self._max_credit} frames of credit are in use, or reserved for other clients; try "
                "again later"
            )
        promised = sum(stream.window * stream.frame_bytes for stream in streams)
        left_bytes = self._max_credit_bytes - promised
        fitting = _share(left_bytes, own, of=self._max_credit_bytes) // largest_frame_bytes(message)
        if fitting < 1:
            raise TooManyStreams(
                f"of {self._max_credit_bytes} bytes for frames in flight, {promised} are in use, and some "
                "are reserved for other clients; try again later, or with smaller frames"
            )
        wanted = message.window or (LATEST_WINDOW if message.mode == "latest" else self._default_window)
        return min(
            wanted, self._max_window, _share(left, own, of=self._max_credit), fitting, self._left_to(own)
        )

    def _refuse_without_place(self, taken: int, own: list[ServerStream]) -> None:
        if taken >= self._max_streams:
            raise TooManyStreams(f"all {self._max_streams} streams are in use; close one or try again later")
        if len(own) >= self._max_streams_per_client:
            raise TooManyStreams(
                f"this client has {len(own)} open streams, which is the limit "
                "(limits.max_streams_per_client); close one"
            )

    def _left_to(self, own: list[ServerStream]) -> int:
        """Return the frames of credit that are left for the client with these streams."""
        left = self._max_credit_per_client - sum(stream.window for stream in own)
        if left < 1:
            raise TooManyStreams(
                f"all {self._max_credit_per_client} frames of credit that one client may have "
                "(limits.max_credit_per_client) are in use; close a stream"
            )
        return left


def _share(left: int, own: list[ServerStream], *, of: int) -> int:
    """Return what a client may take: everything that is left or, if it already has streams, half of what is
    not reserved."""
    return max(0, left - of // _KEPT_FOR_OTHERS) // 2 if own else left
