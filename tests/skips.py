"""Which tests may be skipped in CI, and how many: what is missing there by accident must not go unnoticed."""

import os
from collections import Counter
from collections.abc import Iterable

import pytest

# Reason, as the test gives it, and the most tests that may be skipped for it.
ALLOWED = {
    "no CUDA device": 40,
    "no bfloat16, not even emulated": 12,
    "takes minutes and 10 GB: DIMSTREAM_IMAGES=all builds it": 1,
}


class SkipLimit:
    """Fails a run in CI that skips tests for any other reason, or more of them."""

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        reporter = session.config.pluginmanager.get_plugin("terminalreporter")
        if reporter is None or hasattr(session.config, "workerinput") or not os.environ.get("CI"):
            return
        excess = excess_of(_reason(report) for report in reporter.stats.get("skipped", []))
        if excess and session.exitstatus == pytest.ExitCode.OK:
            reporter.write_line("Skipped in CI, where nothing may be missing:", red=True)
            for line in excess:
                reporter.write_line(f"  {line}", red=True)
            session.exitstatus = pytest.ExitCode.TESTS_FAILED


def excess_of(reasons: Iterable[str]) -> list[str]:
    """The reasons for which too many tests were skipped, a line each."""
    return [
        f"{n} tests, at most {ALLOWED.get(reason, 0)} allowed: {reason}"
        for reason, n in Counter(reasons).items()
        if n > ALLOWED.get(reason, 0)
    ]


def _reason(report: pytest.TestReport) -> str:
    text = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return text.removeprefix("Skipped: ")
