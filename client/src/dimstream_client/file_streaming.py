"""Stream a stack from a file, and write a denoised OME-TIFF, one JSON line per frame, maps and error bars."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Protocol, TextIO

import numpy as np
import numpy.typing as npt

from dimstream_client.client import Client
from dimstream_client.counts_warning import warning_of
from dimstream_client.errors import FrameError, StreamError, TiffError
from dimstream_client.files import ImageStack
from dimstream_client.files.stack_writer import writer_of
from dimstream_client.files.tiff_writer import page_offsets
from dimstream_client.frame_feeding import FrameFeeder, times_of
from dimstream_client.messages import Closed, Frame, PlaneIndex, Result
from dimstream_client.quality import Thresholds, parts_of, plain
from dimstream_client.resume_file import ResumeInfo, count_lines, keep_lines, read_resume_info
from dimstream_client.session import FINAL_CODES
from dimstream_client.stream import Stream
from dimstream_client.suspect_watch import SuspectWatch

BESIDE: Mapping[str, tuple[str, str]] = {"maps": ("support", "uint8"), "sd": ("sd", "float32")}
"""Settings of a stream that request further images: field of the result and pixel type of each."""
_FLAGS = ("ok", "suspect", "unjudged")

_log = logging.getLogger("dimstream")


@dataclass(frozen=True)
class StreamingOptions:
    """Settings of a streamed file.

    Parameters
    ----------
    interval_s : float
        Seconds between frames; 0: as fast as the server denoises.
    fail_on_suspect : int or None
        Number of consecutive suspect frames; see `SuspectWatch`. None: never stop.
    """

    interval_s: float
    settings: dict[str, Any]
    fail_on_suspect: int | None = None


@dataclass
class Tally:
    """Number of frames with each flag and without a result, and the last run of suspect frames.

    Parameters
    ----------
    suspect_since, suspect_to : int or None
        First and last frame of the last run of suspect frames; `suspect_to` is None during the run.
    thresholds : Thresholds or None
        Thresholds that the server used.
    model_sha256 : str or None
        SHA-256 of the weights that were used.
    closed : Closed or None
        The server's answer to CLOSE.
    first_missing : str or None
        The first frame without a result, and the reason.
    """

    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys((*_FLAGS, "missing"), 0))
    suspect_since: int | None = None
    suspect_to: int | None = None
    thresholds: Thresholds | None = None
    model_sha256: str | None = None
    closed: Closed | None = None
    first_missing: str | None = None
    _plane: PlaneIndex | None = None
    _seq: int = 0

    def follow(self, result: Result) -> None:
        """Count the next result."""
        plane = replace(result.index, t=0)
        if result.flag == "suspect":
            self._plane, self._seq, self.suspect_to = plane, result.seq, None
            self.suspect_since = result.quality.suspect_since if result.quality else None
        elif plane == self._plane and self.suspect_to is None:
            self.suspect_to = self._seq

    def recount(self, flags: Path, frames: int) -> None:
        """Count the frames that were written to the file of flags before an interruption."""
        with flags.open(encoding="utf-8") as lines:
            for line in islice(lines, frames):
                record = json.loads(line)
                self.count(record, is_missing=record["status"] != "done")

    def count(self, record: dict[str, Any], *, is_missing: bool) -> None:
        """Count a frame from its line in the file of flags."""
        self.counts["missing" if is_missing else record["flag"]] += 1
        if is_missing and self.first_missing is None:
            self.first_missing = f"frame {record['seq']}: {record.get('error') or record['reason']}"

    def __str__(self) -> str:
        parts = [f"{n} {flag}" for flag, n in self.counts.items() if n]
        if self.suspect_since is not None:
            until = "on" if self.suspect_to is None else f"to frame {self.suspect_to}"
            parts.append(f"suspect from frame {self.suspect_since} {until}")
        return ", ".join(parts)


def flags_path(out: Path) -> Path:
    """Return where the flags of ``OUT.ome.tif`` are written: ``OUT.flags.jsonl`` next to it."""
    return out.with_name(stem_of(out.name) + ".flags.jsonl")


def image_path(out: Path, setting: str) -> Path:
    """Return where support maps or error bars of ``OUT.ome.tif`` are written, ``OUT.maps.ome.tif`` or
    ``OUT.sd.ome.tif`` next to it."""
    return out.with_name(f"{stem_of(out.name)}.{setting}.ome.tif")


def images_beside(settings: Mapping[str, Any]) -> list[str]:
    """Return which settings of `BESIDE` are used."""
    return [name for name in BESIDE if settings.get(name)]


def resume_path(out: Path) -> Path:
    """Return the path of the resume file of ``OUT.ome.tif``: ``OUT.resume.json``. It exists until all is
    written."""
    return out.with_name(stem_of(out.name) + ".resume.json")


def stream_file(
    client: Client,
    source: Path,
    stack: ImageStack,
    out: Path,
    streaming: StreamingOptions,
    *,
    on_frame: Callable[[dict[str, int]], None],
    resume: bool = False,
) -> Tally:
    """Stream `stack`, of the file `source`, and write its results to `out` and `flags_path(out)`.

    Maps and error bars, if requested, are written to `image_path(out, ...)`. Until all is written, the data
    for resuming are in `resume_path(out)`.

    A frame has no result if it cannot be read, was refused, failed, or was replaced in mode ``latest``. Its
    page has zeros, so that pages keep their places; it is counted as ``missing``, and its line gives the
    reason.

    Parameters
    ----------
    resume : bool
        Whether to continue an interrupted `out`.

    Raises
    ------
    SpoolError
        When there is nothing to resume, or the source or the options have changed.
    StayedSuspect, TiffError, StreamError, ConnectionLost, Timeout, OSError
    """
    options = _options_of(stack, streaming)
    info = read_resume_info(resume_path(out), source, stack.files, options) if resume else None
    done = frames_done(out, images_beside(streaming.settings)) if resume else 0
    if info is None:
        stream = client.open(stack.frame_shape, stack.dtype, **streaming.settings)
    else:
        frame_of = partial(_frame_of, stack, info.resume_handle.stream, times_of(stack))
        stream = client.resume_with(info.resume_handle, next_result=done, frame_of=frame_of)
    try:
        tally = _record(stream, stack, source, out, streaming, options, on_frame, done)
    except StreamError as error:
        if error.code in FINAL_CODES:  # the server no longer has the stream: it cannot be resumed
            resume_path(out).unlink(missing_ok=True)
        raise
    resume_path(out).unlink(missing_ok=True)
    return tally


def _options_of(stack: ImageStack, streaming: StreamingOptions) -> dict[str, Any]:
    """Options that must be the same when a stream is resumed."""
    settings = {name: streaming.settings.get(name) for name in ("out_dtype", "maps")}
    if streaming.settings.get("sd"):
        settings["sd"] = True
    return {"axes": stack.axes, "shape": list(stack.shape), "dtype": stack.dtype, **settings}


def _record(
    stream: Stream,
    stack: ImageStack,
    source: Path,
    out: Path,
    streaming: StreamingOptions,
    options: dict[str, Any],
    on_frame: Callable[[dict[str, int]], None],
    done: int,
) -> Tally:
    """Send the remaining frames and write their results; after an interruption the stream can be resumed."""
    with ExitStack() as files:
        pages = files.enter_context(Pages(out, stack, streaming.settings["out_dtype"], done))
        beside = {}
        for name in images_beside(streaming.settings):
            attribute, dtype = BESIDE[name]
            images = Pages(image_path(out, name), stack, dtype, done, is_support=name == "maps")
            beside[attribute] = files.enter_context(images)
        flags = flags_path(out)
        lines = files.enter_context(flags.open("a" if done else "w", encoding="utf-8", newline="\n"))
        ResumeInfo.of(stream.resume_handle, source, stack.files, options).write(resume_path(out))
        feeder = FrameFeeder(stream, stack, first=stream.next_seq, interval_s=streaming.interval_s)
        files.callback(feeder.stop)
        recorder = ResultRecorder(stack, feeder, pages, beside, lines, on_frame, done)
        if streaming.fail_on_suspect is not None:
            recorder.watch = SuspectWatch(streaming.fail_on_suspect)
        recorder.tally.recount(flags_path(out), done)
        recorder.tally.thresholds = stream.opened.thresholds
        recorder.tally.model_sha256 = stream.opened.model.sha256
        _take_all(stream, recorder)
        feeder.raise_failure()
        recorder.fill_up_to(len(stack))
        recorder.tally.closed = stream.close()
    return recorder.tally


def _take_all(stream: Stream, recorder: ResultRecorder) -> None:
    """Write every result in its place, and the reason for each missing one."""
    while True:
        try:
            result = stream.take()
        except (StreamError, FrameError) as error:
            if error.seq is None or error.code in FINAL_CODES:
                raise
            recorder.set_error(error.seq, str(error))
            continue
        if result is None:
            return
        recorder.record(result)


def frames_done(out: Path, beside: Sequence[str]) -> int:
    """Return the number of frames of which everything was written; cut off what was written of the next
    one."""
    if not flags_path(out).exists() or not out.exists():
        return 0
    written = [count_lines(flags_path(out))]
    for path in (out, *(image_path(out, name) for name in beside)):
        written.append(len(page_offsets(path)) if path.stat().st_size else 0)
    return keep_lines(flags_path(out), min(written))


def _frame_of(stack: ImageStack, stream: str, times: list[float] | None, seq: int) -> Frame | None:
    """Return a frame that the server requests again; None if it cannot be read."""
    try:
        return Frame(stream, seq, stack.read(seq), stack.index(seq), times[seq] if times else None)
    except TiffError:
        return None


def stem_of(name: str) -> str:
    """Return the name of an image without its ending."""
    for ending in (".ome.tif", ".ome.tiff", ".ome.btf", ".tif", ".tiff", ".btf"):
        if name.lower().endswith(ending):
            return name[: -len(ending)]
    return name


class SentFrames(Protocol):
    """Data of the frames that were sent."""

    unreadable: dict[int, str]
    """Frames that cannot be read, with the reason."""

    def handed_over(self, n: int) -> tuple[float | None, float | None]:
        """Return, only once, when frame `n` was acquired and when it was sent (`time.perf_counter`)."""

    def index_of(self, n: int) -> PlaneIndex:
        """Return the position of frame `n`."""

    def fields_of(self, n: int) -> Mapping[str, Any]:
        """Return further fields for the line of frame `n`."""


class Pages:
    """An OME-TIFF with the axes and scale of a stack; frames without a result have a page of zeros."""

    def __init__(
        self,
        path: Path,
        stack: ImageStack,
        dtype: str,
        written: int,
        *,
        is_support: bool = False,
        may_grow: bool = False,
    ) -> None:
        self._writer = writer_of(
            stack, path, dtype=dtype, is_support=is_support, written=written, may_grow=may_grow
        )
        self._blank = np.zeros(stack.frame_shape, dtype)

    def write(self, pixels: npt.NDArray[Any] | None) -> None:
        """Append one page."""
        self._writer.write(self._blank if pixels is None else pixels)

    def __enter__(self) -> Pages:
        return self

    def __exit__(self, *exception: object) -> None:
        self._writer.close()


class ResultRecorder:
    """Writes results in their places; `seq` of a result is the number of its frame in the stack.

    Parameters
    ----------
    done : int
        Number of frames that are already written.
    """

    def __init__(
        self,
        stack: ImageStack,
        sent: SentFrames,
        pages: Pages,
        beside: Mapping[str, Pages],
        lines: TextIO,
        on_frame: Callable[[dict[str, int]], None],
        done: int,
    ) -> None:
        self.tally = Tally()
        self.watch: SuspectWatch | None = None
        self._sent = sent
        self._pages, self._beside, self._lines = pages, beside, lines
        self._on_frame = on_frame
        self._over_time = dict(zip(stack.axes, stack.shape)).get("T", 1) > 1
        self._refusals: dict[int, str] = {}
        self._next = done
        self._warned = False

    def record(self, result: Result) -> None:
        """Write a result in its place."""
        self.fill_up_to(result.seq)
        t_acq, sent = self._sent.handed_over(result.seq)
        line = {
            "seq": result.seq,
            "index": plain(result.index),
            "t_acq": t_acq,
            **{name: plain(value) for name, value in parts_of(result).items()},
            "round_trip_ms": None if sent is None else round((time.perf_counter() - sent) * 1e3, 3),
        }
        if result.error is not None:
            line["error"] = result.error.detail
        self._warn(result)
        if self._over_time:  # else nothing is suspect "since": the dark ends of a z-stack always are
            self.tally.follow(result)
        self._put(line, result)
        if self.watch is not None:
            self.watch.follow(result)

    def _warn(self, result: Result) -> None:
        """Warn once, early, if the values are not photon counts."""
        if self._warned or result.quality is None or "not_photons" not in result.quality.notes:
            return
        self._warned = True
        _log.warning("%s", warning_of(result.reason) or "the values are no photon counts")

    def set_error(self, seq: int, why: str) -> None:
        """Store why a frame will have no result."""
        self._refusals[seq] = why

    def fill_up_to(self, seq: int) -> None:
        """Write a page of zeros for each frame before `seq` that has no result."""
        while self._next < seq:
            n = self._next
            t_acq, _ = self._sent.handed_over(n)
            unreadable = self._sent.unreadable.pop(n, None)
            why = unreadable or self._refusals.pop(n, None)
            line = {
                "seq": n,
                "index": plain(self._sent.index_of(n)),
                "t_acq": t_acq,
                "status": "unreadable" if unreadable else "refused" if why else "skipped",
                "flag": "unjudged",
                "reason": why or "replaced by a newer frame",
            }
            self._put(line, None)

    def _put(self, line: dict[str, Any], result: Result | None) -> None:
        self._pages.write(result.pixels if result else None)
        for name, images in self._beside.items():
            images.write(getattr(result, name) if result else None)
        line.update(self._sent.fields_of(line["seq"]))
        self._lines.write(json.dumps(line) + "\n")  # last, so that a frame with a line is complete
        self._lines.flush()
        self.tally.count(line, is_missing=result is None or result.pixels is None)
        self._next += 1
        self._on_frame(self.tally.counts)
