"""Which alerts are active, and the notices of them: one when it begins and one when it is over."""

from __future__ import annotations

from collections import deque
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Final

from dimstream_server.alerts.alert import Finding, Notice

HOUR_S: Final = 3600.0
MOST: Final = 256
"""Alerts that are active at once; further ones wait until one is over."""
Key = tuple[str, str]
"""Rule and subject."""


@dataclass(slots=True)
class ActiveAlert:
    """An alert that is active.

    Parameters
    ----------
    since : float
        When it began, seconds since 1970.
    is_sent : bool
        Whether a notice of it was sent.
    is_held_back : bool
        Whether there were too many notices to send one of it.
    """

    finding: Finding
    since: float
    is_sent: bool = False
    is_held_back: bool = False


class ActiveAlerts:
    """The alerts that are active; it is given all that is wrong, again and again.

    Parameters
    ----------
    repeat_s : float
        An alert that comes back sooner after it was sent is sent only if it is still active then.
    most_per_hour : int
        Notices within an hour. An alert over it is sent once there is room, if it is still active then; what
        is never sent is counted.
    """

    def __init__(self, *, repeat_s: float, most_per_hour: int) -> None:
        self._repeat_s = repeat_s
        self._most_per_hour = most_per_hour
        self._active: dict[Key, ActiveAlert] = {}
        self._sent_at: dict[Key, float] = {}
        self._recent: deque[float] = deque()
        self._left_out = 0

    def __iter__(self) -> Iterator[ActiveAlert]:
        return iter(self._active.values())

    def update(self, findings: Iterable[Finding], now: float, *, ended: Container[str] = ()) -> list[Notice]:
        """Take what is wrong now, and return the notices to send of what has changed.

        Parameters
        ----------
        now : float
            Seconds since 1970.
        ended : container of str
            Ids of the streams that have ended since the last time.
        """
        self._forget(now)
        found = {(one.rule, one.subject): one for one in findings}
        notices = [self._end(key, now, ended) for key in list(self._active) if key not in found]
        notices += [self._go_on(key, finding, now) for key, finding in found.items()]
        return [notice for notice in notices if notice is not None]

    def _end(self, key: Key, now: float, ended: Container[str]) -> Notice | None:
        """Take out an alert that is over; of one that was not sent the end is not sent either."""
        one = self._active.pop(key)
        if not one.is_sent:
            self._left_out += one.is_held_back
            return None
        over = Notice(
            event="cleared",
            finding=one.finding,
            at=now,
            since=one.since,
            stream_has_ended=one.finding.stream in ended,
        )
        notice = self._within_limit(over)
        self._left_out += notice is None
        return notice

    def _go_on(self, key: Key, finding: Finding, now: float) -> Notice | None:
        one = self._active.get(key)
        if one is None:
            if len(self._active) >= MOST:
                return None
            one = self._active[key] = ActiveAlert(finding, now)
        one.finding = finding
        if one.is_sent or now - self._sent_at.get(key, -self._repeat_s) < self._repeat_s:
            return None
        notice = self._within_limit(Notice(event="raised", finding=finding, at=now, since=one.since))
        one.is_sent, one.is_held_back = notice is not None, notice is None
        if one.is_sent:
            self._sent_at[key] = now
        return notice

    def _within_limit(self, notice: Notice) -> Notice | None:
        """Return the notice with what was left out before it; None when there are too many."""
        if len(self._recent) >= self._most_per_hour:
            return None
        self._recent.append(notice.at)
        notice, self._left_out = replace(notice, not_sent=self._left_out), 0
        return notice

    def _forget(self, now: float) -> None:
        while self._recent and now - self._recent[0] >= HOUR_S:
            self._recent.popleft()
        for key, at in list(self._sent_at.items()):
            if key not in self._active and now - at >= self._repeat_s:
                del self._sent_at[key]
