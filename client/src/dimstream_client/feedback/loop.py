"""Observe, decide, write down, and in the mode ``act`` do. Nothing here is raised into an acquisition."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

from dimstream_client.feedback.actions import Change
from dimstream_client.feedback.advisor import Advisor
from dimstream_client.feedback.decisions import Decision, DecisionLog
from dimstream_client.feedback.observations import EXPOSURE, Observation

_log = logging.getLogger("dimstream")


class ActionRefused(Exception):
    """A driver's reason for not doing something; nothing was touched."""


class Driver(Protocol):
    """What can act on an acquisition."""

    def check(self, decision: Decision) -> None:
        """Find out whether it could be done, and touch nothing.

        Raises
        ------
        ActionRefused
        """

    def do(self, decision: Decision) -> None:
        """Do it, without waiting for the devices.

        Raises
        ------
        ActionRefused
        """


class FeedbackLoop:
    """Applies an `Advisor` to one frame after the other; called by one thread.

    Parameters
    ----------
    driver : Driver, optional
        Needed for anything but ``advise``.
    log : DecisionLog, optional
        Gets every decision.
    on_decision : callable, optional
        Called with every decision.
    """

    def __init__(
        self,
        advisor: Advisor,
        *,
        driver: Driver | None = None,
        log: DecisionLog | None = None,
        on_decision: Callable[[Decision], object] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.advisor = advisor
        self._driver, self._decisions, self._on_decision, self._clock = driver, log, on_decision, clock

    @property
    def watched(self) -> frozenset[str]:
        """Names of the properties that rules change, so that their values are to be observed."""
        changes = [rule.then for rule in self.advisor.rules if isinstance(rule.then, Change)]
        return frozenset(change.what for change in changes) - {EXPOSURE}

    def begin_run(self) -> None:
        """Forget the run before."""
        self.advisor.begin_run()

    def observe(self, seen: Observation) -> list[Decision]:
        """Return what was decided because of a frame, and what became of it. Raises nothing."""
        decided = [self._settle(one) for one in self.advisor.observe(seen, now=self._clock())]
        for decision in decided:
            self._tell(decision)
        return decided

    def _settle(self, decision: Decision) -> Decision:
        """Do or check what was decided; say what became of it."""
        if decision.outcome not in ("due", "rehearsed"):
            return decision
        try:
            if self._driver is None:
                raise ActionRefused("expected a driver that can change the acquisition, got none")
            self._driver.check(decision)
            if decision.outcome == "rehearsed":
                return decision
            self._driver.do(decision)
        except ActionRefused as refusal:
            return replace(decision, outcome="refused", detail=str(refusal))
        except Exception as error:  # of a device: the acquisition and the other rules go on
            return replace(decision, outcome="failed", detail=repr(error))
        done = replace(decision, outcome="done", time=self._clock())
        self.advisor.did(done)
        return done

    def _tell(self, decision: Decision) -> None:
        level = logging.ERROR if decision.outcome == "failed" else logging.WARNING
        _log.log(level, "%s", decision)
        try:
            if self._decisions is not None:
                self._decisions.write(decision)
            if self._on_decision is not None:
                self._on_decision(decision)
        except Exception as error:  # a full disk, or the program's own fault
            _log.error("a decision was not told: %r", error, exc_info=error)
