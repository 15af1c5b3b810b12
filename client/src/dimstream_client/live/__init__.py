"""Watch the streams of a server as its live view shows them: newest frames, the timeline, any frame again.

Needs the package `websockets`, which the extras `live` and `napari` bring.
"""

from dimstream_client.live.connection import LiveConnection
from dimstream_client.live.follower import FollowedStream, ShownFrame, StreamFollower
from dimstream_client.live.frames import FollowedFrames
from dimstream_client.live.messages import LiveMessage, decode
from dimstream_client.live.timeline import FLAGS, Timeline

__all__ = [
    "FLAGS",
    "FollowedFrames",
    "FollowedStream",
    "LiveConnection",
    "LiveMessage",
    "ShownFrame",
    "StreamFollower",
    "Timeline",
    "decode",
]
