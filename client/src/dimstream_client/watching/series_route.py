"""Send the frames of one file over the stream of its series, and write the results into its output."""

from __future__ import annotations

import json
import time
import zlib
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from dimstream_client.errors import Code, ConnectionLost, FrameError, StreamError, TiffError
from dimstream_client.file_streaming import Pages, ResultRecorder, Tally, flags_path, frames_done
from dimstream_client.files import ImageStack
from dimstream_client.folders.denoise_routes import Outcome
from dimstream_client.folders.waiting_for_server import Patience
from dimstream_client.frame_feeding import times_of
from dimstream_client.messages import PlaneIndex, Result
from dimstream_client.session import FINAL_CODES
from dimstream_client.stream import Stream
from dimstream_client.watching.series_streams import OpenSeries, Position, ReferenceFrame, SeriesStreams

OnFrame = Callable[[dict[str, int]], None]
_CHECKSUM: Final = "source_crc32"
_CLOSED_CODES: Final = frozenset({Code.BAD_TOKEN, Code.UNKNOWN_STREAM, Code.STREAM_CLOSED})


@dataclass(frozen=True)
class Errand:
    """A file that is denoised with the stream of its series.

    Parameters
    ----------
    name, series : str
    stack : ImageStack
    part : Path
        Unfinished output, where the results are written.
    stop : int
        Number of frames to denoise now: all, or the existing ones of a growing file.
    first_t : int
        Number of time points of the series before the file.
    position : Position or None
        Position in the series that the file follows.
    references : callable
        Returns the frames with which its first time point is compared.
    written_s : float
        Time of the file, seconds since 1970; used for a single image without its own time.
    """

    name: str
    series: str
    stack: ImageStack
    part: Path
    stop: int
    first_t: int
    position: Position | None
    references: Callable[[], Sequence[ReferenceFrame]]
    written_s: float

    @property
    def may_continue(self) -> bool:
        """Whether a partial output is continued: only for movies, by time points."""
        return self.stack.axes.startswith("T")

    @property
    def planes(self) -> int:
        """Number of frames of one time point of a movie."""
        return len(self.stack) // self.stack.shape[0]

    def index_of(self, n: int) -> PlaneIndex:
        """Return the index of frame `n` of the file in its series."""
        index = self.stack.index(n)
        return replace(index, t=index.t + self.first_t)


class SeriesRoute:
    """Sends frames in the order of the file, and writes the results."""

    def __init__(self, streams: SeriesStreams, out_dtype: str, patience: Patience) -> None:
        self._streams, self._out_dtype, self._patience = streams, out_dtype, patience

    def denoise(self, errand: Errand, on_frame: OnFrame) -> Outcome:
        """Denoise the frames of a file that are not written yet, up to `stop`.

        Raises
        ------
        DimstreamError
            `ConnectionLost`: when the server is lost for longer than it was waited for.
        OSError
        """
        tally = self._patience.do(lambda: self._denoised(errand, on_frame))
        since = None if tally.suspect_since is None else max(tally.suspect_since, 0)
        return Outcome(tally.counts, since, tally.model_sha256)

    def _denoised(self, errand: Errand, on_frame: OnFrame) -> Tally:
        done = frames_done(errand.part, ()) if errand.may_continue else 0
        position = (errand.name, done) if done else errand.position
        references = (lambda: _frames_before(errand, done)) if done else errand.references
        opened = self._streams.continued(errand.series, errand.stack, position, references)
        try:
            tally = self._recorded(opened, errand, done, on_frame)
        except StreamError as error:
            if error.code not in _CLOSED_CODES:
                raise
            raise ConnectionLost(f"the server has forgotten the stream: {error.detail}") from error
        opened.position, opened.is_whole = (errand.name, errand.stop), True
        return tally

    def _recorded(self, opened: OpenSeries, errand: Errand, done: int, on_frame: OnFrame) -> Tally:
        flags = flags_path(errand.part)
        with ExitStack() as files:
            may_grow = errand.stop < len(errand.stack)
            pages = files.enter_context(
                Pages(errand.part, errand.stack, self._out_dtype, done, may_grow=may_grow)
            )
            lines = files.enter_context(flags.open("a" if done else "w", encoding="utf-8", newline="\n"))
            sent = _Sent(errand)
            recorder = ResultRecorder(errand.stack, sent, pages, {}, lines, on_frame, done)
            recorder.tally.recount(flags, done)
            recorder.tally.model_sha256 = opened.stream.opened.model.sha256
            _Exchange(opened.stream, errand, sent, recorder, done).run()
            recorder.fill_up_to(errand.stop)
        return recorder.tally


class _Sent:
    """Data of the frames of a file; see `SentFrames`."""

    def __init__(self, errand: Errand) -> None:
        self.unreadable: dict[int, str] = {}
        self.checksums: dict[int, int] = {}
        self.since: dict[int, float] = {}
        self._errand = errand
        self._times = times_of(errand.stack)
        self._is_movie = "T" in errand.stack.axes

    def t_acq(self, n: int) -> float | None:
        """Return the acquisition time of frame `n`; None if unknown."""
        if self._times is not None:
            return self._times[n]
        return None if self._is_movie else self._errand.written_s

    def handed_over(self, n: int) -> tuple[float | None, float | None]:
        """See `SentFrames`."""
        return self.t_acq(n), self.since.pop(n, None)

    def index_of(self, n: int) -> PlaneIndex:
        """See `SentFrames`."""
        return self._errand.index_of(n)

    def fields_of(self, n: int) -> dict[str, Any]:
        """See `SentFrames`."""
        return {_CHECKSUM: self.checksums.pop(n, None)}


class _Exchange:
    """Keeps the window of the stream filled, and takes every result."""

    def __init__(
        self, stream: Stream, errand: Errand, sent: _Sent, recorder: ResultRecorder, first: int
    ) -> None:
        self._stream, self._errand, self._sent, self._recorder = stream, errand, sent, recorder
        self._first = first
        self._base = stream.next_seq - first
        self._owed: set[int] = set()

    def run(self) -> None:
        """Send the frames and write their results.

        Raises
        ------
        DimstreamError, OSError
        """
        n = self._first
        while n < self._errand.stop or self._owed:
            if n < self._errand.stop and len(self._owed) < self._stream.opened.window:
                self._send(n)
                n += 1
            else:
                self._take()

    def _send(self, n: int) -> None:
        try:
            pixels = self._errand.stack.read(n)
        except TiffError as error:
            self._sent.unreadable[n] = str(error)
            self._stream.skip(1, reason=str(error)[:200])
            return
        self._sent.checksums[n] = checksum_of(pixels)
        self._sent.since[n] = time.perf_counter()
        self._owed.add(n)
        index, t_acq = self._errand.index_of(n), self._sent.t_acq(n)
        self._stream.send(pixels, index=index, t_acq=t_acq, copy=False)

    def _take(self) -> None:
        try:
            result = self._stream.take()
        except (StreamError, FrameError) as error:
            if error.seq is None or error.code in FINAL_CODES:
                raise
            self._owed.discard(error.seq - self._base)
            self._recorder.set_error(error.seq - self._base, str(error))
            return
        if result is None:
            raise ConnectionLost("the stream was closed before all results had come")
        self._owed.discard(result.seq - self._base)
        self._recorder.record(_in_file(result, self._base))


def _in_file(result: Result, base: int) -> Result:
    """Return the result with frame numbers from the first frame of the file; earlier ones are negative."""
    quality = result.quality
    if quality is not None and quality.suspect_since is not None:
        quality = replace(quality, suspect_since=quality.suspect_since - base)
    compared = None if result.compared_seq is None else result.compared_seq - base
    return replace(result, seq=result.seq - base, compared_seq=compared, quality=quality)


def _frames_before(errand: Errand, done: int) -> list[ReferenceFrame]:
    """Return the last time point of a movie before frame `done`."""
    frames: list[ReferenceFrame] = []
    for n in range(max(done - errand.planes, 0), done):
        try:
            frames.append((errand.stack.read(n), errand.index_of(n)))
        except TiffError:  # it was also skipped the first time
            continue
    return frames


def checksum_of(pixels: npt.NDArray[Any]) -> int:
    """Return the crc32 of a frame, (H, W)."""
    return zlib.crc32(np.ascontiguousarray(pixels).data)


def frames_alike(stack: ImageStack, part: Path) -> bool:
    """Return whether the denoised frames are those of the stack, by their checksums."""
    flags = flags_path(part)
    if not flags.exists():
        return True
    with flags.open(encoding="utf-8") as lines:
        for line in lines:
            if not line.endswith("\n"):
                return True
            record = json.loads(line)
            n, expected = record["seq"], record.get(_CHECKSUM)
            if n >= len(stack) or (expected is not None and not _is_alike(stack, n, expected)):
                return False
    return True


def _is_alike(stack: ImageStack, n: int, expected: int) -> bool:
    try:
        return checksum_of(stack.read(n)) == expected
    except TiffError:
        return False
