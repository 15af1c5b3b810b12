"""Recordings on the server: raw and denoised frames, one line per frame, and how they were processed."""

from dimstream_server.recording.analysis_log import AnalysedFrame, AnalysisLog
from dimstream_server.recording.recorder import Recorder
from dimstream_server.recording.recording import Recording
from dimstream_server.recording.spec import RecordedFile, RecordedFrame, RecordingSpec

__all__ = [
    "AnalysedFrame",
    "AnalysisLog",
    "RecordedFile",
    "RecordedFrame",
    "Recorder",
    "Recording",
    "RecordingSpec",
]
