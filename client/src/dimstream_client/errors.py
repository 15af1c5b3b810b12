"""All errors of the client, and all error codes of the network protocols.

::

    DimstreamError            .code ├── ArgumentError         an argument that cannot be sent, also a
    ValueError; nothing has changed ├── ProtocolError         bytes that are not DIM1; .stream and .seq if the
    header had them │   └── FrameError        a well-formed header whose pixels do not fit it, or do not fit
    the stream ├── StreamError           the server refused something; .problem is what it said ├──
    ConnectionLost        the server is silent or gone │   └── NotAdmitted       the server does not accept
    the client's key, or expects one ├── KeyFileError          a file of keys or tokens that cannot be read or
    written ├── SpoolError            the spool cannot be used, or a file in it is damaged │   └── SpoolFull
    no more frames can be kept; nothing was sent ├── Timeout               a call took longer than allowed;
    nothing was sent in part ├── ImspectorError        Imspector does not run, or its measurement cannot be
    read ├── TiffError             a file that cannot be read as a stack of counts └── RecordError records
    that are not the flags of the planes of a z-stack

The codes are stable, because programs use them. `docs/wire-protocol.md` says how clients must react to each.
"""

from __future__ import annotations

import builtins
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, TypeVar

__all__ = [
    "ArgumentError",
    "Code",
    "ConnectionLost",
    "DimstreamError",
    "FrameError",
    "ImspectorError",
    "KeyFileError",
    "NotAdmitted",
    "Problem",
    "ProtocolError",
    "RecordError",
    "SpoolError",
    "SpoolFull",
    "StreamError",
    "TiffError",
    "Timeout",
]


class Code:
    """Error codes of the network protocols."""

    BAD_MAGIC: Final = "bad_magic"
    BAD_HEADER: Final = "bad_header"
    UNKNOWN_TYPE: Final = "unknown_type"
    BAD_FIELD: Final = "bad_field"
    OVERSIZE: Final = "oversize"
    OVER_CREDIT: Final = "over_credit"
    WRONG_SHAPE: Final = "wrong_shape"
    WRONG_DTYPE: Final = "wrong_dtype"
    WRONG_SIZE: Final = "wrong_size"
    BAD_PIXEL_SIZE: Final = "bad_pixel_size"
    NO_ERROR_BAR: Final = "no_error_bar"
    BAD_CHECKSUM: Final = "bad_checksum"
    BAD_CODEC: Final = "bad_codec"
    UNKNOWN_STREAM: Final = "unknown_stream"
    UNKNOWN_MODEL: Final = "unknown_model"
    SEQUENCE_GAP: Final = "sequence_gap"
    DUPLICATE: Final = "duplicate"
    NOT_FINITE: Final = "not_finite"
    NOT_SUPPORTED: Final = "not_supported"
    TOO_MANY_STREAMS: Final = "too_many_streams"
    TOO_MANY_PLANES: Final = "too_many_planes"
    SERVER_BUSY: Final = "server_busy"
    STREAM_CLOSED: Final = "stream_closed"
    DRAINING: Final = "draining"
    FRAME_FAILED: Final = "frame_failed"
    RECORDING_REFUSED: Final = "recording_refused"
    RECORDING_FAILED: Final = "recording_failed"
    BAD_TOKEN: Final = "bad_token"
    NOT_ADMITTED: Final = "not_admitted"
    INTERNAL: Final = "internal"
    # HTTP and files only
    BAD_IMAGE: Final = "bad_image"
    # these are never sent: only the client uses them
    CONNECTION_LOST: Final = "connection_lost"
    TIMEOUT: Final = "timeout"
    BAD_KEY_FILE: Final = "bad_key_file"
    BAD_SPOOL: Final = "bad_spool"
    SPOOL_FULL: Final = "spool_full"


class Meaning(NamedTuple):
    """Title and HTTP status of a code, and whether the same message may be sent again."""

    title: str
    status: int
    retryable: bool


MEANINGS: Final[Mapping[str, Meaning]] = {
    Code.BAD_MAGIC: Meaning("Not a DIM1 message", 400, False),
    Code.BAD_HEADER: Meaning("The header is not a JSON object", 400, False),
    Code.UNKNOWN_TYPE: Meaning("Unknown message type", 400, False),
    Code.BAD_FIELD: Meaning("A header field is missing, mistyped or unknown", 422, False),
    Code.OVERSIZE: Meaning("Larger than the limit", 413, False),
    Code.OVER_CREDIT: Meaning("Sent beyond the credit limit", 429, True),
    Code.WRONG_SHAPE: Meaning("The frame has another shape than its stream", 422, False),
    Code.WRONG_DTYPE: Meaning("Unsupported data type, or another one than the stream's", 422, False),
    Code.WRONG_SIZE: Meaning("The payload has another size than its header says", 422, False),
    Code.BAD_PIXEL_SIZE: Meaning("Pixels cannot be matched to those that the model knows", 422, False),
    Code.NO_ERROR_BAR: Meaning("The model has no error bars", 422, False),
    Code.BAD_CHECKSUM: Meaning("The payload was damaged on its way", 422, True),
    Code.BAD_CODEC: Meaning("Unknown codec, or a payload it cannot unpack", 422, False),
    Code.UNKNOWN_STREAM: Meaning("No such stream", 404, False),
    Code.UNKNOWN_MODEL: Meaning("No such model", 404, False),
    Code.SEQUENCE_GAP: Meaning("A frame is missing before this one", 409, True),
    Code.DUPLICATE: Meaning("This frame was accepted before", 409, False),
    Code.NOT_FINITE: Meaning("The frame holds NaN or infinity", 422, False),
    Code.NOT_SUPPORTED: Meaning("Not supported by this server", 501, False),
    Code.TOO_MANY_STREAMS: Meaning("No room for another stream", 503, True),
    Code.TOO_MANY_PLANES: Meaning("The stream has too many planes", 422, False),
    Code.SERVER_BUSY: Meaning("The server has as much work as it takes", 503, True),
    Code.STREAM_CLOSED: Meaning("The stream is closed", 409, False),
    Code.DRAINING: Meaning("The server is shutting down", 503, True),
    Code.FRAME_FAILED: Meaning("The model failed on this frame", 500, False),
    Code.RECORDING_REFUSED: Meaning("The server cannot record this stream", 507, False),
    Code.RECORDING_FAILED: Meaning("The recording stopped before its stream", 507, False),
    Code.BAD_TOKEN: Meaning("Missing or wrong token", 401, False),
    Code.NOT_ADMITTED: Meaning("The client's key is not admitted", 403, False),
    Code.INTERNAL: Meaning("The server failed", 500, False),
    Code.BAD_IMAGE: Meaning("The file cannot be read as a stack of counts", 422, False),
}

P = TypeVar("P", bound="Problem")


@dataclass(frozen=True)
class Problem:
    """Description of an error: the members of RFC 9457 and those of dimstream.

    Parameters
    ----------
    type : str
        ``urn:dimstream:error:`` and the code.
    title : str
        Title of the code.
    status : int
        HTTP status code.
    detail : str
        What was expected, what came, what to do.
    code : str
        One of `Code`.
    retryable : bool
        Whether the refused message may be sent again unchanged.
    stream, seq
        Refused stream and frame, if known.
    expected : mapping, optional
        Values that the server expected, for example ``{"seq": 7}`` or ``{"shape": [600, 600]}``.
    """

    type: str
    title: str
    status: int
    detail: str
    code: str
    retryable: bool
    stream: str | None = None
    seq: int | None = None
    expected: Mapping[str, Any] | None = None

    @classmethod
    def of(
        cls: builtins.type[P],  # `type` is a member here
        code: str,
        detail: str,
        *,
        stream: str | None = None,
        seq: int | None = None,
        expected: Mapping[str, Any] | None = None,
        meanings: Mapping[str, Meaning] = MEANINGS,
    ) -> P:
        """Return the problem with the title, status and retryability that belong to `code`."""
        title, status, retryable = meanings[code]
        return cls(
            type=f"urn:dimstream:error:{code}",
            title=title,
            status=status,
            detail=detail,
            code=code,
            retryable=retryable,
            stream=stream,
            seq=seq,
            expected=expected,
        )


class DimstreamError(Exception):
    """Base class of all errors; `code` is one of `Code`."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.detail} [{self.code}]"


class ArgumentError(DimstreamError, ValueError):
    """An argument cannot be sent; the call had no effect."""


class ProtocolError(DimstreamError):
    """The bytes are not a DIM1 message; `stream` and `seq` are set if the header had them."""

    def __init__(
        self,
        code: str,
        detail: str,
        *,
        stream: str | None = None,
        seq: int | None = None,
        expected: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(code, detail)
        self.stream = stream
        self.seq = seq
        self.expected = expected

    @property
    def problem(self) -> Problem:
        """The same as a `Problem`."""
        return Problem.of(self.code, self.detail, stream=self.stream, seq=self.seq, expected=self.expected)


class FrameError(ProtocolError):
    """The pixels do not fit their header or their stream."""


class StreamError(DimstreamError):
    """The server refused a message; `problem` describes why."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.code, problem.detail)
        self.problem = problem

    @property
    def seq(self) -> int | None:
        """Number of the refused frame; None when another message was refused."""
        return self.problem.seq


class ConnectionLost(DimstreamError):
    """The server does not answer, or the connection has ended."""

    def __init__(self, detail: str) -> None:
        super().__init__(Code.CONNECTION_LOST, detail)


class NotAdmitted(ConnectionLost):
    """The server got no key, or does not accept the key: it is unknown or was removed, or the server uses
    none."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.code = Code.NOT_ADMITTED


class KeyFileError(DimstreamError):
    """A key file has wrong content or cannot be written; the text contains no secret."""

    def __init__(self, detail: str) -> None:
        super().__init__(Code.BAD_KEY_FILE, detail)


class SpoolError(DimstreamError):
    """The spool cannot be used, or a file in it is damaged."""

    def __init__(self, detail: str) -> None:
        super().__init__(Code.BAD_SPOOL, detail)


class SpoolFull(SpoolError):
    """No more frames can be kept; nothing was sent."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.code = Code.SPOOL_FULL


class Timeout(DimstreamError):
    """The call took longer than allowed; no frame was sent in part."""

    def __init__(self, detail: str) -> None:
        super().__init__(Code.TIMEOUT, detail)


class ImspectorError(DimstreamError):
    """Imspector does not run, or its measurement cannot be read."""

    def __init__(self, detail: str) -> None:
        super().__init__(Code.BAD_FIELD, detail)


class TiffError(DimstreamError):
    """The file is not a stack of counts; `code` is bad_image, oversize, wrong_dtype or not_finite."""


class RecordError(DimstreamError):
    """The records are not those of a z-stack's planes; `code` is bad_field."""

    def __init__(self, detail: str) -> None:
        super().__init__(Code.BAD_FIELD, detail)
