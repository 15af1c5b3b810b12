"""Compressed bodies, within a bound of what they become, and compressed answers."""

import gzip
import zlib
from typing import Final

from dimstream_server.endpoints.http.bodies import PLAIN
from dimstream_server.problem_details import RequestRefused

ENCODINGS: Final = (*PLAIN, "gzip", "deflate")
_WBITS: Final = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}
_PIECE_BYTES: Final = 1_048_576
_LEVEL: Final = 1  # photon counts get hardly smaller by more


def unpacked(body: bytearray, encoding: str, max_bytes: int) -> bytearray:
    """What a body was before it was compressed; the body itself where it was not.

    Raises
    ------
    RequestRefused
        bad_request: it is not what `encoding` says; oversize: it becomes larger than `max_bytes`.
    """
    if encoding not in _WBITS:
        return body
    unpacker = zlib.decompressobj(_WBITS[encoding])
    found = bytearray()
    left: bytes | memoryview = memoryview(body)
    try:
        while left and not unpacker.eof:
            piece, left = left[:_PIECE_BYTES], left[_PIECE_BYTES:]
            while piece and not unpacker.eof:
                found += unpacker.decompress(piece, _PIECE_BYTES)
                piece = unpacker.unconsumed_tail
                if len(found) > max_bytes:
                    raise RequestRefused(
                        "oversize",
                        f"the {encoding} body becomes larger than the {max_bytes} bytes that are taken",
                    )
    except zlib.error as error:
        raise RequestRefused("bad_request", f"expected a body in {encoding}, got {error!s:.100}") from error
    if not unpacker.eof or unpacker.unused_data or left:
        came = "more bytes behind its end" if unpacker.eof else "only a part of it"
        raise RequestRefused("bad_request", f"expected one whole body in {encoding}, got {came}")
    return found


def choose_encoding(accepted: str) -> str:
    """The compression that an ``Accept-Encoding`` header likes best; "identity" where it names none."""
    best, best_quality = "identity", 0.0
    for part in accepted.split(","):
        name, _, parameter = part.strip().lower().partition(";")
        quality = _quality(parameter.strip())
        if name.strip() in _WBITS and quality > best_quality:
            best, best_quality = name.strip(), quality
    return best


def packed(body: bytes, encoding: str) -> bytes:
    """A body in the compression that was chosen."""
    if encoding == "gzip":
        return gzip.compress(body, _LEVEL, mtime=0)
    return zlib.compress(body, _LEVEL) if encoding == "deflate" else body


def _quality(parameter: str) -> float:
    if not parameter.startswith("q="):
        return 1.0
    try:
        return float(parameter[2:])
    except ValueError:
        return 0.0
