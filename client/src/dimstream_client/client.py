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

    Use it as a context manager. One I/O thread owns the socket. No call blocks longer than its timeout.

    Parameters
    ----------
    endpoint : str
        ``tcp://HOST:PORT`` of the server's ZeroMQ endpoint.
    timeout_s : float
        Seconds that calls block by default, and that a server may be silent while an answer is due.
    outage_s : float
        Seconds that streams wait for a lost server, before they end with `ConnectionLost`; without limit by
        default. 0: they do not wait.
    name : str
        Name that the server shows for this client.
    server_key, key : path, optional
        Files of the server's public key and of the client's secret key; both or neither. With them, the
        connection is encrypted and both sides are authenticated (CURVE).

    Examples
    --------
    ::

        with Client("tcp://127.0.0.1:5570") as client:
            for result in client.stream(frames):
                show(result.pixels, result.flag)

    Raises
    ------
    ConnectionLost
        When the endpoint is not valid. Whether a server runs there and accepts the key (`NotAdmitted`) is
        known only after the first call.
    KeyFileError, ArgumentError
        When a key cannot be read, one of the two is missing, or a time or the name is not valid.
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
        """Open a stream for frames of `shape` (H, W) and `dtype`; send its frames with `Stream.send`.

        None selects the default. `docs/wire-protocol.md`, OPEN, describes each setting in more detail.

        Parameters
        ----------
        shape, dtype
            Shape (H, W) and data type of every frame; dtype is uint8, uint16 or float32.
        on_result : callable, optional
            Called with each result on the I/O thread, so it must return quickly. Without it, use
            `Stream.results`.
        buffer_bytes : int, optional
            Bytes of frames in memory whose results were not taken yet; with more, `Stream.send` waits.
        spool : Spool or path of a folder, optional
            Where frames are stored until their results were taken. `Stream.send` then does not wait, and a
            program that was killed can continue with `resume`.
        model : str, optional
            Id of the model; required if the server has several.
        mode : {"lossless", "latest"}, optional
            ``"lossless"``: each frame gets a result. ``"latest"``: the newest frame replaces waiting ones.
        axes : str, optional
            Axes of the acquisition, such as ``"TZYX"``; for information only.
        out_dtype : {"uint16", "float32"}, optional
            Data type of the denoised pixels.
        deliver : {"result", "flags"}, optional
            ``"flags"``: results without pixels.
        save : bool, optional
            Whether the server records the stream.
        codecs : sequence of str, and checksum : {"none", "crc32"}, optional
            Codecs for frames, the preferred one first; checksum of frames and results.
        window : int, optional
            Frames in flight, 1 to 1,024.
        pixel_size_um, frame_interval_s : float, optional
            Side length of a pixel in micrometres; seconds between time points.
        channels : sequence of str, optional
            Names of the channels, in the order of `PlaneIndex.c`.
        maps, sd : bool, optional
            Whether results include the support map, and the error bars (only for models that have them).
        split_every : int, optional
            Split and compare the photons of every n-th time point; 0: never.
        offset, gain : float, optional
            Detector offset and gain: photon counts are ``(value - offset) / gain``.
        match_pixel_size : bool, optional
            Whether photons are distributed onto finer pixels if the model was trained only on those, and
            results are binned back.
        priority : {"live", "batch"}, optional
            ``"batch"``: frames of all live streams are processed first.
        weight : int, optional
            1 to 16: a stream of weight 2 gets twice the server's time of one of weight 1.
        deadline_ms : float, optional
            Milliseconds from arrival at the server. A frame that cannot be answered in time is returned raw:
            its result has `fallback` and the flag ``unjudged``.
        user : str, optional
            Name of the user for the server's log and recordings.

        Raises
        ------
        ArgumentError
            When an argument cannot be sent; nothing was sent.

        StreamError
            When the server refuses: unknown_model, too_many_streams, draining ...
        SpoolError
            When the spool cannot be used, or already holds a stream.
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
        """Continue the stream in a spool that was left by a program that was killed.

        Results start with the first one that was not processed; frames are sent again where needed.

        Parameters
        ----------
        settled : int, optional
            First result that was not processed, if the program knows it better than the spool: the last
            result may have been saved without another call of `Stream.take`. By default from the spool.

        Raises
        ------
        SpoolError
            When the spool has no stream, or another program uses it.
        StreamError
            bad_token: the server no longer has the stream; its frames stay in the spool.
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
        """Continue a stream whose frames the program can supply again; without them, use `resume`.

        Parameters
        ----------
        resume_handle : ResumeHandle
            `Stream.resume_handle` of the stream.
        next_result : int
            First result that was not processed; send frames from this one on.
        frame_of : callable
            Returns an earlier frame, with which the server compares the next one; called on the I/O thread.

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
        """Send every frame and iterate over the results in order.

        A separate thread takes frames from the iterable, so a slow camera does not delay results.

        Parameters
        ----------
        frames : iterable of (H, W) ndarray, or of pairs of such an array and its `PlaneIndex`
        copy : bool
            False if the arrays will not be changed after they were sent.
        buffer_bytes, spool, model, ..., user
            As for `open`.

        Raises
        ------
        StreamError
            From ``next``: when a frame was refused, see `seq`; the iterator can still be used.
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
        """Check that the server answers.

        Raises
        ------
        Timeout, ConnectionLost
        """
        patience = self.timeout_s if timeout_s is None else arguments.seconds("timeout_s", timeout_s)
        endpoint = self._connection.endpoint
        what = f"check that a server runs at {endpoint}, and that this is its ZeroMQ address: no answer came"
        return wait(self._connection.ping(), patience, what)

    def close(self) -> None:
        """Close the connection. Open streams end with `ConnectionLost`; their spools stay."""
        self._connection.stop()
        for spool in self._spools:
            spool.close(done=False)

    def _spool(self, spool: Spool | FilePath) -> Spool:
        kept = spool if isinstance(spool, Spool) else Spool(arguments.folder("spool", spool))
        self._spools.append(kept)
        return kept

    @contextlib.contextmanager
    def _letting_go(self, kept: Spool | None, given: object) -> Iterator[None]:
        """On failure, release a folder that was opened for this call, so that it can be used again."""
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
