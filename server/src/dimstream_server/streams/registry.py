"""All open streams, by id."""

from collections.abc import Iterator
from typing import Self

from dimstream_client.messages import Open
from dimstream_server.errors import UnknownStream
from dimstream_server.settings import Settings
from dimstream_server.streams.credit import Credit
from dimstream_server.streams.stream import ServerStream


class StreamRegistry:
    """All open streams, limited in number and credit.

    Parameters
    ----------
    credit : Credit
        Credit that the streams share.
    """

    def __init__(self, credit: Credit) -> None:
        self._streams: dict[str, ServerStream] = {}
        self._credit = credit

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Return a registry with the limits of these settings."""
        return cls(Credit.of(settings))

    def __len__(self) -> int:
        return len(self._streams)

    def __contains__(self, stream: ServerStream) -> bool:
        return self._streams.get(stream.id) is stream

    def __iter__(self) -> Iterator[ServerStream]:
        return iter(tuple(self._streams.values()))

    def window_for(self, message: Open, *, client: str | bytes) -> int:
        """Return the window for a new stream of a client.

        Parameters
        ----------
        client : str or bytes
            Its public key or, without keys, its routing id.

        Raises
        ------
        TooManyStreams
            When no stream or no credit is left.
        """
        return self._credit.window_for(message, self._with_credit(), client=client)

    def _with_credit(self) -> list[ServerStream]:
        """Streams that count for the limits; requests have separate limits (http.max_requests)."""
        return [stream for stream in self._streams.values() if not stream.is_request]

    def add(self, stream: ServerStream) -> None:
        """Add a stream."""
        self._streams[stream.id] = stream

    def find(self, peer: bytes, stream_id: str, *, owner: str = "") -> ServerStream:
        """Return the stream with this id, if this connection opened it with this key.

        Raises
        ------
        UnknownStream
            When there is none, or it belongs to another connection.
        """
        stream = self.get(peer, stream_id)
        if stream is None or stream.owner != owner:
            raise UnknownStream(f"this connection has no open stream {stream_id!r}; OPEN one first")
        return stream

    def get(self, peer: bytes, stream_id: str) -> ServerStream | None:
        """Return the stream with this id; None unless this connection opened it."""
        stream = self._streams.get(stream_id)
        return stream if stream is not None and stream.peer == peer else None

    def of_id(self, stream_id: str) -> ServerStream | None:
        """Return the open stream with this id, whichever connection opened it."""
        return self._streams.get(stream_id)

    def remove(self, stream: ServerStream) -> None:
        """Remove a stream; its id is unknown until it is resumed."""
        if stream in self:
            del self._streams[stream.id]

    def in_flight(self) -> int:
        """Number of frames of all streams whose results were not delivered."""
        return sum(stream.in_flight for stream in self._streams.values())

    def of_peer(self, peer: bytes) -> list[ServerStream]:
        """Return the streams of this connection."""
        return [stream for stream in self._streams.values() if stream.peer == peer]

    def payload_bytes(self, peer: bytes) -> int:
        """Return the largest size of the pixels of a frame of this connection, bytes; 0 while it has no
        stream."""
        return max((stream.payload_bytes for stream in self.of_peer(peer)), default=0)
