"""Which frames a run should give, so that one that never came is found by its event's index."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, Final

EventKey = tuple[tuple[str, int], ...]

_MOST_AHEAD: Final = 100_000


def key_of(index: Mapping[str, int]) -> EventKey:
    """Return an event's index as something that can be compared."""
    return tuple(sorted((str(axis), int(place)) for axis, place in index.items()))


def planned_keys(events: Iterable[Any], *, cameras: int = 1) -> Iterator[EventKey]:
    """Yield the keys of the frames that events will give, in order; autofocus and the like give none."""
    for event in events:
        action = getattr(event, "action", None)
        if action is not None and getattr(action, "type", "acquire_image") != "acquire_image":
            continue
        for camera in range(cameras):
            yield key_of({**event.index, "cam": camera} if cameras > 1 else event.index)


class ExpectedEvents:
    """Compares the frames that come with those that were planned.

    Without a plan (events that are made while the run goes on) a gap is found where the time points of a
    plane are not in a row.

    Parameters
    ----------
    keys : iterable of EventKey, optional
        Of the frames in the plan; taken as they are needed.

    Attributes
    ----------
    unexpected : int
        Frames that the plan did not have.
    late : int
        Frames that came after others which the plan had later.
    """

    def __init__(self, keys: Iterable[EventKey] | None = None) -> None:
        self._keys = None if keys is None else iter(keys)
        self._ahead: dict[EventKey, None] = {}
        self._passed: set[EventKey] = set()
        self._last_t: dict[EventKey, int] = {}
        self.unexpected = self.late = 0

    @property
    def is_planned(self) -> bool:
        """Whether there is a plan."""
        return self._keys is not None

    def missing_before(self, key: EventKey) -> int:
        """Take note of a frame; return how many should have come before it, and did not."""
        if self._keys is None:
            return self._missing_time_points(key)
        if not self._is_ahead(key):
            self.late += key in self._passed
            self.unexpected += key not in self._passed
            self._passed.discard(key)
            return 0
        missing = 0
        while (first := next(iter(self._ahead))) != key:
            del self._ahead[first]
            self._passed.add(first)
            missing += 1
        del self._ahead[key]
        return missing

    def left(self) -> int:
        """Return how many planned frames have not come after the last that did; 100,000 stand for more."""
        return len(self._ahead) + sum(1 for _ in islice(self._keys or (), _MOST_AHEAD - len(self._ahead)))

    def _is_ahead(self, key: EventKey) -> bool:
        if key in self._ahead:
            return True
        for planned in islice(self._keys or (), max(_MOST_AHEAD - len(self._ahead), 0)):
            self._ahead[planned] = None
            if planned == key:
                return True
        return False

    def _missing_time_points(self, key: EventKey) -> int:
        index = dict(key)
        t = index.pop("t", None)
        if t is None:
            return 0
        plane = key_of(index)
        last, self._last_t[plane] = self._last_t.get(plane), t
        return max(t - last - 1, 0) if last is not None else 0
