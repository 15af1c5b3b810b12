"""All open streams, and what room they leave for another."""

from collections.abc import Iterator
from typing import Self

from dimstream_client.messages import Open
from dimstream_server.errors import TooManyStreams, UnknownStream
from dimstream_server.settings import Settings
from dimstream_server.streams.stream import ServerStream, largest_frame_bytes

LATEST_WINDOW = 2
_KEPT_FOR_OTHERS = 4  # one part in so many of all credit is for clients that have no stream


class StreamRegistry:
    """All open streams, bounded in number and in credit.

    Parameters
    ----------
    max_streams : int
        Streams open at once.
    default_window, max_window : int
        Window where OPEN names none, and the largest that is granted.
    max_credit, max_credit_bytes : int
        Frames in flight of all streams together, and their bytes, raw or denoised, whichever is more, with
        their maps. Later streams get smaller windows, and whoever has streams already gets at most half of
        what is left of three quarters: the rest is for others.
    max_streams_per_client, max_credit_per_client : int
        The same of the streams of one client: one key, or without keys one connection.
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
        self._streams: dict[str, ServerStream] = {}
        self._max_streams = max_streams
        self._default_window = default_window
        self._max_window = max_window
        self._max_credit = max_credit
        self._max_credit_bytes = max_credit_bytes
        self._max_streams_per_client = max_streams_per_client
        self._max_credit_per_client = max_credit_per_client

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """A registry with the bounds of these settings."""
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

    def __len__(self) -> int:
        return len(self._streams)

    def __contains__(self, stream: ServerStream) -> bool:
        return self._streams.get(stream.id) is stream

    def __iter__(self) -> Iterator[ServerStream]:
        return iter(tuple(self._streams.values()))

    def window_for(self, message: Open, *, client: str | bytes) -> int:
        """Window that a new stream of a client gets.

        Parameters
        ----------
        client : str or bytes
            Its public key, or without keys its routing id.

        Raises
        ------
        TooManyStreams
            No stream or no credit is left.
        """
        promised_to = self._with_credit()
        own = [stream for stream in promised_to if (stream.owner or stream.peer) == client]
        self._refuse_without_place(len(promised_to), own)
        left = self._max_credit - sum(stream.window for stream in promised_to)
        if _share(left, own, of=self._max_credit) < 1:
            raise TooManyStreams(
                f"all {self._max_credit} frames of credit are promised, or kept for other clients; "
                "try again later"
            )
        promised = sum(stream.window * stream.frame_bytes for stream in promised_to)
        left_bytes = self._max_credit_bytes - promised
        fitting = _share(left_bytes, own, of=self._max_credit_bytes) // largest_frame_bytes(message)
        if fitting < 1:
            raise TooManyStreams(
                f"of {self._max_credit_bytes} bytes for frames in flight {promised} are promised, and some "
                "are kept for other clients; try again later, or with smaller frames"
            )
        wanted = message.window or (LATEST_WINDOW if message.mode == "latest" else self._default_window)
        return min(
            wanted, self._max_window, _share(left, own, of=self._max_credit), fitting, self._left_to(own)
        )

    def _with_credit(self) -> list[ServerStream]:
        """Streams that the limits count; requests have limits of their own (http.max_requests)."""
        return [stream for stream in self._streams.values() if not stream.is_request]

    def _refuse_without_place(self, taken: int, own: list[ServerStream]) -> None:
        if taken >= self._max_streams:
            raise TooManyStreams(f"all {self._max_streams} streams are in use; close one or try again later")
        if len(own) >= self._max_streams_per_client:
            raise TooManyStreams(
                f"this client has {len(own)} streams open, as many as one may have "
                "(limits.max_streams_per_client); close one"
            )

    def _left_to(self, own: list[ServerStream]) -> int:
        """Frames of credit that are left to the client with these streams."""
        left = self._max_credit_per_client - sum(stream.window for stream in own)
        if left < 1:
            raise TooManyStreams(
                f"all {self._max_credit_per_client} frames of credit that one client may have "
                "(limits.max_credit_per_client) are promised to this one; close a stream"
            )
        return left

    def add(self, stream: ServerStream) -> None:
        """Enter a stream."""
        self._streams[stream.id] = stream

    def find(self, peer: bytes, stream_id: str, *, owner: str = "") -> ServerStream:
        """The stream of this id, when this peer opened it, with this key.

        Raises
        ------
        UnknownStream
            There is none; another peer's stream is not told apart.
        """
        stream = self.get(peer, stream_id)
        if stream is None or stream.owner != owner:
            raise UnknownStream(f"this peer has no open stream {stream_id!r}; OPEN one first")
        return stream

    def get(self, peer: bytes, stream_id: str) -> ServerStream | None:
        """The stream of this id, or None unless this peer opened it."""
        stream = self._streams.get(stream_id)
        return stream if stream is not None and stream.peer == peer else None

    def of_id(self, stream_id: str) -> ServerStream | None:
        """The open stream of this id, whoever opened it."""
        return self._streams.get(stream_id)

    def remove(self, stream: ServerStream) -> None:
        """Take a stream out; its id is unknown until it is resumed."""
        if stream in self:
            del self._streams[stream.id]

    def in_flight(self) -> int:
        """Frames of all streams whose results were not handed over."""
        return sum(stream.in_flight for stream in self._streams.values())

    def of_peer(self, peer: bytes) -> list[ServerStream]:
        """Streams that this peer opened."""
        return [stream for stream in self._streams.values() if stream.peer == peer]

    def payload_bytes(self, peer: bytes) -> int:
        """Most bytes that the pixels of a frame of this peer may take; 0 while it has no stream."""
        return max((stream.payload_bytes for stream in self.of_peer(peer)), default=0)


def _share(left: int, own: list[ServerStream], *, of: int) -> int:
    """What a client may take: all that is left; with streams already, half of what is not kept for others."""
    return max(0, left - of // _KEPT_FOR_OTHERS) // 2 if own else left
