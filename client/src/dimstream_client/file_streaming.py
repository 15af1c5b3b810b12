"""A TIFF stack streamed like a microscope would: denoised OME-TIFF and one JSON line a frame."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import numpy.typing as npt

from dimstream_client.client import Client
from dimstream_client.errors import FrameError, StreamError
from dimstream_client.messages import PlaneIndex, Result
from dimstream_client.session import FINAL_CODES
from dimstream_client.tiff import Stack, StackWriter

_FLAGS = ("ok", "suspect", "unjudged")


@dataclass(frozen=True)
class Pace:
    """Settings of a streamed file: seconds between frames (0: as fast as the server), and of the stream."""

    interval_s: float
    settings: dict[str, Any]


def flags_path(out: Path) -> Path:
    """Return where the flags of ``OUT.ome.tif`` are written: ``OUT.flags.jsonl`` beside it."""
    name = out.name
    for ending in (".ome.tif", ".ome.tiff", ".ome.btf", ".tif", ".tiff", ".btf"):
        if name.lower().endswith(ending):
            name = name[: -len(ending)]
            break
    return out.with_name(name + ".flags.jsonl")


def stream_file(
    client: Client, stack: Stack, out: Path, pace: Pace, *, on_frame: Callable[[dict[str, int]], None]
) -> dict[str, int]:
    """Stream `stack` and write its results to `out` and `flags_path(out)`; return how many had which flag.

    A frame without a result (refused, failed, or replaced in mode ``latest``) is a page of zeros, so that
    pages keep their places, and counted as ``missing``; its line in the flags says what happened.

    Raises
    ------
    TiffError, StreamError, ConnectionLost, Timeout, OSError
    """
    out_dtype = pace.settings["out_dtype"]
    feed = _Feed(stack)
    results = client.stream(feed.frames(pace.interval_s), copy=False, **pace.settings)
    results.start()  # before anything is written
    with (
        StackWriter(out, axes=stack.axes, shape=stack.shape, dtype=out_dtype, scale=stack.scale) as writer,
        flags_path(out).open("w", encoding="utf-8") as lines,
    ):
        recorder = _Recorder(feed, writer, lines, np.zeros(stack.frame_shape, out_dtype), on_frame)
        try:
            while True:
                try:
                    recorder.record(next(results))
                except (StreamError, FrameError) as error:
                    if error.seq is None or error.code in FINAL_CODES:
                        raise
                    recorder.note(error.seq, str(error))
        except StopIteration:
            recorder.fill_up_to(len(stack))
        finally:
            results.close()
    return recorder.counts


class _Feed:
    """The frames of a stack, and when each was handed over."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self._handed: dict[int, tuple[float, float]] = {}

    def frames(self, interval_s: float) -> Iterator[tuple[npt.NDArray[Any], PlaneIndex]]:
        """Iterate over the frames of the stack, one every `interval_s`."""
        start = time.perf_counter()
        for n in range(len(self.stack)):
            frame = self.stack.read(n), self.stack.index(n)
            delay = start + n * interval_s - time.perf_counter()
            if delay > 0:
                time.sleep(delay)
            self._handed[n] = time.time(), time.perf_counter()
            yield frame

    def handed_over(self, n: int) -> tuple[float | None, float]:
        """Return when frame `n` was handed over, by the clock and by the stopwatch; once."""
        return self._handed.pop(n, (None, 0.0))


class _Recorder:
    """Writes results in their places; frame `n` of the stack is seq `n` of the stream."""

    def __init__(
        self,
        feed: _Feed,
        writer: StackWriter,
        lines: TextIO,
        blank: npt.NDArray[Any],
        on_frame: Callable[[dict[str, int]], None],
    ) -> None:
        self.counts = dict.fromkeys((*_FLAGS, "missing"), 0)
        self._feed, self._writer, self._lines, self._blank = feed, writer, lines, blank
        self._on_frame = on_frame
        self._refusals: dict[int, str] = {}
        self._next = 0

    def record(self, result: Result) -> None:
        """Write a result in its place."""
        self.fill_up_to(result.seq)
        t_acq, sent = self._feed.handed_over(result.seq)
        line = {
            "seq": result.seq,
            "index": asdict(result.index),
            "t_acq": t_acq,
            "status": result.status,
            "flag": result.flag,
            "reason": result.reason,
            "ssim_prev": result.ssim_prev,
            "compared_seq": result.compared_seq,
            "fractions": asdict(result.fractions) if result.fractions else None,
            "model_sha256": result.model_sha256,
            "t_ms": asdict(result.t_ms),
            "round_trip_ms": round((time.perf_counter() - sent) * 1e3, 3),
        }
        if result.error is not None:
            line["error"] = result.error.detail
        self._put(line, result.pixels, "missing" if result.pixels is None else result.flag)

    def note(self, seq: int, why: str) -> None:
        """Remember why a frame will have no result."""
        self._refusals[seq] = why

    def fill_up_to(self, seq: int) -> None:
        """Write a page of zeros for each frame before `seq` that has no result."""
        while self._next < seq:
            n = self._next
            t_acq, _ = self._feed.handed_over(n)
            why = self._refusals.pop(n, None)
            line = {
                "seq": n,
                "index": asdict(self._feed.stack.index(n)),
                "t_acq": t_acq,
                "status": "refused" if why else "skipped",
                "flag": "unjudged",
                "reason": why or "replaced by a newer frame",
            }
            self._put(line, None, "missing")

    def _put(self, line: dict[str, Any], pixels: npt.NDArray[Any] | None, counted: str) -> None:
        self._lines.write(json.dumps(line) + "\n")
        self._lines.flush()
        self._writer.write(self._blank if pixels is None else pixels)
        self.counts[counted] += 1
        self._next += 1
        self._on_frame(self.counts)
