"""Streams, independent of the endpoint: opened, fed, resumed, recorded and watched; no sockets, no HTTP.

`service` is the interface for endpoints. `stream` is one stream with its credit, `registry` all streams.
`opening`, `resuming` and `journal` open and resume streams, `stream_recording` records them.
`request_streams` are streams that one request feeds, and `subscribers` are those who watch.
"""

from dimstream_server.streams.flag_watch import FlagChange
from dimstream_server.streams.opening import Requester
from dimstream_server.streams.request_streams import RequestStream
from dimstream_server.streams.service import StreamService
from dimstream_server.streams.stream import Channel, ServerStream
from dimstream_server.streams.subscribers import SeenFrame, StreamEnded, Subscription

__all__ = [
    "Channel",
    "FlagChange",
    "RequestStream",
    "Requester",
    "SeenFrame",
    "ServerStream",
    "StreamEnded",
    "StreamService",
    "Subscription",
]
