"""Stream the frames of a running measurement in Imspector with specpy.

Needs specpy, from Imspector's own installation or the extra ``imspector``; it is imported by `connect`.
`docs/imspector.md` lists what was not tested with the real program.
"""

from dimstream_client.imspector.following import follow
from dimstream_client.imspector.measurement import ImspectorFrames, ScannedFrame
from dimstream_client.imspector.program import Imspector, connect

__all__ = ["Imspector", "ImspectorFrames", "ScannedFrame", "connect", "follow"]
