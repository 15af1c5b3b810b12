"""Streams whatever they come by: opened, fed, resumed, recorded and watched; no sockets, no HTTP.

`service` is what endpoints ask. `stream` is one stream and its credit, `registry` all of them; `opening`,
`resuming` and `journal` bring one to life, again if need be; `stream_recording` writes it down;
`requests` are streams that one request feeds, `subscribers` who watch.
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
