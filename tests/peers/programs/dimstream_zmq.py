"""A dimstream server, asked by its own client: one stream, as an acquisition has it."""

import time
from functools import cache

from dimstream_client import Client

TIMEOUT_S = 120


def connect(settings):
    """What denoises one frame by a stream that stays open."""
    stream = _stream(settings["zmq"], tuple(settings["shape"]), 1)

    def denoise(frame):
        stream.send(frame)
        return _take(stream)

    return denoise


def many(settings, frames, window):
    """All frames with `window` in flight; how long it took, s."""
    stream = _stream(settings["zmq"], tuple(settings["shape"]), window)
    stream.send(frames[0])
    _take(stream)
    started = time.perf_counter()
    for n, frame in enumerate(frames):
        if n >= window:
            _take(stream)
        stream.send(frame)
    for _ in frames[-window:]:
        _take(stream)
    return time.perf_counter() - started


@cache
def _client(endpoint):
    return Client(endpoint, timeout_s=TIMEOUT_S, name="peers")


@cache
def _stream(endpoint, shape, window):
    return _client(endpoint).open(shape, "uint16", window=window)


def _take(stream):
    result = stream.take(timeout_s=TIMEOUT_S)
    if result is None or result.pixels is None:
        raise RuntimeError(f"a frame was not denoised: {result}")
    return result.pixels
