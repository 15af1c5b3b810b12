"""Client of dimstream: send frames to the denoising service, get them back with a flag for each."""

from dimstream_client.client import Client, FrameLike, StreamedResults
from dimstream_client.errors import (
    Code,
    ConnectionLost,
    DimstreamError,
    FrameError,
    KeyFileError,
    NotAdmitted,
    Problem,
    ProtocolError,
    RecordError,
    StreamError,
    TiffError,
    Timeout,
)
from dimstream_client.messages import Model, PlaneIndex, Result, Times, Updated
from dimstream_client.stream import Results, Stream
from dimstream_client.trust import Fractions, Thresholds, Trust, WitnessResult

__all__ = [
    "Client",
    "Code",
    "ConnectionLost",
    "DimstreamError",
    "Fractions",
    "FrameError",
    "FrameLike",
    "KeyFileError",
    "Model",
    "NotAdmitted",
    "PlaneIndex",
    "Problem",
    "ProtocolError",
    "RecordError",
    "Result",
    "Results",
    "Stream",
    "StreamError",
    "StreamedResults",
    "Thresholds",
    "TiffError",
    "Timeout",
    "Times",
    "Trust",
    "Updated",
    "WitnessResult",
]
