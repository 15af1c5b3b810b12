"""The events of a run with the changes of feedback; each is handed out as late as possible."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from queue import Empty, Queue
from typing import Any, Final

from dimstream_client.feedback.observations import EXPOSURE
from dimstream_client.micromanager.cores import Core, device_and_property

_LOOK_S: Final = 0.01  # seconds between checks of the runner while an event is held back


class EventFeed(Iterator[Any]):
    """Iterator over events. It never blocks a paused or ended run.

    Parameters
    ----------
    core : pymmcore_plus.CMMCorePlus
        The core that runs them.
    events : iterable of MDAEvent, or Queue of them
        The plan; or a queue that gets events during the run, and None at its end.
    lead_s : float
        Seconds before its time at which each event is handed out; until then it can be changed.

    Attributes
    ----------
    handed_out : int
        Number of events that the runner has received.
    """

    def __init__(self, core: Core, events: Iterable[Any] | Queue[Any], *, lead_s: float) -> None:
        self._core, self._lead_s = core, lead_s
        self._queue = events if isinstance(events, Queue) else None
        self._events: Iterator[Any] = iter(()) if isinstance(events, Queue) else iter(events)
        self._last: Any = None
        self._lock = threading.Lock()
        self._exposures_ms: dict[int, float] = {}
        self._properties: dict[tuple[str, str], float] = {}
        self.handed_out = 0

    def change(self, what: str, value: float, *, channel: int) -> None:
        """Set this in all events from the next one on; an exposure only in those of the channel.

        Any thread can call it.
        """
        with self._lock:
            if what == EXPOSURE:
                self._exposures_ms[channel] = value
            else:
                self._properties[device_and_property(what)] = value

    def __iter__(self) -> EventFeed:
        return self

    def __next__(self) -> Any:
        event = next(self._events) if self._queue is None else self._from(self._queue)
        self._hold(event)
        self.handed_out += 1
        self._last = event
        return self._changed(event)

    def _from(self, events: Queue[Any]) -> Any:
        """Return the next event of a queue.

        If the run is about to end, return the previous event again: the runner does not run it, and ends as
        canceled.
        """
        while True:
            try:
                event = events.get(timeout=_LOOK_S)
            except Empty:
                if str(self._core.mda.status.phase) != "finishing":
                    continue
                event = self._last
            if event is None:
                raise StopIteration
            return event

    def _hold(self, event: Any) -> None:
        """Wait until shortly before the event's time, except while the run is paused or about to end."""
        if event.reset_event_timer or not event.min_start_time:
            return
        runner = self._core.mda
        while str(runner.status.phase) not in ("paused", "finishing", "idle"):
            left = event.min_start_time - self._lead_s - runner.event_seconds_elapsed()
            if left <= 0:
                return
            time.sleep(min(left, _LOOK_S))

    def _changed(self, event: Any) -> Any:
        with self._lock:
            exposure = self._exposures_ms.get(event.index.get("c", 0))
            properties = dict(self._properties)
        update: dict[str, Any] = {}
        if exposure is not None:
            update["exposure"] = exposure
        if properties:
            planned = [one for one in event.properties or () if (one[0], one[1]) not in properties]
            update["properties"] = [*planned, *((*name, value) for name, value in properties.items())]
        return event.model_copy(update=update) if update else event
