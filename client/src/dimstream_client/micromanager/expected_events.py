"""Expected frames of a run, by which missing ones are found from their event's index."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, Final

EventKey = tuple[tuple[str, int], ...]

_MOST_AHEAD: Final = 100_000


def key_of(index: Mapping[str, int]) -> EventKey:
    """Return an event's index as a key that can be compared."""
    return tuple(sorted((str(axis), int(place)) for axis, place in index.items()))


def planned_keys(events: Iterable[Any], *, cameras: int = 1) -> Iterator[EventKey]:
    """Yield the keys of the frames of events, in order; events such as autofocus give none."""
    for event in events:
        action = getattr(event, "action", None)
        if action is not None and getattr(action, "type", "acquire_image") != "acquire_image":
            continue
        for camera in range(cameras):
            yield key_of({**event.index, "cam": camera} if cameras > 1 else event.index)


class ExpectedEvents:
    """Compares received frames with the planned ones.

    Without a plan (events are made during the run), a gap is found where the time points of a plane are not
    consecutive.

    Parameters
    ----------
    keys : iterable of EventKey, optional
        Keys of the planned frames; iterated lazily.

    Attributes
    ----------
    unexpected : int
        Number of frames that are not in the plan.
    late : int
        Number of frames that came after later ones of the plan.
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
        """Record a frame; return the number of frames missing before it."""
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
        """Return the number of planned frames missing after the last received one, at most 100,000."""
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
