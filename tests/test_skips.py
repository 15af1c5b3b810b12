"""A run in CI that skips what it should not is red."""

import pytest

pytest_plugins = ["pytester"]

SKIPPING = """
import pytest

@pytest.mark.skip(reason={reason!r})
def test_it():
    pass

def test_another():
    pass
"""


@pytest.mark.parametrize(
    ("reason", "in_ci", "passes"),
    [
        ("no CUDA device", True, True),
        ("promtool is not here", True, False),
        ("promtool is not here", False, True),
    ],
)
def test_a_skip_that_is_not_allowed_fails_the_run_in_ci(pytester, monkeypatch, reason, in_ci, passes):
    monkeypatch.setenv("CI", "true" if in_ci else "")
    pytester.makeconftest(
        "from skips import SkipLimit\n\ndef pytest_configure(config):\n"
        "    config.pluginmanager.register(SkipLimit())\n"
    )
    pytester.makepyfile(SKIPPING.format(reason=reason))
    result = pytester.runpytest_inprocess("-p", "no:cacheprovider")
    result.assert_outcomes(passed=1, skipped=1)
    assert (result.ret == 0) is passes
