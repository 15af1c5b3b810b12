"""The analysis of running streams: always the newest frame, as often as time permits."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from numpy.typing import NDArray

from dimstream_client.errors import ConnectionLost, NotAdmitted, ProtocolError
from dimstream_client.http_client import HttpClient
from dimstream_client.live import FollowedStream, LiveConnection, ShownFrame
from dimstream_models.analysis.errors import InvalidImage
from dimstream_models.analysis.figure_sender import FigureSender, NotTaken
from dimstream_models.analysis.follow_counts import StreamCount
from dimstream_models.analysis.frame import FrameSettings, adjacent_ssim, analyse_frame
from dimstream_models.analysis.newest_frame import NewestFrame
from dimstream_models.analysis.segmentation import Segmenter

Key = TypeVar("Key")
Kept = TypeVar("Kept")
MakeSegmenter = Callable[[float | None], Segmenter]
"""Returns the segmenter for frames with this pixel size, µm; None: unknown."""
FIRST_PAUSE_S: Final = 0.5
LONGEST_PAUSE_S: Final = 10.0
LOOK_S: Final = 2.0
ANSWER_S: Final = 30.0
_ENDED: Final = "ended"
_REQUESTS: Final = (
    "http"  # endpoint of a file sent in one HTTP request, which is not a stream of a microscope
)
_MOST_AT_ONCE: Final = 4  # most streams: the server bounds the messages of a viewer per second
_MOST_KEPT: Final = 64  # frames with which the next one of their plane is compared
_MOST_STREAMS: Final = 4096  # streams of which the last analysed frame is remembered


@dataclass(frozen=True)
class FollowSettings:
    """What is analysed, and how.

    Parameters
    ----------
    stream : str or None
        Id of one stream; None: all open streams.
    plane : (int, int, int) or None
        Channel, z, position; None: the newest frame of any plane.
    frame : FrameSettings
    """

    stream: str | None = None
    plane: tuple[int, int, int] | None = None
    frame: FrameSettings = field(default_factory=FrameSettings)


class LiveAnalysis:
    """Analyses frames of a server, newest first, and sends their figures back.

    Parameters
    ----------
    server : str
        ``http://HOST:PORT``, or ``https``.
    token : str or None
        Token that the server requires.
    make_segmenter : callable
    say : callable
        Called with each message for people.

    Raises
    ------
    ConnectionLost
        When the address is not valid.
    """

    def __init__(
        self,
        server: str,
        make_segmenter: MakeSegmenter,
        *,
        token: str | None = None,
        settings: FollowSettings | None = None,
        say: Callable[[str], object] = print,
    ) -> None:
        self._server, self._token = server, token
        self._sender = FigureSender(HttpClient(server, timeout_s=ANSWER_S, token=token))
        self._make_segmenter = make_segmenter
        self._settings = settings or FollowSettings()
        self._say = say
        self._said: OrderedDict[str, None] = OrderedDict()
        self._segmenters: dict[float | None, Segmenter] = {}
        self._looked: OrderedDict[str, int] = OrderedDict()  # newest frame that was requested of each stream
        self._analysed: OrderedDict[str, int] = OrderedDict()  # newest frame of each stream
        self._before: OrderedDict[tuple[str, int, int, int], ShownFrame] = OrderedDict()
        self.counts: OrderedDict[str, StreamCount] = OrderedDict()
        """By stream id."""

    def run(self) -> None:
        """Follow one stream until it ends, or all streams forever. If the server is away, wait for it.

        Raises
        ------
        NotAdmitted
            When the server requires a token, or a different one.
        """
        pause_s, said = FIRST_PAUSE_S, ""
        while True:
            try:
                with LiveConnection(self._server, token=self._token) as connection:
                    self._say(f"watching {self._server}")
                    pause_s, said = FIRST_PAUSE_S, ""
                    self._follow(NewestFrame(connection))
                    return
            except NotAdmitted:
                raise
            except (ConnectionLost, ProtocolError) as error:
                if error.detail != said:
                    self._say(f"{error.detail}; trying again until there is one")
                said = error.detail
            time.sleep(pause_s)
            pause_s = min(LONGEST_PAUSE_S, 2 * pause_s)

    def _follow(self, newest: NewestFrame) -> None:
        """Analyse frame after frame, until the one stream has ended."""
        self._looked.clear()  # another server may count from 0
        newest.wait(LOOK_S)
        while not self._is_over(newest):
            newest.catch_up()
            self._note(newest)
            wanted = self._wanted(newest)
            if not wanted:
                newest.wait(LOOK_S)
                continue
            frame = newest.of([one.id for one in wanted], self._settings.plane, LOOK_S)
            for one in wanted:
                if frame is None or frame.stream == one.id:
                    self._has_looked(one.id, one.newest_seq)
            if frame is not None and frame.stream in newest.streams:
                self._look_at(frame, newest.streams[frame.stream])

    def _is_over(self, newest: NewestFrame) -> bool:
        stream = self._settings.stream
        known = None if stream is None else newest.streams.get(stream)
        return known is not None and known.state == _ENDED and not self._wanted(newest)

    def _wanted(self, newest: NewestFrame) -> list[FollowedStream]:
        """Return streams with a new frame, beginning with the stream that was analysed longest ago."""
        one_stream, order = self._settings.stream, list(self._looked)
        found = [
            one
            for one in newest.streams.values()
            if self._is_meant(one)
            and (one.state != _ENDED or one.id in self._looked or one_stream)
            and one.newest_seq > self._looked.get(one.id, -1)
            and one.delivers_pixels
        ]
        found.sort(key=lambda one: order.index(one.id) if one.id in self._looked else -1)
        return found[:_MOST_AT_ONCE]

    def _is_meant(self, stream: FollowedStream) -> bool:
        """Whether a stream is the followed one or, when all are followed, that of a microscope."""
        if self._settings.stream is None:
            return stream.endpoint != _REQUESTS
        return stream.id == self._settings.stream

    def _has_looked(self, stream: str, seq: int) -> None:
        _put(self._looked, stream, max(seq, self._looked.get(stream, -1)), _MOST_STREAMS)

    def _look_at(self, frame: ShownFrame, stream: FollowedStream) -> None:
        self._has_looked(frame.stream, frame.seq)
        self._looked.move_to_end(frame.stream)
        pixels = frame.images.get("denoised")
        if pixels is None or frame.seq <= self._analysed.get(frame.stream, -1):
            return
        _put(self._analysed, frame.stream, frame.seq, _MOST_STREAMS)
        segmenter = self._segmenter(stream.pixel_size_um)
        try:
            found = analyse_frame(segmenter.segment(pixels), self._settings.frame)
        except InvalidImage as error:
            self._say_once(f"stream {frame.stream}: a frame cannot be analysed", str(error))
            return
        figures = {**found.figures, "ssim": self._ssim(frame, pixels)}
        self._send(frame, figures, repr(segmenter), self._count(stream))

    def _send(
        self, frame: ShownFrame, figures: Mapping[str, float | None], analysis: str, count: StreamCount
    ) -> None:
        try:
            taken = self._sender.send(frame.stream, frame.seq, frame.plane, figures, analysis=analysis)
        except NotTaken as error:
            count.not_taken += 1
            self._say_once(
                f"stream {frame.stream}: the server did not accept the figures of a frame", str(error)
            )
            return
        count.analysed += 1
        if taken.reason is not None:
            self._say_once(f"stream {frame.stream}: figures are shown, but not recorded", taken.reason)

    def _segmenter(self, pixel_um: float | None) -> Segmenter:
        if pixel_um not in self._segmenters:
            self._segmenters[pixel_um] = self._make_segmenter(pixel_um)
        return self._segmenters[pixel_um]

    def _ssim(self, frame: ShownFrame, pixels: NDArray[Any]) -> float | None:
        """Return the SSIM with the frame before; None where that was not analysed."""
        key = (frame.stream, *frame.plane)
        before = self._before.get(key)
        _put(self._before, key, frame, _MOST_KEPT)
        if before is None or before.index.t != frame.index.t - 1:
            return None
        return adjacent_ssim(before.images["denoised"], pixels)

    def _note(self, newest: NewestFrame) -> None:
        """Record how many frames there are, and report streams that cannot be analysed."""
        only = self._settings.stream
        if only is not None and only not in newest.streams:
            self._say_once(f"stream {only} does not exist", "waiting for its first frame")
        for one in newest.streams.values():
            if not self._is_meant(one):
                continue
            if one.id in self.counts or one.state != _ENDED:
                self._count(one)
            if not one.delivers_pixels and one.state != _ENDED:
                self._say_once(f"stream {one.id}: nothing to analyse", "it delivers flags only")

    def _count(self, stream: FollowedStream) -> StreamCount:
        count = self.counts.get(stream.id) or StreamCount(stream.client)
        _put(self.counts, stream.id, count, _MOST_STREAMS)
        count.frames = stream.frames
        return count

    def _say_once(self, what: str, why: str) -> None:
        if what not in self._said:
            self._say(f"{what}: {why}")
            _put(self._said, what, None, _MOST_STREAMS)


def _put(kept: OrderedDict[Key, Kept], key: Key, value: Kept, most: int) -> None:
    """Store a value; when there are more than `most`, forget the oldest."""
    kept[key] = value
    while len(kept) > most:
        kept.popitem(last=False)
