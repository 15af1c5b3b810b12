"""Which alerts stand, and what is told of them: each once when it begins and once when it is over."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Final

from dimstream_server.alerts.alert import Finding, Notice

HOUR_S: Final = 3600.0
MOST: Final = 256
"""Alerts that stand at once; further ones wait until one is over."""
Key = tuple[str, str]
"""Rule and subject."""


@dataclass(slots=True)
class ActiveAlert:
    """An alert that stands.

    Parameters
    ----------
    since : float
        When it began, seconds since 1970.
    is_told : bool
        Whether people were told.
    """

    finding: Finding
    since: float
    is_told: bool = False


class ActiveAlerts:
    """The alerts that stand; it is given all that is wrong, again and again.

    Parameters
    ----------
    repeat_s : float
        An alert that comes back sooner after people were told of it is told only if it still stands then.
    most_per_hour : int
        Notices within an hour; those over it are counted and left out.
    """

    def __init__(self, *, repeat_s: float, most_per_hour: int) -> None:
        self._repeat_s = repeat_s
        self._most_per_hour = most_per_hour
        self._active: dict[Key, ActiveAlert] = {}
        self._told_at: dict[Key, float] = {}
        self._recent: deque[float] = deque()
        self._not_told = 0

    def __iter__(self) -> Iterator[ActiveAlert]:
        return iter(self._active.values())

    def update(self, findings: Iterable[Finding], now: float) -> list[Notice]:
        """Take what is wrong now, and return what people have to be told of the change.

        Parameters
        ----------
        now : float
            Seconds since 1970.
        """
        found = {(one.rule, one.subject): one for one in findings}
        notices = [self._end(key, now) for key in list(self._active) if key not in found]
        notices += [self._go_on(key, finding, now) for key, finding in found.items()]
        self._forget(now)
        return [notice for notice in map(self._within_limit, notices) if notice is not None]

    def _end(self, key: Key, now: float) -> Notice | None:
        """Take out an alert that is over; who was not told of it is not told that it is over."""
        one = self._active.pop(key)
        return Notice(event="cleared", finding=one.finding, at=now, since=one.since) if one.is_told else None

    def _go_on(self, key: Key, finding: Finding, now: float) -> Notice | None:
        one = self._active.get(key)
        if one is None:
            if len(self._active) >= MOST:
                return None
            one = self._active[key] = ActiveAlert(finding, now)
        one.finding = finding
        if one.is_told or now - self._told_at.get(key, -self._repeat_s) < self._repeat_s:
            return None
        one.is_told = True
        self._told_at[key] = now
        return Notice(event="raised", finding=finding, at=now, since=one.since)

    def _within_limit(self, notice: Notice | None) -> Notice | None:
        if notice is None:
            return None
        if len(self._recent) >= self._most_per_hour:
            self._not_told += 1
            return None
        self._recent.append(notice.at)
        notice, self._not_told = replace(notice, not_told=self._not_told), 0
        return notice

    def _forget(self, now: float) -> None:
        while self._recent and now - self._recent[0] >= HOUR_S:
            self._recent.popleft()
        for key, at in list(self._told_at.items()):
            if key not in self._active and now - at >= self._repeat_s:
                del self._told_at[key]
