"""Observe frames, decide, log, and act in the mode ``act``, without errors in the acquisition."""

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
    """A driver refuses an action; nothing was changed."""


class Driver(Protocol):
    """Carries out actions on an acquisition."""

    def check(self, decision: Decision) -> None:
        """Check whether a decision could be carried out, without changes.

        Raises
        ------
        ActionRefused
        """

    def do(self, decision: Decision) -> None:
        """Carry out a decision, without waiting for the devices.

        Raises
        ------
        ActionRefused
        """


class FeedbackLoop:
    """Applies an `Advisor` to consecutive frames; called by one thread.

    Parameters
    ----------
    driver : Driver, optional
        Required for all modes except ``advise``.
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
        """Names of the properties that rules change, whose values must be observed."""
        changes = [rule.then for rule in self.advisor.rules if isinstance(rule.then, Change)]
        return frozenset(change.what for change in changes) - {EXPOSURE}

    def begin_run(self) -> None:
        """Discard the previous run."""
        self.advisor.begin_run()

    def observe(self, seen: Observation) -> list[Decision]:
        """Return the decisions that follow from a frame, with their outcomes. Never raises."""
        decided = [self._settle(one) for one in self.advisor.observe(seen, now=self._clock())]
        for decision in decided:
            self._tell(decision)
        return decided

    def _settle(self, decision: Decision) -> Decision:
        """Carry out or check a decision; return it with its outcome."""
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
        except Exception as error:  # of a device: the acquisition and the other rules continue
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
            _log.error("a decision was not logged: %r", error, exc_info=error)
