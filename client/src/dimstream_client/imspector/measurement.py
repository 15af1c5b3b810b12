"""The frames of a running measurement, copied as soon as their last line is scanned."""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from dimstream_client.errors import ImspectorError
from dimstream_client.imspector.program import MEASUREMENT, STEP, Imspector, Stack, shape_of
from dimstream_client.imspector.scan_lines import FramePlace, LineCounter
from dimstream_client.messages import PlaneIndex

_log = logging.getLogger("dimstream")
_GIVEN_AS: Final = {
    **{name: name for name in ("uint8", "uint16", "float32")},
    "int8": "uint8",
    "int16": "uint16",
    "uint32": "float32",
    "int32": "float32",
    "float64": "float32",
}
_EXACT_FLOAT32: Final = 2**24
_LONGEST_PIXEL_UM: Final = 1_000.0  # longer: the length is not in metres
_POLL_S: Final = 0.2


@dataclass(frozen=True)
class ScannedFrame:
    """One frame of one detector.

    Parameters
    ----------
    pixels : (H, W) ndarray
        A copy.
    index : PlaneIndex
        Index of the frame; `c` is the number of the requested stack.
    t_acq : float
        Time of its last line, seconds since 1970.
    lost_before : int
        Number of frames directly before it that were dropped, because they were not taken in time.
    """

    pixels: npt.NDArray[Any]
    index: PlaneIndex
    t_acq: float
    lost_before: int = 0


class ImspectorFrames:
    """Iterator over the frames of Imspector's active measurement; use it as a context manager.

    On entering, the callbacks are connected and, if requested, the measurement is started. On leaving, a
    measurement that was started here is paused, and the callbacks are disconnected. Imspector never waits:
    when `queue_frames` frames were not taken, later ones are dropped, counted and logged.

    Parameters
    ----------
    imspector : Imspector
        The result of `connect`.
    stacks : sequence of int or str
        Numbers or names of the detectors' stacks; several are channels.
    loop : bool, optional
        Whether to start a loop or a single measurement; None: the user starts it in Imspector.
    pause_s : float
        Seconds to wait after each call that changes something in Imspector.
    queue_frames : int
    lines_per_frame : int, optional
        Required for frames that are not square.

    Raises
    ------
    ImspectorError
        When there is no such stack, or its data cannot be sent.
    """

    def __init__(
        self,
        imspector: Imspector,
        *,
        stacks: Sequence[int | str] = (0,),
        loop: bool | None = None,
        pause_s: float = 0.05,
        queue_frames: int = 64,
        lines_per_frame: int | None = None,
    ) -> None:
        self._imspector, self._loop, self._pause_s = imspector, loop, pause_s
        self._stacks = _stacks_of(imspector, stacks)
        shapes = {shape_of(stack)[:4] for stack in self._stacks}
        if len(shapes) != 1:
            raise ImspectorError(
                f"the stacks have different sizes, {sorted(shapes)}: take one, or some alike"
            )
        width, height, planes, slots = (*shapes.pop(), 1, 1)[:4]
        if lines_per_frame is None and width != height:
            raise ImspectorError(
                f"frames are {width} x {height} pixels: say how many lines a frame has (lines_per_frame), "
                "which is not known for frames that are not square"
            )
        self.shape = height, width
        self.dtype = _dtype_of(self._stacks)
        self.pixel_size_um = _pixel_size_um(self._stacks[0], width, height)
        self.channels = tuple(stack.name() for stack in self._stacks)
        self.dropped = 0
        self._counter = LineCounter(lines_per_frame or height, max(planes, 1), max(slots, 1))
        self._queue: queue.Queue[ScannedFrame] = queue.Queue(max(queue_frames, len(self._stacks)))
        self._ended = threading.Event()
        self._failure: BaseException | None = None
        self._lost = 0

    def __enter__(self) -> ImspectorFrames:
        application = self._imspector.application
        self._call(lambda: application.connect_end(self._on_line, STEP))
        self._call(lambda: application.connect_end(self._on_end, MEASUREMENT))
        if self._loop is not None:
            self._call(lambda: application.enable_loop(bool(self._loop)))
            self._call(application.start)
        return self

    def __exit__(self, *exception: object) -> None:
        application = self._imspector.application
        calls: list[Callable[[], Any]] = [
            lambda: application.disconnect_end(self._on_line, STEP),
            lambda: application.disconnect_end(self._on_end, MEASUREMENT),
        ]
        if self._loop is not None:
            calls.append(application.pause)
        for call in calls:
            with contextlib.suppress(RuntimeError):  # Imspector was closed
                self._call(call)

    def __iter__(self) -> Iterator[ScannedFrame]:
        """Yield frames until the measurement ends.

        Raises
        ------
        ImspectorError
            When a frame could not be read.
        """
        was_idle = False
        while True:
            try:
                yield self._queue.get(timeout=_POLL_S)
                was_idle = False
            except queue.Empty:
                if self._failure is not None:
                    raise ImspectorError(f"a frame could not be read: {self._failure}") from self._failure
                if self._is_over(was_idle):
                    return
                was_idle = self._imspector.is_measuring() is False

    def _is_over(self, was_idle: bool) -> bool:
        """Return whether a single measurement has ended or the loop was paused: idle at two consecutive
        checks."""
        if self._loop is False and self._ended.is_set():
            return True
        return self._loop is not None and was_idle and self._imspector.is_measuring() is False

    @property
    def lost_at_end(self) -> int:
        """Number of frames that were dropped after the last one."""
        return self._lost

    def stop(self) -> None:
        """Pause the measurement; existing frames are still returned."""
        self._call(self._imspector.application.pause)

    def _call(self, call: Callable[[], Any]) -> None:
        """Call Imspector, and wait so that it can finish."""
        call()
        time.sleep(self._pause_s)

    # -- called on specpy's thread: must be quick and not raise

    def _on_line(self, *_: object) -> None:
        place = self._counter.end_of_line()
        if place is None:
            return
        try:
            self._copy(place)
        except Exception as error:
            self._failure = self._failure or error

    def _on_end(self, *_: object) -> None:
        if lines := self._counter.end_of_measurement():
            _log.warning("a frame was not finished, after %d lines, and is left out", lines)
        self._ended.set()

    def _copy(self, place: FramePlace) -> None:
        t_acq = time.time()
        for c, stack in enumerate(self._stacks):
            index = PlaneIndex(t=place.t, c=c, z=place.z)
            frame = ScannedFrame(_frame(stack, place, self.shape, self.dtype), index, t_acq, self._lost)
            try:
                self._queue.put_nowait(frame)
                self._lost = 0
            except queue.Full:
                self._lost += 1
                self.dropped += 1
                if self._lost == 1:
                    _log.warning("frames of Imspector are dropped, because they are not taken fast enough")


def _stacks_of(imspector: Imspector, stacks: Sequence[int | str]) -> list[Stack]:
    measurement = imspector.application.active_measurement()
    found = []
    for which in stacks:
        try:
            found.append(measurement.stack(which))
        except (RuntimeError, IndexError, KeyError) as error:
            names = list(measurement.stack_names())
            raise ImspectorError(
                f"there is no stack {which!r}; the measurement has {names}, numbered from 0"
            ) from error
    if not found:
        raise ImspectorError("no stack was named; name one at least, by its number or name")
    return found


def _dtype_of(stacks: Sequence[Stack]) -> str:
    """Return the data type of the sent frames."""
    stored = {np.asarray(stack.data()).dtype.name for stack in stacks}
    given = {_GIVEN_AS.get(name) for name in stored}
    if len(given) != 1 or None in given:
        raise ImspectorError(f"the stacks hold {sorted(stored)}, expected one type of {sorted(_GIVEN_AS)}")
    return str(given.pop())


def _pixel_size_um(stack: Stack, width: int, height: int) -> float | None:
    """Return the side of a square pixel in micrometres; None if the lengths are not valid, or pixels not
    square."""
    x, y = (1e6 * float(length) / side for length, side in zip(stack.lengths(), (width, height)))
    if not 0 < x < _LONGEST_PIXEL_UM or abs(x - y) > 0.01 * x:
        return None
    return float(f"{x:.9g}")


def _frame(stack: Stack, place: FramePlace, shape: tuple[int, int], dtype: str) -> npt.NDArray[Any]:
    """Return a copy of a frame, (H, W) of `dtype`.

    Raises
    ------
    ImspectorError
    """
    data = np.asarray(stack.data())
    planes = data.reshape((-1, *shape)) if data.shape[-2:] == shape else None
    number = place.slot * (data.shape[-3] if data.ndim > 3 else 1) + place.z
    if planes is None or number >= len(planes):
        raise ImspectorError(
            f"the stack {stack.name()!r} is now {data.shape}, expected frames of {shape}: its size has "
            "changed; begin again"
        )
    pixels = planes[number]
    if pixels.dtype.kind == "i" and pixels.min() < 0:
        raise ImspectorError(f"the stack {stack.name()!r} holds {pixels.min()}, expected counts from 0 on")
    if pixels.dtype.itemsize == 4 and pixels.dtype.kind in "iu" and pixels.max() > _EXACT_FLOAT32:
        raise ImspectorError(f"the stack {stack.name()!r} holds {pixels.max()}, at most {_EXACT_FLOAT32}")
    return np.array(pixels, dtype=dtype, order="C")
