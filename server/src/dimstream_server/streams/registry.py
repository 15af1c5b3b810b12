"""All open streams, by their ids."""

from collections.abc import Iterator
from typing import Self

from dimstream_client.messages import Open
from dimstream_server.errors import UnknownStream
from dimstream_server.settings import Settings
from dimstream_server.streams.credit import Credit
from dimstream_server.streams.stream import ServerStream


class StreamRegistry:
    """All open streams, bounded in number and in credit.

    Parameters
    ----------
    credit : Credit
        What the streams share.
    """

    def __init__(self, credit: Credit) -> None:
        self._streams: dict[str, ServerStream] = {}
        self._credit = credit

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """A registry with the bounds of these settings."""
        return cls(Credit.of(settings))

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
        return self._credit.window_for(message, self._with_credit(), client=client)

    def _with_credit(self) -> list[ServerStream]:
        """Streams that the limits count; requests have limits of their own (http.max_requests)."""
        return [stream for stream in self._streams.values() if not stream.is_request]

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
