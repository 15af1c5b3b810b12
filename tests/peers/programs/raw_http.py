"""A raw body there and one back, over one connection of Python's ``http.client``."""

import http.client

import numpy as np

TIMEOUT_S = 120


def poster(port, path, head=b"", skip=0, headers=None):
    """What posts one frame (H, W) uint16 with `head` before it, and reads the answer behind `skip` bytes."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
    connection.connect()
    sent = {"Content-Type": "application/octet-stream", **(headers or {})}

    def denoise(frame):
        connection.request("POST", path, head + frame.tobytes(), sent)
        answer = connection.getresponse()
        body = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{answer.status}: {body[:200]!r}")
        return np.frombuffer(body, np.uint16, offset=skip).reshape(frame.shape)

    return denoise
