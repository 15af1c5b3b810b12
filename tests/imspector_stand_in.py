"""A program that behaves as Imspector does by all that is known of it, around stacks of its own library.

Known from programs that drive it: the end of each scan line is told, not that of a frame; the pixels are
written in place, line by line; in a loop the next frame is written over the last.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import specpy
from numpy.typing import NDArray

PIXEL_M = 2e-8


def stack_of(name: str, shape: tuple[int, ...], dtype: str = "uint16") -> Any:
    """Return an empty stack, (t, z, y, x), with lengths in metres."""
    stack = specpy.Stack(np.zeros(shape, dtype))
    stack.set_name(name)
    stack.set_lengths([shape[-1] * PIXEL_M, shape[-2] * PIXEL_M, 1e-6, 1.0])
    return stack


class StandIn:
    """Application, measurement and tree of settings in one.

    Parameters
    ----------
    stacks : sequence of specpy.Stack
    movies : (stacks, frames, H, W) arrays
        What the detectors will see, frame by frame; z runs faster than time.
    each_frame : callable
        Called before each frame is scanned.
    """

    def __init__(
        self,
        stacks: Sequence[Any],
        movies: NDArray[Any],
        each_frame: Callable[[int], None] = lambda n: None,
    ) -> None:
        self.stacks, self.movies, self.each_frame = list(stacks), movies, each_frame
        self.calls: list[str] = []
        self.active = False
        self.lines_after_which_it_stops: int | None = None
        self._callbacks: dict[int, list[Callable[[], None]]] = {0: [], 1: []}
        self._loop = False
        self._paused = threading.Event()
        self._thread: threading.Thread | None = None

    # -- specpy's calls

    def active_measurement(self) -> StandIn:
        return self

    def stack(self, which: int | str) -> Any:
        names = self.stack_names()
        if which not in names and which not in range(len(names)):
            raise RuntimeError("stack not found")
        return self.stacks[names.index(which) if isinstance(which, str) else which]

    def stack_names(self) -> list[str]:
        return [stack.name() for stack in self.stacks]

    def connect_end(self, callback: Callable[[], None], flag: int) -> None:
        self.calls.append("connect_end")
        self._callbacks[flag].append(callback)

    def disconnect_end(self, callback: Callable[[], None], flag: int) -> None:
        self.calls.append("disconnect_end")
        self._callbacks[flag].remove(callback)

    def enable_loop(self, is_on: bool) -> None:
        self.calls.append("enable_loop")
        self._loop = is_on

    def start(self) -> None:
        self.calls.append("start")
        self.active = True
        self._paused.clear()
        self._thread = threading.Thread(target=self._scan)
        self._thread.start()

    def pause(self) -> None:
        self.calls.append("pause")
        self._paused.set()
        self.join()

    def value_at(self, path: str, root: object) -> StandIn:
        assert (path, root) == ("Measurement/timing/progress", specpy.ValueTree.Status)
        return self

    def get(self) -> dict[str, Any]:
        return {"active": self.active}

    # -- the scan

    def join(self) -> None:
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(60)

    def _scan(self) -> None:
        data = [stack.data() for stack in self.stacks]
        slots = int(np.prod(data[0].shape[:2]))
        frames = self.movies.shape[1] if self._loop else min(slots, self.movies.shape[1])
        lines = 0
        for n in range(frames):
            self.each_frame(n)
            for y in range(data[0].shape[2]):
                if self._paused.is_set() or lines == self.lines_after_which_it_stops:
                    return self._end()
                for pixels, movie in zip(data, self.movies, strict=True):
                    pixels.reshape(slots, *movie.shape[1:])[n % slots, y] = movie[n, y]
                lines += 1
                for callback in tuple(self._callbacks[1]):
                    callback()
        return self._end()

    def _end(self) -> None:
        for callback in tuple(self._callbacks[0]):
            callback()
        self.active = False


def until(condition: Callable[[], bool]) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)
