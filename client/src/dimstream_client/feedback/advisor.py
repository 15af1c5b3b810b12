"""Decide which actions follow from a frame, without clock, files or devices."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Optional, get_args

from dimstream_client.errors import ArgumentError, Code
from dimstream_client.feedback.actions import Action, Change, Limits, Note
from dimstream_client.feedback.conditions import Condition
from dimstream_client.feedback.decisions import Decision, Mode, Outcome
from dimstream_client.feedback.observations import EXPOSURE, Observation, Plane
from dimstream_client.messages import PlaneIndex

__all__ = ["Advisor", "Mode", "Rule"]

MODES: Final = get_args(Mode)
_SAME: Final = 0.01  # relative: cameras round their exposures
_LATE_FRAMES: Final = 3  # frames whose events were queued before a change
_OUTCOMES: Final[Mapping[str, Outcome]] = {"advise": "advised", "rehearse": "rehearsed", "act": "due"}


_Setting = tuple[str, Optional[int]]  # what, and the channel


@dataclass(frozen=True)
class Rule:
    """An action after a condition was met for `when.frames` consecutive frames of a plane.

    Parameters
    ----------
    wait_frames : int
        Number of frames of the plane that are ignored after the rule applied.
    """

    name: str
    when: Condition
    then: Action
    wait_frames: int = 10


@dataclass
class _Watch:
    """State of one rule and plane: consecutive frames that met the condition, and frames still to ignore."""

    met: int = 0
    waiting: int = 0


@dataclass
class _Commanded:
    """A value that was set, its time, and the number of later frames without it."""

    value: float
    since: float
    unlike: int = 0


class Advisor:
    """Applies rules to the frames of consecutive runs.

    Frames that were taken before the last action are ignored, because they do not show its effect. This
    includes frames that waited for a lost server.

    Parameters
    ----------
    mode : {"advise", "rehearse", "act"}
        ``advise`` only advises. ``rehearse`` also checks the limits, and reports what ``act`` would do.
    limits : Limits, optional
        Required for ``act``. In the other modes they also apply if given.

    Raises
    ------
    ArgumentError
        For ``act`` without limits or a change without a range; for two rules with one name or an unknown
        mode.
    """

    def __init__(self, rules: Sequence[Rule], *, mode: Mode = "advise", limits: Limits | None = None) -> None:
        self.rules, self.mode, self.limits = tuple(rules), mode, limits
        _check(self.rules, mode, limits)
        self.begin_run()

    def begin_run(self) -> None:
        """Discard the frames and actions of the previous run."""
        self._watches: dict[tuple[str, Plane], _Watch] = {}
        self._commanded: dict[_Setting, _Commanded] = {}
        self._not_taken: set[_Setting] = set()
        self._actions = 0
        self._last_action = -math.inf
        self._stopped = False

    def observe(self, seen: Observation, *, now: float) -> list[Decision]:
        """Return the decisions that follow from a frame; `now` is in seconds since 1970.

        In the mode ``act``, the caller must carry out decisions that are ``due`` and then call `did`.
        """
        decisions = self._not_in_force(seen, now)
        if self._stopped or (seen.t_acq is not None and seen.t_acq <= self._last_action):
            return decisions
        for rule in self.rules:
            reason = self._reason(rule, seen)
            if reason is None:
                continue
            decision = self._decide(rule, seen, reason, now)
            decisions.append(decision)
            if decision.outcome in ("rehearsed", "due"):
                self._actions += 1
            if decision.action == "stop" and decision.outcome == "due":
                break
        return decisions

    def did(self, decision: Decision) -> None:
        """Record that a decision that was ``due`` was carried out at `decision.time`."""
        self._last_action = max(self._last_action, decision.time)
        if decision.action == "stop":
            self._stopped = True
        if decision.what is not None and decision.new is not None:
            setting = _setting(decision.what, decision.index)
            self._commanded[setting] = _Commanded(decision.new, decision.time)

    def _reason(self, rule: Rule, seen: Observation) -> str | None:
        """Return why the rule applies now; None if it does not, or not yet."""
        watch = self._watches.setdefault((rule.name, seen.plane), _Watch())
        if watch.waiting:
            watch.waiting -= 1
            return None
        if rule.when.says_nothing(seen) or not self._is_taken_with_what_is_set(rule, seen):
            return None
        found = rule.when.found(seen)
        watch.met = watch.met + 1 if found is not None else 0
        if watch.met < rule.when.frames:
            return None
        watch.met, watch.waiting = 0, rule.wait_frames
        in_a_row = f" ({rule.when.frames} frames in a row)" if rule.when.frames > 1 else ""
        return f"{found}{in_a_row}"

    def _is_taken_with_what_is_set(self, rule: Rule, seen: Observation) -> bool:
        if not isinstance(rule.then, Change):
            return True
        if (set_to := self._commanded.get(_setting(rule.then.what, seen.index))) is None:
            return True
        value = seen.settings.get(rule.then.what)
        return value is not None and _is_same(value, set_to.value)

    def _decide(self, rule: Rule, seen: Observation, reason: str, now: float) -> Decision:
        decision = Decision(
            now, self.mode, rule.name, seen.seq, seen.index, rule.then.KIND, reason, _OUTCOMES[self.mode]
        )
        if isinstance(rule.then, Note):
            return replace(decision, outcome="noted")
        if isinstance(rule.then, Change):
            decision = self._changed(decision, rule.then, seen)
        is_used_up = self.limits is not None and self._actions >= self.limits.actions
        if is_used_up and decision.outcome != "refused":
            assert self.limits is not None
            return replace(
                decision, outcome="refused", detail=f"{self.limits.actions} actions were done in this run"
            )
        return decision

    def _changed(self, decision: Decision, change: Change, seen: Observation) -> Decision:
        old = seen.settings.get(change.what)
        if _setting(change.what, seen.index) in self._not_taken:
            detail = "the device did not take an earlier change in this run"
            return replace(decision, what=change.what, outcome="refused", detail=detail)
        if old is None:
            detail = f"the present value of {change.what} is not known"
            return replace(decision, what=change.what, outcome="refused", detail=detail)
        wanted = new = change.wanted(old)
        if self.limits is not None and change.what in self.limits.ranges:
            new = self.limits.clipped(change.what, wanted)
        decision = replace(decision, what=change.what, old=old, new=new)
        if _is_same(old, new):
            return replace(decision, outcome="refused", detail=f"{change.what} is at its limit")
        return replace(decision, detail=f"{wanted:g} was wanted" if new != wanted else "")

    def _not_in_force(self, seen: Observation, now: float) -> list[Decision]:
        """Report once that frames do not have a value that was set."""
        found: list[Decision] = []
        for setting, set_to in list(self._commanded.items()):
            what, value = setting[0], seen.settings.get(setting[0])
            if (
                setting != _setting(what, seen.index)
                or value is None
                or seen.t_acq is None
                or seen.t_acq <= set_to.since
            ):
                continue
            set_to.unlike = 0 if _is_same(value, set_to.value) else set_to.unlike + 1
            if set_to.unlike > _LATE_FRAMES:
                del self._commanded[setting]
                self._not_taken.add(setting)
                reason = f"{what} was set to {set_to.value:g}, and frames taken since have {value:g}"
                found.append(
                    Decision(
                        now, self.mode, "in force", seen.seq, seen.index, "change", reason, "failed",
                        what=what, old=value, new=set_to.value, detail="the device did not take it",
                    )
                )  # fmt: skip
        return found


def _setting(what: str, index: PlaneIndex) -> _Setting:
    """Return the key of a setting: each channel has its own exposure; a property is common to all."""
    return what, index.c if what == EXPOSURE else None


def _is_same(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=_SAME, abs_tol=1e-9)


def _check(rules: Sequence[Rule], mode: str, limits: Limits | None) -> None:
    if mode not in MODES:
        raise ArgumentError(Code.BAD_FIELD, f"expected a mode of {', '.join(MODES)}, got {mode!r}")
    names = [rule.name for rule in rules]
    for name in names:
        if names.count(name) > 1:
            raise ArgumentError(Code.BAD_FIELD, f"expected rules of different names, got {name!r} twice")
    if mode != "act":
        return
    if limits is None:
        raise ArgumentError(
            Code.BAD_FIELD,
            "the mode act needs limits: the most actions of a run, and a range for each change",
        )
    for rule in rules:
        if isinstance(rule.then, Change) and rule.then.what not in limits.ranges:
            raise ArgumentError(
                Code.BAD_FIELD,
                f"rule {rule.name!r} changes {rule.then.what}: the mode act needs its least and largest "
                "value among the limits",
            )
