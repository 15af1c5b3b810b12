"""The ways that a frame can go, each timed from counts in to denoised counts out.

*Bare* is ``session.run`` of the fused graph in this process; the others go through a server's endpoints.
"""

from __future__ import annotations

import http.client
import io
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, Protocol
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from dimstream_client.client import Client
from dimstream_client.messages import Result, Times
from dimstream_models.bundle import Bundle
from dimstream_server.benchmarks.errors import BenchmarkError
from dimstream_server.pipeline.device_name import Device, parse_device
from dimstream_server.pipeline.fused_graph import OUTPUTS, compose
from dimstream_server.pipeline.fused_model import FusedModel
from dimstream_server.pipeline.runtime import open_session
from dimstream_server.pipeline.thresholds import thresholds_of

Counts = NDArray[Any]
Checksum = Literal["none", "crc32"]

PATIENCE_S: Final = 120.0
NPY: Final = "application/x-npy"


@dataclass(frozen=True, slots=True)
class Lap:
    """One route's turn.

    Parameters
    ----------
    elapsed_ms : float
        From the first frame's departure to the last one's arrival.
    latencies_ms : list of float
        Of each frame.
    server_ms : list of Times
        What the server says of each frame, where it does.
    """

    elapsed_ms: float
    latencies_ms: list[float]
    server_ms: list[Times] = field(default_factory=list)

    @property
    def interval_ms(self) -> float:
        """Time per frame."""
        return self.elapsed_ms / len(self.latencies_ms)


class Route(Protocol):
    """A way for frames; opened and closed by whoever made it."""

    name: str

    def lap(self, frames: Sequence[Counts]) -> Lap:
        """Send all frames, each (H, W) uint16 photon counts, and take all answers."""

    def denoise(self, frame: Counts) -> Counts:
        """One frame's denoised photon counts, (H, W) uint16 like the frame."""

    def close(self) -> None:
        """Let go of what it holds."""


class BareRoute:
    """The fused graph itself, with the session settings of the service; each frame is the next's previous.

    Elsewhere than on ONNX Runtime's CPU `FusedModel.run` is timed: it binds the buffers on the device, which
    plain ``run`` cannot.
    """

    name = "bare"

    def __init__(self, bundle: Bundle, device: str) -> None:
        where = parse_device(device)
        self._thresholds = thresholds_of(bundle)
        self._feeds: dict[str, NDArray[Any]] = {
            "background_max": np.asarray(self._thresholds.background_max, np.float32),
            "signal_min": np.asarray(self._thresholds.signal_min, np.float32),
        }
        self._session: Any = None
        self._model: FusedModel | None = None
        if where == Device():
            model = compose(bundle, "uint16", "uint16").SerializeToString()
            self._session = open_session(model, where, name=bundle.id)
        else:
            self._model = FusedModel(bundle, device=where, in_dtype="uint16", out_dtype="uint16")
        self._previous: Any = None

    def denoise(self, frame: Counts) -> Counts:
        """One frame's denoised photon counts, (H, W) uint16 like the frame."""
        if self._model is not None:
            output = self._model.run(frame, self._previous, self._thresholds)
            self._previous = output.normalised
            return output.denoised
        previous = np.zeros(frame.shape, np.float32) if self._previous is None else self._previous
        feeds = {"frame": frame, "previous": previous, **self._feeds}
        denoised, self._previous, *_ = self._session.run(OUTPUTS, feeds)
        return np.asarray(denoised)

    def lap(self, frames: Sequence[Counts]) -> Lap:
        """One (H, W) frame of photon counts after another."""
        return one_by_one(self, frames)

    def close(self) -> None:
        """Nothing is held."""


class ZmqRoute:
    """A stream of the real client, `window` frames in flight."""

    def __init__(
        self,
        name: str,
        client: Client,
        frame: Counts,
        *,
        window: int,
        checksum: Checksum = "none",
        spool: Path | None = None,
        save: bool = False,
    ) -> None:
        self.name = name
        self._window = window
        self._stream = client.open(
            frame.shape, frame.dtype.name, window=window, checksum=checksum, spool=spool, save=save
        )
        granted = self._stream.opened
        if (granted.window, granted.checksum) != (window, checksum):
            raise BenchmarkError(
                f"{name}: asked for window {window} and checksum {checksum}, "
                f"granted were {granted.window} and {granted.checksum}"
            )

    def denoise(self, frame: Counts) -> Counts:
        """One frame's denoised photon counts, (H, W) uint16 like the frame."""
        self._stream.send(frame)
        pixels = self._take().pixels
        assert pixels is not None  # _take lets no other result through
        return pixels

    def lap(self, frames: Sequence[Counts]) -> Lap:
        """Frames, (H, W) photon counts, at most `window` ahead of their results."""
        sent: deque[float] = deque()
        arrivals: list[tuple[float, Times]] = []
        started = time.perf_counter()
        for frame in frames:
            if len(sent) == self._window:
                arrivals.append(self._arrival(sent))
            sent.append(time.perf_counter())
            self._stream.send(frame)
        while sent:
            arrivals.append(self._arrival(sent))
        elapsed_ms = (time.perf_counter() - started) * 1e3
        return Lap(elapsed_ms, [latency for latency, _ in arrivals], [times for _, times in arrivals])

    def close(self) -> None:
        """End the stream."""
        self._stream.close()

    def _arrival(self, sent: deque[float]) -> tuple[float, Times]:
        times = self._take().t_ms
        return (time.perf_counter() - sent.popleft()) * 1e3, times

    def _take(self) -> Result:
        result = self._stream.take(timeout_s=PATIENCE_S)
        if result is None or result.pixels is None:
            raise BenchmarkError(f"{self.name}: a frame was not denoised: {result}")
        return result


class _Reply(NamedTuple):
    pixels: Counts
    server_ms: Times


class HttpRoute:
    """Requests by ``http.client`` over one connection that is kept: a raw NPY body there and one back."""

    name = "http"

    def __init__(self, url: str, model: str) -> None:
        address = urlsplit(url)
        assert address.hostname is not None
        self._target = f"/v1/models/{model}/denoise"
        self._connection = http.client.HTTPConnection(address.hostname, address.port, timeout=PATIENCE_S)

    def denoise(self, frame: Counts) -> Counts:
        """One frame's denoised photon counts, (H, W) uint16 like the frame; over a new connection.

        It comes before each lap: meanwhile the server may have closed the one of the lap before, as idle.
        """
        self._connection.close()
        return self._ask(frame).pixels

    def lap(self, frames: Sequence[Counts]) -> Lap:
        """One request with an (H, W) frame of photon counts after another."""
        latencies, server = [], []
        started = time.perf_counter()
        for frame in frames:
            sent = time.perf_counter()
            server.append(self._ask(frame).server_ms)
            latencies.append((time.perf_counter() - sent) * 1e3)
        return Lap((time.perf_counter() - started) * 1e3, latencies, server)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _ask(self, frame: Counts) -> _Reply:
        headers = {"Content-Type": NPY, "Accept": NPY}
        self._connection.request("POST", self._target, body=_npy(frame), headers=headers)
        response = self._connection.getresponse()
        data = response.read()
        if response.status != http.client.OK:
            raise BenchmarkError(f"http: status {response.status}, expected 200: {data[:300]!r}")
        return _Reply(_array(data), _times(response.headers["Dimstream-T-Ms"]))


def warm_up(route: Route, frames: Sequence[Counts], total: int) -> None:
    """Send at least `total` frames, `frames` again and again, (H, W) photon counts."""
    for _ in range(-(-total // len(frames))):
        route.lap(frames)


def one_by_one(route: Route, frames: Sequence[Counts]) -> Lap:
    """A lap whose next (H, W) frame of photon counts leaves when the last one's answer is there."""
    latencies = []
    started = time.perf_counter()
    for frame in frames:
        sent = time.perf_counter()
        route.denoise(frame)
        latencies.append((time.perf_counter() - sent) * 1e3)
    return Lap((time.perf_counter() - started) * 1e3, latencies)


def _npy(frame: Counts) -> bytes:
    """A frame as an NPY file, in one copy; `numpy.save` makes several."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, np.lib.format.header_data_from_array_1_0(frame))
    return b"".join((header.getvalue(), frame.data))


def _array(npy: bytes) -> Counts:
    """The array in an NPY file, a view of its bytes."""
    start = io.BytesIO(npy[:1024])
    np.lib.format.read_magic(start)
    shape, _, dtype = np.lib.format.read_array_header_1_0(start)
    return np.frombuffer(npy, dtype, offset=start.tell()).reshape(shape)


def _times(header: str) -> Times:
    """From ``queue=0.051, infer=9.1, total=9.2``."""
    pairs = (item.strip().split("=") for item in header.split(","))
    return Times(**{name: float(value) for name, value in pairs})
