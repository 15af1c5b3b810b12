"""Streams that one request feeds, from its own thread."""

from collections.abc import Callable
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any, cast

import numpy as np

from dimstream_client.messages import Frame, PlaneIndex
from dimstream_server.engine.protocol import FrameTask
from dimstream_server.streams.request_streams import RequestStream


class _Engine:
    """Answers each frame at once, by the mean of its pixels."""

    def open(self, spec: object) -> str:
        return "engine's"

    def submit(self, stream: str, task: FrameTask) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(float(task.pixels.mean()))
        return future

    def close(self, stream: str) -> None:
        pass


class _Requests:
    """Notes what the loop is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, tuple[Any, ...]]] = []

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *what: self.told.append((name, what))


def test_who_watches_is_shown_copies_since_the_pixels_are_part_of_a_body() -> None:
    body = np.arange(2 * 64, dtype=np.uint16).reshape(2, 8, 8)
    requests = _Requests()
    stream = SimpleNamespace(spec=None, window=2, id="a", engine_id="")
    feed = RequestStream(
        *cast(Any, (_Engine(), stream, requests, lambda call, *what: call(*what))),
    )
    with feed:
        for seq, pixels in enumerate(body):
            feed.submit(Frame("a", seq, pixels, PlaneIndex(t=seq)))
        assert feed.is_full
        answers = [feed.take()[1] for _ in body]
    assert answers == [pixels.mean() for pixels in body]
    assert [name for name, _ in requests.told] == ["opened", *["accepted"] * 2, *["answered"] * 2, "ended"]
    for name, what in requests.told[1:-1]:
        frame = what[1]
        np.testing.assert_array_equal(frame.pixels, body[frame.seq], err_msg=name)
        assert not np.shares_memory(frame.pixels, body)
