"""The client: a connection to one dimstream server, and streams over it."""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy.typing as npt

from dimstream_client import arguments
from dimstream_client.arguments import Boolean, Integer, Number, Texts
from dimstream_client.connection import Connection
from dimstream_client.errors import SpoolError
from dimstream_client.keys import FilePath, choose_curve_keys
from dimstream_client.messages import Frame, Open, Pong
from dimstream_client.result_buffer import OnResult
from dimstream_client.resume_handle import ResumeHandle
from dimstream_client.spool import Spool
from dimstream_client.stream import Stream
from dimstream_client.stream_channel import wait
from dimstream_client.streamed_results import FrameLike, StreamedResults

__all__ = ["Client", "FrameLike", "StreamedResults"]

_log = logging.getLogger("dimstream")


class Client:
    """A connection to a dimstream server.

    Use it as a context manager. Its one I/O thread owns the socket; nothing here blocks longer than told.

    Parameters
    ----------
    endpoint : str
        ``tcp://HOST:PORT`` of the server's ZeroMQ endpoint.
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
    KeyFileError, ArgumentError
        A key cannot be read, or one of the two is missing; a time or the name is none.
    """

    def __init__(
        self,
        endpoint: str,
        *,
        timeout_s: Number = 10.0,
        outage_s: Number = math.inf,
        name: str = "dimstream-client",
        server_key: FilePath | None = None,
        key: FilePath | None = None,
    ) -> None:
        self.timeout_s = arguments.seconds("timeout_s", timeout_s)
        self.name: str = arguments.field("OPEN", "client", name)
        keys = choose_curve_keys(server_key=server_key, key=key)
        self._spools: list[Spool] = []
        self._connection = Connection(
            endpoint,
            timeout_s=self.timeout_s,
            outage_s=arguments.seconds("outage_s", outage_s),
            keys=keys,
        )

    def open(
        self,
        shape: Sequence[Integer],
        dtype: npt.DTypeLike,
        *,
        on_result: OnResult | None = None,
        buffer_bytes: Integer = 0,
        spool: Spool | FilePath | None = None,
        model: str | None = None,
        mode: str | None = None,
        axes: str | None = None,
        out_dtype: npt.DTypeLike | None = None,
        deliver: str | None = None,
        save: Boolean | None = None,
        codecs: Texts | None = None,
        checksum: str | None = None,
        window: Integer | None = None,
        pixel_size_um: Number | None = None,
        frame_interval_s: Number | None = None,
        channels: Texts | None = None,
        maps: Boolean | None = None,
        sd: Boolean | None = None,
        split_every: Integer | None = None,
        offset: Number | None = None,
        gain: Number | None = None,
        match_pixel_size: Boolean | None = None,
        priority: str | None = None,
        weight: Integer | None = None,
        deadline_ms: Number | None = None,
        user: str | None = None,
    ) -> Stream:
        """Open a stream for frames of `shape` (H, W) and `dtype`, and send frames to it as they come.

        None takes the default. `docs/wire-protocol.md`, OPEN, says more of each setting.

        Parameters
        ----------
        shape, dtype
            Of every frame, as arrays have them; dtype is uint8, uint16 or float32.
        on_result : callable, optional
            Called with each result, on the I/O thread: be quick. Otherwise take `Stream.results`.
        buffer_bytes : int, optional
            Frames in memory, until their results were taken, before `Stream.send` has to wait.
        spool : Spool or path of a folder, optional
            Frames are kept there until their results were taken: `Stream.send` does not wait, and a program
            that is killed goes on by `resume`.
        model : str, optional
            Id of the model; needed where a server has several.
        mode : {"lossless", "latest"}, optional
            Whether each frame gets a result, or the newest goes before those that wait.
        axes : str, optional
            Of the acquisition, such as ``"TZYX"``; informative.
        out_dtype : {"uint16", "float32"}, optional
            Of the denoised pixels.
        deliver : {"result", "flags"}, optional
            ``"flags"``: results without pixels.
        save : bool, optional
            Whether the server records the stream.
        codecs : sequence of str, and checksum : {"none", "crc32"}, optional
            How frames can be packed, most wanted first; whether frames and results carry a checksum.
        window : int, optional
            Frames in flight, 1 to 1,024.
        pixel_size_um, frame_interval_s : float, optional
            Side of a pixel, micrometres; seconds between time points.
        channels : sequence of str, optional
            Their names, in the order of `PlaneIndex.c`.
        maps, sd : bool, optional
            Whether results carry the support map; the error bars, where the model has them.
        split_every : int, optional
            The photons of every n-th time point are split and compared; 0: of none.
        offset, gain : float, optional
            Of the detector: photon counts are ``(value - offset) / gain``.
        match_pixel_size : bool, optional
            Whether photons are scattered onto finer pixels where the model knows only such, and the results
            binned back.
        priority : {"live", "batch"}, optional
            ``"batch"``: work that may wait; its frames give way to those of all live streams.
        weight : int, optional
            1 to 16: a stream of weight 2 gets twice the server's time of one of weight 1.
        deadline_ms : float, optional
            A frame that cannot be answered within so many milliseconds of its arrival at the server is
            answered by itself, as it came: its result says `fallback` and is ``unjudged``.
        user : str, optional
            For the server's log and recordings.

        Raises
        ------
        ArgumentError
            An argument cannot be sent; nothing was.
        StreamError
            The server refused: unknown_model, too_many_streams, draining ...
        SpoolError
            The spool cannot be used, or holds a stream.
        Timeout, ConnectionLost
        """
        request = arguments.open_request(
            client=self.name,
            shape=shape,
            dtype=dtype,
            model=model,
            mode=mode,
            axes=axes,
            out_dtype=out_dtype,
            deliver=deliver,
            save=save,
            codecs=codecs,
            checksum=checksum,
            window=window,
            pixel_size_um=pixel_size_um,
            frame_interval_s=frame_interval_s,
            channels=channels,
            maps=maps,
            sd=sd,
            split_every=split_every,
            offset=offset,
            gain=gain,
            match_pixel_size=match_pixel_size,
            priority=priority,
            weight=weight,
            deadline_ms=deadline_ms,
            user=user,
        )
        return self._open(request, on_result=on_result, buffer_bytes=buffer_bytes, spool=spool)

    def _open(
        self,
        request: Open,
        *,
        on_result: OnResult | None,
        buffer_bytes: Integer,
        spool: Spool | FilePath | None,
    ) -> Stream:
        arguments.callback("on_result", on_result)
        buffered = arguments.integer("buffer_bytes", buffer_bytes)
        kept = None if spool is None else self._spool(spool)
        if kept is not None and kept.resume_handle is not None:
            kept.close(done=False)
            raise SpoolError(
                f"{kept.folder} already holds a stream; continue it with resume, or name another folder"
            )
        with self._letting_go(kept, spool):
            return Stream(
                self._connection,
                request,
                timeout_s=self.timeout_s,
                on_result=on_result,
                buffer_bytes=buffered,
                spool=kept,
            )

    def resume(
        self, spool: Spool | FilePath, *, settled: Integer | None = None, on_result: OnResult | None = None
    ) -> Stream:
        """Continue a stream that another program, or this one before it was killed, has left in a spool.

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
        arguments.callback("on_result", on_result)
        first = None if settled is None else arguments.integer("settled", settled)
        kept = self._spool(spool)
        with self._letting_go(kept, spool):
            for damage in kept.recover(first):
                _log.warning("a frame is lost: %s", damage)
            assert kept.resume_handle is not None
            return Stream(
                self._connection,
                kept.resume_handle.resumption(kept.settled),
                timeout_s=self.timeout_s,
                on_result=on_result,
                spool=kept,
                reference_of=kept.find,
            )

    def resume_with(
        self,
        resume_handle: ResumeHandle,
        *,
        next_result: Integer,
        frame_of: Callable[[int], Frame | None],
        on_result: OnResult | None = None,
    ) -> Stream:
        """Continue a stream whose frames the program can supply again; otherwise use `resume`.

        Parameters
        ----------
        resume_handle : ResumeHandle
            `Stream.resume_handle` of the stream.
        next_result : int
            First result that was not dealt with; frames are to be sent from there on.
        frame_of : callable
            Gives a frame before that, for the server to compare the next with; called on the I/O thread.

        Raises
        ------
        StreamError, Timeout, ConnectionLost
        """
        arguments.callback("on_result", on_result)
        arguments.callback("frame_of", frame_of, optional=False)
        return Stream(
            self._connection,
            resume_handle.resumption(arguments.integer("next_result", next_result)),
            timeout_s=self.timeout_s,
            on_result=on_result,
            reference_of=frame_of,
        )

    def stream(
        self,
        frames: Iterable[FrameLike],
        *,
        copy: Boolean = True,
        buffer_bytes: Integer = 0,
        spool: Spool | FilePath | None = None,
        model: str | None = None,
        mode: str | None = None,
        axes: str | None = None,
        out_dtype: npt.DTypeLike | None = None,
        deliver: str | None = None,
        save: Boolean | None = None,
        codecs: Texts | None = None,
        checksum: str | None = None,
        window: Integer | None = None,
        pixel_size_um: Number | None = None,
        frame_interval_s: Number | None = None,
        channels: Texts | None = None,
        maps: Boolean | None = None,
        sd: Boolean | None = None,
        split_every: Integer | None = None,
        offset: Number | None = None,
        gain: Number | None = None,
        match_pixel_size: Boolean | None = None,
        priority: str | None = None,
        weight: Integer | None = None,
        deadline_ms: Number | None = None,
        user: str | None = None,
    ) -> StreamedResults:
        """Send every frame and iterate over the results, in order, as they come.

        Frames are taken from the iterable on a thread of their own, so a slow camera delays no result.

        Parameters
        ----------
        frames : iterable of (H, W) ndarray, or of pairs of such an array and its `PlaneIndex`
        copy : bool
            False when the arrays will not be changed any more.
        buffer_bytes, spool, model, ..., user
            As for `open`.

        Raises
        ------
        StreamError
            From ``next``: a frame was refused, see its `seq`; the iterator goes on after it.
        """

        def open_for(pixels: npt.NDArray[Any]) -> Stream:
            return self.open(
                *(pixels.shape, pixels.dtype),
                buffer_bytes=buffer_bytes,
                spool=spool,
                model=model,
                mode=mode,
                axes=axes,
                out_dtype=out_dtype,
                deliver=deliver,
                save=save,
                codecs=codecs,
                checksum=checksum,
                window=window,
                pixel_size_um=pixel_size_um,
                frame_interval_s=frame_interval_s,
                channels=channels,
                maps=maps,
                sd=sd,
                split_every=split_every,
                offset=offset,
                gain=gain,
                match_pixel_size=match_pixel_size,
                priority=priority,
                weight=weight,
                deadline_ms=deadline_ms,
                user=user,
            )

        return StreamedResults(frames, open_for, copy=arguments.boolean("copy", copy))

    def ping(self, *, timeout_s: Number | None = None) -> Pong:
        """Ask whether the server is there.

        Raises
        ------
        Timeout, ConnectionLost
        """
        patience = self.timeout_s if timeout_s is None else arguments.seconds("timeout_s", timeout_s)
        endpoint = self._connection.endpoint
        what = f"check that a server runs at {endpoint}, and that this is its ZeroMQ address: no answer came"
        return wait(self._connection.ping(), patience, what)

    def close(self) -> None:
        """Close the connection; streams that are open end with `ConnectionLost`, their spools stay."""
        self._connection.stop()
        for spool in self._spools:
            spool.close(done=False)

    def _spool(self, spool: Spool | FilePath) -> Spool:
        kept = spool if isinstance(spool, Spool) else Spool(arguments.folder("spool", spool))
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

    def __exit__(self, *_: object) -> None:
        self.close()
