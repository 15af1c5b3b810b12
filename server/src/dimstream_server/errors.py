"""Errors of the server, each with the code that travels on the wire.

::

    ServerError
    ├── StartError                     the server does not start
    │   ├── DeviceUnavailable          device_unavailable
    │   ├── RuntimeInstallation        runtime_installation
    │   ├── UnsupportedNetwork         unsupported_network
    │   └── DuplicateModel             duplicate_model
    ├── Refused                        one request is refused; stream and server live on
    │   ├── UnknownModel               unknown_model
    │   ├── ModelInUse                 model_in_use
    │   ├── TooManyModels              too_many_models
    │   ├── UnknownBundle              unknown_bundle
    │   ├── BundleRefused              bad_bundle
    │   ├── UnknownStream              unknown_stream
    │   ├── StreamClosed               stream_closed
    │   ├── TooManyStreams             too_many_streams    (retryable)
    │   ├── TooManyPlanes              too_many_planes
    │   ├── StreamQueueFull            over_credit         (retryable)
    │   ├── ServerBusy                 server_busy         (retryable)
    │   ├── Draining                   draining            (retryable)
    │   ├── WrongShape                 wrong_shape
    │   ├── WrongDtype                 wrong_dtype
    │   ├── Oversize                   oversize
    │   ├── NotFinite                  not_finite
    │   ├── NoErrorBar                 no_error_bar
    │   ├── OnlyLabels                 bad_field
    │   ├── BadUpdate                  bad_field
    │   ├── CannotMatchPixels          bad_pixel_size
    │   ├── NotWaitedFor                duplicate
    │   └── RecordingRefused           recording_refused
    ├── RecordingFailed                recording_failed; a recording stopped, the stream went on
    ├── FrameFailed                    frame_failed; an accepted frame has no prediction
    └── DeviceLost                     device_lost; a device computes nothing any more
"""

from __future__ import annotations

from typing import Any


class ServerError(Exception):
    """Anything that the server says no to; the message says what was expected, what came, what to do."""

    code = "internal"
    retryable = False


class StartError(ServerError):
    """The server cannot start as it was asked to."""


class DeviceUnavailable(StartError):
    """The device that was asked for is not there; there is no fall-back to another."""

    code = "device_unavailable"


class RuntimeInstallation(StartError):
    """Not exactly one of onnxruntime and onnxruntime-gpu is installed."""

    code = "runtime_installation"


class UnsupportedNetwork(StartError):
    """The bundle's network does not take and give one image, or its opset cannot be served."""

    code = "unsupported_network"


class DuplicateModel(StartError):
    """Two bundles have the same id."""

    code = "duplicate_model"


class Refused(ServerError):
    """One request is refused; nothing of it was kept."""


class UnknownModel(Refused):
    """No bundle has this id."""

    code = "unknown_model"


class ModelInUse(Refused):
    """Streams need the model that was to be unloaded or replaced."""

    code = "model_in_use"


class TooManyModels(Refused):
    """As many models are served as the settings allow."""

    code = "too_many_models"


class UnknownBundle(Refused):
    """No folder of bundles has one of this name."""

    code = "unknown_bundle"


class BundleRefused(Refused):
    """The bundle cannot be read, or does not do what it says."""

    code = "bad_bundle"


class UnknownStream(Refused):
    """No open stream has this id."""

    code = "unknown_stream"


class StreamClosed(Refused):
    """The stream has been asked to close and takes nothing more."""

    code = "stream_closed"


class TooManyStreams(Refused):
    """As many streams are open as the settings allow."""

    code = "too_many_streams"
    retryable = True


class TooManyPlanes(Refused):
    """The stream has as many (channel, z, position) planes as the settings allow."""

    code = "too_many_planes"


class StreamQueueFull(Refused):
    """As many frames of this stream wait as the settings allow."""

    code = "over_credit"
    retryable = True


class ServerBusy(Refused):
    """As many frames of all streams together wait as the settings allow."""

    code = "server_busy"
    retryable = True


class Draining(Refused):
    """The server is stopping: it answers what it accepted and takes nothing more."""

    code = "draining"
    retryable = True


class WrongShape(Refused):
    """The frame is not of the shape that the stream was opened with."""

    code = "wrong_shape"


class WrongDtype(Refused):
    """The pixel type is not one that the stream or the server takes."""

    code = "wrong_dtype"


class Oversize(Refused):
    """The frame has more pixels than the settings allow."""

    code = "oversize"


class NotFinite(Refused):
    """The frame holds NaN or infinity."""

    code = "not_finite"


class NoErrorBar(Refused):
    """Error bars are wanted of a model that has none."""

    code = "no_error_bar"


class OnlyLabels(Refused):
    """A result of denoising was requested from a model that classifies pixels."""

    code = "bad_field"


class BadUpdate(Refused):
    """The update names a sequence number that is past, contradicts itself, or changes nothing."""

    code = "bad_field"


class CannotMatchPixels(Refused):
    """Photons were to be put on pixels of a size that the model knows, and cannot be."""

    code = "bad_pixel_size"


class NotWaitedFor(Refused):
    """The stream's memory does not wait for this frame."""

    code = "duplicate"


class RecordingRefused(Refused):
    """The server cannot record this stream: no room, no permission, or another writes there."""

    code = "recording_refused"


class RecordingFailed(ServerError):
    """A recording stopped before its stream did.

    Parameters
    ----------
    files : tuple of dimstream_server.recording.RecordedFile
        What was kept.
    """

    code = "recording_failed"

    def __init__(self, detail: str, files: tuple[Any, ...] = ()) -> None:
        super().__init__(detail)
        self.files = files


class FrameFailed(ServerError):
    """The model raised, or gave NaN or infinity, on this frame."""

    code = "frame_failed"


class DeviceLost(ServerError):
    """A device fails on whatever it is asked; its streams go on elsewhere, or the server stops."""

    code = "device_lost"
