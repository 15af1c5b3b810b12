"""The client: a connection to one dimstream server, and streams over it."""

from __future__ import annotations

import contextlib
import logging
import math
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from types import TracebackType
from typing import Any, Union

import numpy as np
import numpy.typing as npt

from dimstream_client.connection import Connection
from dimstream_client.errors import Code, ConnectionLost, FrameError, SpoolError, StreamError, Timeout
from dimstream_client.fields import DTYPES
from dimstream_client.inbox import OnResult
from dimstream_client.keys import FilePath, choose_curve_keys
from dimstream_client.messages import Frame, Open, PlaneIndex, Pong, Result
from dimstream_client.spool import Spool
from dimstream_client.stream import Stream, wait
from dimstream_client.tickets import Ticket

__all__ = ["Client", "FrameLike", "StreamedResults"]

_log = logging.getLogger("dimstream")
_PATIENCE_S = 0.5  # of the feeder, before it looks whether it was stopped

FrameLike = Union["npt.NDArray[Any]", "tuple[npt.NDArray[Any], PlaneIndex]"]


class Client:
    """A connection to a dimstream server.

    Use it as a context manager. Its one I/O thread owns the socket; nothing here blocks longer than told.

    Parameters
    ----------
    endpoint : str
        ``tcp://HOST:PORT`` of the server's ZeroMQ door.
    timeout_s : float
        How long calls block by default, and how long a server that owes an answer may be silent.
    outage_s : float
        How long streams wait for a server that is lost, before they end with `ConnectionLost`; for ever by
        default. 0: not at all.
    name : str
        Shown by the server.
    server_key, key : path, optional
        Files of the server's public key and of the client's own secret key; both or neither. With them the
        connection is encrypted (CURVE), and each side knows the other. Without, it is neither.

    Examples
    --------
    ::

        with Client("tcp://127.0.0.1:5570") as client:
            for result in client.stream(frames):
                show(result.pixels, result.flag)

    Raises
    ------
    ConnectionLost
        The endpoint is none. Whether a server is there, and takes the key (`NotAdmitted`), is found out by
        the first call.
    KeyFileError
        A key cannot be read, or one of the two is missing.
    """

    def __init__(
        self,
        endpoint: str,
        *,
        timeout_s: float = 10.0,
        outage_s: float = math.inf,
        name: str = "dimstream-client",
        server_key: FilePath | None = None,
        key: FilePath | None = None,
    ) -> None:
        self.timeout_s = timeout_s
        self.name = name
        keys = choose_curve_keys(server_key=server_key, key=key)
        self._spools: list[Spool] = []
        self._connection = Connection(endpoint, timeout_s=timeout_s, outage_s=outage_s, keys=keys)

    def open(
        self,
        shape: tuple[int, int],
        dtype: str,
        *,
        on_result: OnResult | None = None,
        buffer_bytes: int = 0,
        spool: Spool | FilePath | None = None,
        **settings: Any,
    ) -> Stream:
        """Open a stream for frames of `shape` (H, W) and `dtype`, and send frames to it as they come.

        Parameters
        ----------
        shape, dtype
            Of every frame; dtype is uint8, uint16 or float32.
        on_result : callable, optional
            Called with each result, on the I/O thread: be quick. Otherwise take `Stream.results`.
        buffer_bytes : int, optional
            Frames in memory, until their results were taken, before `Stream.send` has to wait.
        spool : Spool or path of a folder, optional
            Frames are kept there until their results were taken: `Stream.send` does not wait, and a program
            that is killed goes on by `resume`.
        **settings
            Of `messages.Open`: model, mode, window, out_dtype, deliver, checksum, codecs, pixel_size_um,
            frame_interval_s, channels, maps, witness_every, offset, gain, axes, user.

        Raises
        ------
        StreamError
            The server refused: unknown_model, too_many_streams, wrong_dtype, draining ...
        Timeout, ConnectionLost
        """
        request = Open(client=self.name, shape=(int(shape[0]), int(shape[1])), dtype=dtype, **settings)
        kept = None if spool is None else self._spool(spool)
        if kept is not None and kept.ticket is not None:
            kept.close(done=False)
            raise SpoolError(
                f"{kept.folder} holds a stream already; go on with it by resume, or name another"
            )
        with self._letting_go(kept, spool):
            return Stream(
                self._connection,
                request,
                timeout_s=self.timeout_s,
                on_result=on_result,
                buffer_bytes=buffer_bytes,
                spool=kept,
            )

    def resume(
        self, spool: Spool | FilePath, *, settled: int | None = None, on_result: OnResult | None = None
    ) -> Stream:
        """Go on with a stream that another program, or this one before it was killed, has left in a spool.

        Results come from the first that was not dealt with; frames are sent again as far as needed.

        Parameters
        ----------
        settled : int, optional
            First result that was not dealt with, where the program knows (its last may have been written
            down without `Stream.take` having been called again). By default what the spool says.

        Raises
        ------
        SpoolError
            There is no stream, or another program has it.
        StreamError
            bad_token: the server does not know the stream any more; its frames stay in the spool.
        Timeout, ConnectionLost
        """
        kept = self._spool(spool)
        with self._letting_go(kept, spool):
            for damage in kept.recover(settled):
                _log.warning("a frame is lost: %s", damage)
            assert kept.ticket is not None
            return Stream(
                self._connection,
                _resuming(kept.ticket, kept.settled),
                timeout_s=self.timeout_s,
                on_result=on_result,
                spool=kept,
                context_of=kept.find,
            )

    def resume_with(
        self,
        ticket: Ticket,
        *,
        next_result: int,
        frame_of: Callable[[int], Frame | None],
        on_result: OnResult | None = None,
    ) -> Stream:
        """Go on with a stream whose frames the program can give again itself; `resume` is for the others.

        Parameters
        ----------
        ticket : Ticket
            `Stream.ticket` of the stream.
        next_result : int
            First result that was not dealt with; frames are to be sent from there on.
        frame_of : callable
            Gives a frame before that, for the server to compare the next with; called on the I/O thread.

        Raises
        ------
        StreamError, Timeout, ConnectionLost
        """
        return Stream(
            self._connection,
            _resuming(ticket, next_result),
            timeout_s=self.timeout_s,
            on_result=on_result,
            context_of=frame_of,
        )

    def stream(self, frames: Iterable[FrameLike], *, copy: bool = True, **settings: Any) -> StreamedResults:
        """Send every frame and iterate over the results, in order, as they come.

        Frames are taken from the iterable on a thread of their own, so a slow camera delays no result.

        Parameters
        ----------
        frames : iterable of (H, W) ndarray, or of pairs of such an array and its `PlaneIndex`
        copy : bool
            False when the arrays will not be changed any more.
        **settings
            As for `open`.

        Raises
        ------
        StreamError
            From ``next``: a frame was refused, see its `seq`; the iterator goes on after it.
        """
        return StreamedResults(
            frames, lambda pixels: self.open(pixels.shape, pixels.dtype.name, **settings), copy=copy
        )

    def ping(self, *, timeout_s: float | None = None) -> Pong:
        """Ask whether the server is there.

        Raises
        ------
        Timeout, ConnectionLost
        """
        patience = self.timeout_s if timeout_s is None else timeout_s
        endpoint = self._connection.endpoint
        what = f"check that {endpoint} is the ZeroMQ door of a server that runs: no PONG came"
        return wait(self._connection.ping(), patience, what)

    def close(self) -> None:
        """Close the connection; streams that are open end with `ConnectionLost`, their spools stay."""
        self._connection.stop()
        for spool in self._spools:
            spool.close(done=False)

    def _spool(self, spool: Spool | FilePath) -> Spool:
        kept = spool if isinstance(spool, Spool) else Spool(spool)
        self._spools.append(kept)
        return kept

    @contextlib.contextmanager
    def _letting_go(self, kept: Spool | None, given: object) -> Iterator[None]:
        """On failure let go of a folder that was opened for this call, so that it can be tried again."""
        try:
            yield
        except BaseException:
            if kept is not None and kept is not given:
                kept.close(done=False)
                self._spools.remove(kept)
            raise

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _resuming(ticket: Ticket, next_result: int) -> Open:
    return replace(
        ticket.request, stream=ticket.stream, resume_token=ticket.resume_token, next_result=next_result
    )


class StreamedResults:
    """Iterator over the results of `Client.stream`; `stream` is the stream once the first frame came.

    Parameters
    ----------
    open_stream : callable
        Gives the stream for frames like the first.
    """

    def __init__(
        self,
        frames: Iterable[FrameLike],
        open_stream: Callable[[npt.NDArray[Any]], Stream],
        *,
        copy: bool,
    ) -> None:
        self.stream: Stream | None = None
        self._frames = iter(frames)
        self._open_stream = open_stream
        self._copy = copy
        self._feeder: _Feeder | None = None
        self._started = False

    def __iter__(self) -> StreamedResults:
        return self

    def __next__(self) -> Result:
        self.start()
        if self.stream is None or self._feeder is None:
            raise StopIteration
        result = self.stream.take()
        if result is None:
            self._feeder.raise_failure()
            raise StopIteration
        return result

    def start(self) -> None:
        """Take the first frame and open the stream now, instead of with the first result.

        Raises
        ------
        StreamError
            The server refused the stream.
        FrameError, Timeout, ConnectionLost
        """
        if not self._started:
            self._started = True
            self._start()

    def close(self) -> None:
        """Send no more frames and close the stream without waiting."""
        if self._feeder is not None:
            self._feeder.stop()

    def _start(self) -> None:
        first = next(self._frames, None)
        if first is None:
            return
        pixels = first[0] if isinstance(first, tuple) else first
        if not isinstance(pixels, np.ndarray) or pixels.ndim != 2:
            raise FrameError(
                Code.WRONG_SHAPE, f"expected frames as (H, W) arrays, got {type(pixels).__name__} "
                f"of shape {getattr(pixels, 'shape', None)}"
            )  # fmt: skip
        if pixels.dtype.name not in DTYPES:
            raise FrameError(
                Code.WRONG_DTYPE, f"frames are {pixels.dtype}, expected {', '.join(DTYPES)}; convert them"
            )
        self.stream = self._open_stream(pixels)
        self._feeder = _Feeder(self.stream, first, self._frames, copy=self._copy)
        # A loop that is left early leaves no thread and no stream behind.
        weakref.finalize(self, self._feeder.stop)


class _Feeder:
    """Sends frames on a thread of its own, so that results are taken while the next frame is waited for."""

    def __init__(self, stream: Stream, first: FrameLike, rest: Iterator[FrameLike], *, copy: bool) -> None:
        self._stream = stream
        self._first, self._rest = first, rest
        self._copy = copy
        self._stopped = threading.Event()
        self._failure: BaseException | None = None
        threading.Thread(target=self._run, name="dimstream-feeder", daemon=True).start()

    def stop(self) -> None:
        """Send no more."""
        self._stopped.set()
        with contextlib.suppress(ConnectionLost):  # then the stream is gone already
            self._stream.abandon()

    def raise_failure(self) -> None:
        """Raise what the iterable of frames raised, once."""
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    def _run(self) -> None:
        try:
            # What ends the stream is found among its results.
            with contextlib.suppress(StreamError, ConnectionLost):
                self._send(self._first)
                for frame in self._rest:
                    if self._stopped.is_set():
                        return
                    self._send(frame)
        except BaseException as error:
            self._failure = error
        with contextlib.suppress(ConnectionLost):
            self._stream.finish()

    def _send(self, frame: FrameLike) -> None:
        pixels, index = frame if isinstance(frame, tuple) else (frame, None)
        while not self._stopped.is_set():
            try:
                self._stream.send(pixels, index=index, copy=self._copy, timeout_s=_PATIENCE_S)
            except Timeout:
                continue
            return
