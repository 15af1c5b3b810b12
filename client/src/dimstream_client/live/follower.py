"""Follow one stream of a server on a separate thread: newest frame, timeline, and earlier frames."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from dimstream_client.errors import ConnectionLost, ProtocolError
from dimstream_client.live.connection import LiveConnection
from dimstream_client.live.messages import LiveMessage, reading
from dimstream_client.live.timeline import Timeline
from dimstream_client.messages import PlaneIndex

PARTS: Final = ("raw", "denoised", "support")
_RECEIVE_S: Final = 0.5
_FIRST_PAUSE_S: Final = 0.5
_LONGEST_PAUSE_S: Final = 5.0
_FEWEST_KEPT: Final = 2
_NEWEST: Final = 0  # number of its view


@dataclass(frozen=True)
class FollowedStream:
    """Description of a stream by the server.

    Parameters
    ----------
    id : str
    client : str
        Name of the client that sends it.
    shape : (int, int)
        Shape of a frame, (H, W).
    dtype, out_dtype : str
        Data types of raw and denoised pixels.
    pixel_size_um : float or None
    planes : tuple of (int, int, int)
        Channel, z and position of each plane, in the order of their first frames.
    state : str
        `open`, `away` or `ended`.
    endpoint : str
        `zmq`, or `http` for a file in one HTTP request.
    frames : int
        Number of answered frames.
    newest_seq : int
        Number of the newest answered frame of all planes.
    delivers_pixels : bool
        Whether there are denoised frames, or only flags.
    """

    id: str
    client: str
    shape: tuple[int, int]
    dtype: str
    out_dtype: str
    pixel_size_um: float | None
    planes: tuple[tuple[int, int, int], ...]
    state: str
    endpoint: str
    frames: int
    newest_seq: int
    delivers_pixels: bool

    @classmethod
    def all_of(cls, message: LiveMessage) -> list[FollowedStream]:
        """Return the streams of a message `status`.

        Raises
        ------
        ProtocolError
        """
        with reading(message):
            return [cls._of(one) for one in message.header["streams"]]

    @classmethod
    def _of(cls, told: Mapping[str, Any]) -> FollowedStream:
        height, width = told["shape"]
        return cls(
            id=told["stream"],
            client=told["client"],
            shape=(height, width),
            dtype=told["dtype"],
            out_dtype=told["out_dtype"],
            pixel_size_um=told["pixel_size_um"],
            planes=tuple((c, z, p) for c, z, p in told["planes"]),
            state=told["state"],
            endpoint=told["endpoint"],
            frames=told["frames"],
            newest_seq=told["newest_seq"],
            delivers_pixels=told["delivers_pixels"],
        )


@dataclass(frozen=True)
class ShownFrame:
    """A frame of the live view.

    Parameters
    ----------
    images : mapping
        The available images of `raw`, `denoised` and `support`, (H, W).
    flag, reason : str or None
    figures : mapping
        All fields of the message, see docs/live-view.md.
    """

    stream: str
    seq: int
    index: PlaneIndex
    flag: str | None
    reason: str | None
    images: Mapping[str, npt.NDArray[Any]]
    figures: Mapping[str, Any]

    @property
    def plane(self) -> tuple[int, int, int]:
        """Channel, z and position."""
        return self.index.c, self.index.z, self.index.p

    @classmethod
    def of(cls, message: LiveMessage) -> ShownFrame:
        """Return the frame of a message `frame`.

        Raises
        ------
        ProtocolError
        """
        header = message.header
        with reading(message):
            return cls(
                stream=header["stream"],
                seq=int(header["seq"]),
                index=PlaneIndex(**header["index"]),
                flag=header.get("flag"),
                reason=header.get("reason"),
                images=message.arrays,
                figures=header,
            )


class StreamFollower:
    """Follows a stream until `close` is called; reconnects when the server cannot be reached.

    Parameters
    ----------
    server : str
        ``http://HOST:PORT``.
    token : str, optional
    cache_bytes : int
        Memory for frames that were shown, bytes, so that they need not be requested again.

    `problem` is a sentence that says why no frames come now; None: it is connected. `version` increases with
    every change. All methods can be called by any thread.
    """

    def __init__(self, server: str, *, token: str | None = None, cache_bytes: int = 2**28) -> None:
        self._server, self._token = server, token
        self._changed = threading.Condition()
        self._stopped = threading.Event()
        self._connection: LiveConnection | None = None
        self._streams: dict[str, FollowedStream] = {}
        self._stream: str | None = None
        self._plane: tuple[int, int, int] | None = None
        self._timeline = Timeline()
        self._newest: ShownFrame | None = None
        self._asked: int | None = None
        self._cache: OrderedDict[int, ShownFrame] = OrderedDict()
        self._cache_bytes = cache_bytes
        self._missing: set[int] = set()
        self.problem: str | None = "not connected yet"
        self.version = 0
        self._thread = threading.Thread(target=self._run, name="dimstream-follower", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the connection and the thread."""
        self._stopped.set()
        with self._changed:
            connection, self.problem = self._connection, "the connection was closed"
        if connection is not None:
            connection.close()
        self._thread.join(timeout=10)

    def streams(self) -> list[FollowedStream]:
        """Return the streams that the server has reported."""
        with self._changed:
            return list(self._streams.values())

    def follow(self, stream: str, plane: tuple[int, int, int] | None = None) -> None:
        """Follow this stream from now on, either one plane (channel, z, position) or, for None, all
        planes."""
        with self._changed:
            self._stream, self._plane = stream, plane
            self._timeline, self._newest, self._asked = Timeline(), None, None
            self._cache.clear()
            self._missing.clear()
            self.version += 1
        self._watch()

    @property
    def stream(self) -> FollowedStream | None:
        """The followed stream; None until the server has reported it."""
        with self._changed:
            return self._streams.get(self._stream or "")

    @property
    def newest(self) -> ShownFrame | None:
        """The newest frame."""
        with self._changed:
            return self._newest

    def columns(self) -> dict[str, npt.NDArray[Any]]:
        """Return the timeline of the plane, see `Timeline`; (N,) arrays by name, of one length."""
        with self._changed:
            stream = self._streams.get(self._stream or "")
            number = None
            if self._plane is not None and stream is not None and self._plane in stream.planes:
                number = stream.planes.index(self._plane)
            return self._timeline.of_plane(number)

    def seqs(self) -> npt.NDArray[np.int64]:
        """Return the sequence numbers of the frames in the timeline, (N,)."""
        return np.asarray(self.columns().get("seq", ()), np.int64)

    def frame(self, seq: int, *, timeout_s: float = 5.0) -> ShownFrame | None:
        """Return frame `seq`; None if it is neither in memory nor recorded, or did not come in time."""
        with self._changed:
            if seq in self._cache or seq in self._missing or self.problem is not None:
                return self._cached(seq)
            self._asked = seq
        self._watch()
        with self._changed:
            self._changed.wait_for(
                lambda: seq in self._cache or seq in self._missing or self.problem is not None, timeout_s
            )
            return self._cached(seq)

    def _cached(self, seq: int) -> ShownFrame | None:
        if seq in self._cache:
            self._cache.move_to_end(seq)
        return self._cache.get(seq)

    def _run(self) -> None:
        pause_s = _FIRST_PAUSE_S
        while not self._stopped.is_set():
            try:
                with LiveConnection(self._server, token=self._token) as connection:
                    self._begin(connection)
                    pause_s = _FIRST_PAUSE_S
                    self._receive(connection)
            except (ConnectionLost, ProtocolError) as error:
                self._fail(str(error))
            self._stopped.wait(pause_s)
            pause_s = min(_LONGEST_PAUSE_S, 2 * pause_s)

    def _begin(self, connection: LiveConnection) -> None:
        with self._changed:
            self._connection, self.problem = connection, None
            self._missing.clear()  # another server, or the same one after a restart, may have it
            self.version += 1
        self._watch()

    def _receive(self, connection: LiveConnection) -> None:
        while not self._stopped.is_set():
            message = connection.receive(_RECEIVE_S)
            if message is not None:
                with self._changed:
                    self._take(message)
                    self.version += 1
                    self._changed.notify_all()

    def _fail(self, problem: str) -> None:
        with self._changed:
            self._connection = None
            if not self._stopped.is_set():
                self.problem = problem
            self.version += 1
            self._changed.notify_all()

    def _take(self, message: LiveMessage) -> None:
        header = message.header
        if message.type == "status":
            self._streams = {one.id: one for one in FollowedStream.all_of(message)}
        elif header.get("stream") != self._stream:
            return  # of the stream that was followed before
        elif message.type == "rows":
            self._timeline.take(header, message.arrays)
        elif message.type == "missing":
            self._missing.add(int(header["seq"]))
        elif message.type == "frame":
            self._keep(ShownFrame.of(message), is_newest=header["view"] == _NEWEST)

    def _keep(self, frame: ShownFrame, *, is_newest: bool) -> None:
        if is_newest:
            self._newest = frame
        self._cache[frame.seq] = frame
        self._cache.move_to_end(frame.seq)
        each = sum(image.nbytes for image in frame.images.values())
        while len(self._cache) > _FEWEST_KEPT and len(self._cache) * each > self._cache_bytes:
            self._cache.popitem(last=False)

    def _watch(self) -> None:
        """Send the requested views to the server, or keep them for the next connection."""
        with self._changed:
            connection, stream, asked = self._connection, self._stream, self._asked
            plane = None if self._plane is None else list(self._plane)
        if connection is None or stream is None:
            return
        views: list[dict[str, Any]] = [{"stream": stream, "plane": plane, "parts": list(PARTS), "rows": True}]
        if asked is not None:
            views.append({"stream": stream, "seq": asked, "parts": list(PARTS)})
        try:
            connection.watch(views)
        except ConnectionLost as error:
            self._fail(str(error))
