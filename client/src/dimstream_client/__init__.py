"""Client of dimstream: send frames to the denoising service, get them back with a flag for each."""

from dimstream_client.client import Client, FrameLike, StreamedResults
from dimstream_client.errors import (
    ArgumentError,
    Code,
    ConnectionLost,
    DimstreamError,
    FrameError,
    ImspectorError,
    KeyFileError,
    NotAdmitted,
    Problem,
    ProtocolError,
    RecordError,
    SpoolError,
    SpoolFull,
    StreamError,
    TiffError,
    Timeout,
)
from dimstream_client.messages import Closed, Frame, Model, PlaneIndex, Result, Times, Updated
from dimstream_client.quality import Forecast, Fractions, QualityMetrics, SplitResult, Thresholds
from dimstream_client.results import Results
from dimstream_client.resume_handle import ResumeHandle
from dimstream_client.spool import Spool
from dimstream_client.stream import Stream

__all__ = [
    "ArgumentError",
    "Client",
    "Closed",
    "Code",
    "ConnectionLost",
    "DimstreamError",
    "Forecast",
    "Fractions",
    "Frame",
    "FrameError",
    "FrameLike",
    "ImspectorError",
    "KeyFileError",
    "Model",
    "NotAdmitted",
    "PlaneIndex",
    "Problem",
    "ProtocolError",
    "QualityMetrics",
    "RecordError",
    "Result",
    "Results",
    "ResumeHandle",
    "SplitResult",
    "Spool",
    "SpoolError",
    "SpoolFull",
    "Stream",
    "StreamError",
    "StreamedResults",
    "Thresholds",
    "TiffError",
    "Timeout",
    "Times",
    "Updated",
]
