"""A server that records and loads bundles, and a microscope that goes on sending to it."""

import itertools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from faults.processes import Server
from numpy.typing import NDArray
from ports import free_port
from training.adapting.own_movies import light_of_points, photons_of

from dimstream_client import Client
from dimstream_client.messages import Result
from dimstream_models.training.adapting.changing_model import StreamOfServer
from dimstream_models.training.adapting.running_server import RunningServer, read_token
from dimstream_server.cli import main

MOVIE = photons_of(light_of_points(24))
FRAME_S = 0.05


class Microscope:
    """Sends the same movie, forth and back, until it is told to stop; keeps every result."""

    def __init__(self, endpoint: str, movie: NDArray[Any] = MOVIE, **ways: Any) -> None:
        self._client = Client(endpoint)
        self._movie = movie
        self._ways = {"save": True, "pixel_size_um": 0.1, **ways}
        self._stop = threading.Event()
        self._more = threading.Condition()
        self._results: list[Result] = []
        there_and_back = [*range(len(movie)), *range(len(movie) - 2, 0, -1)]
        self.order = itertools.cycle(there_and_back)

    def __enter__(self) -> "Microscope":
        self._stream = self._client.open(
            self._movie.shape[1:], self._movie.dtype, on_result=self._take, **self._ways
        )
        self.id = self._stream.id
        self._sender = threading.Thread(target=self._send)
        self._sender.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._client.close()

    def stop(self) -> list[Result]:
        """Send no more, end the stream, and return all results."""
        if not self._stop.is_set():
            self._stop.set()
            self._sender.join()
            self._stream.close(timeout_s=60)
        return self._results

    def wait_for(self, seq: int) -> None:
        """Wait until a frame is answered."""
        with self._more:
            assert self._more.wait_for(lambda: len(self._results) > seq, timeout=60)

    def _take(self, result: Result) -> None:
        with self._more:
            self._results.append(result)
            self._more.notify_all()

    def _send(self) -> None:
        for seq, place in enumerate(self.order):
            if self._stop.wait(FRAME_S):
                return
            self._stream.send(self._movie[place], t_acq=100 + 1.0 * seq, timeout_s=60)


class Microscopy:
    """A server on `folder`, and its operator."""

    def __init__(self, bundle: Path, folder: Path) -> None:
        self.bundles, self.recordings = folder / "bundles", folder / "recordings"
        self.bundles.mkdir(parents=True)
        assert main(["keygen", str(folder / "keys"), "--operator", "ada"]) == 0
        operators = folder / "keys" / "operators"
        self.token = operators / "ada.token"
        settings = {
            "server": {"bundle_folders": [str(self.bundles)]},
            "http": {"operator_tokens": str(operators)},
        }
        self.server = Server(
            bundle,
            folder / "server",
            record=self.recordings,
            settings=settings,
            http=f"127.0.0.1:{free_port()}",  # the same after a restart
        )

    def stream(self, id: str) -> StreamOfServer:
        """One of its streams, as its operator reaches it."""
        server = RunningServer(self.server.http, read_token(self.token))
        return StreamOfServer(server=server, stream=id, recordings=self.recordings)


@contextmanager
def microscopy(bundle: Path, folder: Path) -> Iterator[Microscopy]:
    """Run such a server."""
    one = Microscopy(bundle, folder)
    with one.server:
        yield one


def camera_values() -> NDArray[np.uint16]:
    """What a camera gives of the movie: an offset, and more than one unit a photon."""
    return (100 + 2.2 * MOVIE).astype(np.uint16)
