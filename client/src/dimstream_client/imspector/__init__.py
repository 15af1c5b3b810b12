"""Frames of a measurement that runs in Imspector, by specpy: line by line counted, copied, streamed.

Needs specpy, which is imported when `connect` is called: that of Imspector's own installation, or the extra
``imspector``. `docs/imspector.md` says what was never tried on the real program.
"""

from dimstream_client.imspector.following import follow
from dimstream_client.imspector.measurement import ImspectorFrames, ScannedFrame
from dimstream_client.imspector.program import Imspector, connect

__all__ = ["Imspector", "ImspectorFrames", "ScannedFrame", "connect", "follow"]
