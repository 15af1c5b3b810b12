"""Checks that an answer fits its request, so that wrong pixels are not delivered.

Each function returns a description of the error, or None. A refused answer is requested again.
"""

from __future__ import annotations

from dimstream_client.messages import Open, Opened, PlaneIndex, Result


def why_not_opened(request: Open, opened: Opened) -> str | None:
    """Return why OPENED does not fit its OPEN; None if it fits."""
    asked = {
        "next_seq": (request.next_result, opened.next_seq),
        "stream": (request.stream or opened.stream, opened.stream),
        "model": (request.model or opened.model.id, opened.model.id),
        "checksum": (request.checksum, opened.checksum),
        "window": (min(request.window or opened.window, opened.window), opened.window),
        "limit": (min(max(opened.limit, opened.next_seq + 1), opened.next_seq + opened.window), opened.limit),
        "references": (tuple(seq for seq in opened.references if seq < opened.next_seq), opened.references),
    }
    for name, (expected, got) in asked.items():
        if expected != got:
            return f"OPENED field {name}: expected {expected!r}, got {got!r}"
    converts = (opened.offset, opened.gain) != (None, None)
    if not converts and (request.offset, request.gain) != (None, None):
        return "OPENED fields offset and gain: expected what was asked for, got none: counts would be wrong"
    if opened.codec not in request.codecs:
        return f"OPENED field codec: expected one of {', '.join(request.codecs)}, got {opened.codec!r}"
    return None


def why_not_result(request: Open, index: PlaneIndex, result: Result) -> str | None:
    """Return why RESULT does not fit the frame with this index; None if it fits."""
    done = result.status == "done"
    if result.index != index:
        return f"it is of {result.index}, expected {index}"
    if (result.pixels is not None) != (done and request.deliver == "result"):
        return f"it came {_with(result.pixels)} pixels, although its status is {result.status}"
    if (result.support is not None) != (done and request.maps):
        return f"it came {_with(result.support)} a map, although its status is {result.status}"
    if (result.sd is not None) != (done and bool(request.sd)):
        return f"it came {_with(result.sd)} error bars, although its status is {result.status}"
    for what, pixels in (("pixels", result.pixels), ("map", result.support), ("error bars", result.sd)):
        if pixels is not None and pixels.shape != request.shape:
            return f"its {what} have shape {pixels.shape}, expected {request.shape}"
    if result.pixels is not None and result.pixels.dtype.name != request.out_dtype:
        return f"its pixels are {result.pixels.dtype.name}, expected {request.out_dtype}"
    return None


def _with(array: object) -> str:
    return "without" if array is None else "with"
