"""Follow the streams of a server as in its live view: newest frames, timeline, and earlier frames.

Needs the package `websockets`, which is in the extras `live` and `napari`.
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
