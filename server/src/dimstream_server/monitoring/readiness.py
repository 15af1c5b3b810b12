"""Whether work should be sent to this server: named checks, and why one of them fails.

The event loop calls the checks, so they must be fast and must not block.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Final

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

OK: Final = "ok"
Check = Callable[[], str | None]
_log = logging.getLogger(__name__)


class Readiness(Collector):
    """Named checks; the server is ready when no required check fails."""

    def __init__(self) -> None:
        self._checks: dict[str, Check] = {}
        self._optional: set[str] = set()
        self._last: dict[str, str] = {}

    def add(self, name: str, check: Check, *, required: bool = True) -> None:
        """Add a check. It returns None if all is well, otherwise a short reason for the operator.

        Parameters
        ----------
        required : bool
            Whether no work should be sent here while the check fails.

        Raises
        ------
        ValueError
            When there is already a check with this name.
        """
        if name in self._checks:
            raise ValueError(f"expected a new name for a check, got {name!r}, which already exists")
        self._checks[name] = check
        if not required:
            self._optional.add(name)

    def report(self) -> dict[str, str]:
        """Return each check's name, with `ok` or the reason; changes since the last call are logged."""
        report = {name: _ask(name, check) for name, check in self._checks.items()}
        for name, message in report.items():
            if (message == OK) != (self._last.get(name, OK) == OK):
                _log_failure(name, message)
        self._last = report
        return report

    def is_ready(self, report: dict[str, str]) -> bool:
        """Whether every required check of a report succeeds."""
        return all(message == OK for name, message in report.items() if name not in self._optional)

    def collect(self) -> Iterator[Metric]:
        """`dimstream_ready`, and `dimstream_check_ok` for each check, as Prometheus reads them."""
        report = self.report()
        yield GaugeMetricFamily("dimstream_ready", "1 while /readyz reports ready.", self.is_ready(report))
        checks = GaugeMetricFamily(
            "dimstream_check_ok", "1 while a check of /readyz succeeds.", labels=["check"]
        )
        for name, message in report.items():
            checks.add_metric([name], message == OK)
        yield checks

    def describe(self) -> list[Metric]:
        """Return nothing: the checks are not called before the server is running."""
        return []


def _ask(name: str, check: Check) -> str:
    try:
        return check() or OK
    except Exception as error:  # a check that raises has failed, too
        _log.exception("a check failed event=internal_error check=%s", name)
        return f"the check itself failed ({type(error).__name__}); see the server's log"


def _log_failure(name: str, message: str) -> None:
    if message == OK:
        _log.info("a check succeeds again event=check_well check=%s", name)
    else:
        _log.warning("a check fails event=check_failed check=%s reason=%s", name, message)
