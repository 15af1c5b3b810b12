"""Decides what is to be done about a frame. It reads no clock, writes nothing and touches no device."""

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
_LATE_FRAMES: Final = 3  # frames whose events had been handed out before a change
_OUTCOMES: Final[Mapping[str, Outcome]] = {"advise": "advised", "rehearse": "rehearsed", "act": "due"}


_Setting = tuple[str, Optional[int]]  # what, and the channel


@dataclass(frozen=True)
class Rule:
    """When something is found for `when.frames` frames of a plane in a row, do something.

    Parameters
    ----------
    wait_frames : int
        So many frames of the plane are not looked at after the rule has spoken.
    """

    name: str
    when: Condition
    then: Action
    wait_frames: int = 10


@dataclass
class _Watch:
    """One rule and one plane: frames in a row that meet the condition, and frames still to be passed over."""

    met: int = 0
    waiting: int = 0


@dataclass
class _Commanded:
    """A value that was set, since when, and frames that were taken since then and do not have it."""

    value: float
    since: float
    unlike: int = 0


class Advisor:
    """Applies rules to the frames of one run after the other.

    Frames that were taken before the last action, such as those that waited while the server was away, count
    for no rule: they say nothing of what was done about them.

    Parameters
    ----------
    mode : {"advise", "rehearse", "act"}
        ``advise`` says what a person might do. ``rehearse`` checks and says what ``act`` would have done.
    limits : Limits, optional
        Needed for ``act``. In the other modes changes are held within them where they are given.

    Raises
    ------
    ArgumentError
        ``act`` without limits, or a change without a range; two rules of one name; no such mode.
    """

    def __init__(self, rules: Sequence[Rule], *, mode: Mode = "advise", limits: Limits | None = None) -> None:
        self.rules, self.mode, self.limits = tuple(rules), mode, limits
        _check(self.rules, mode, limits)
        self.begin_run()

    def begin_run(self) -> None:
        """Forget the frames and actions of the run before."""
        self._watches: dict[tuple[str, Plane], _Watch] = {}
        self._commanded: dict[_Setting, _Commanded] = {}
        self._not_taken: set[_Setting] = set()
        self._actions = 0
        self._last_action = -math.inf
        self._stopped = False

    def observe(self, seen: Observation, *, now: float) -> list[Decision]:
        """Return what is decided because of a frame; `now` is in seconds since 1970.

        In the mode ``act`` what is ``due`` is to be done, and `did` to be told.
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
        """Take note that something which was ``due`` has been done at `decision.time`."""
        self._last_action = max(self._last_action, decision.time)
        if decision.action == "stop":
            self._stopped = True
        if decision.what is not None and decision.new is not None:
            setting = _setting(decision.what, decision.index)
            self._commanded[setting] = _Commanded(decision.new, decision.time)

    def _reason(self, rule: Rule, seen: Observation) -> str | None:
        """Why the rule applies now; None when it does not, or does not yet."""
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
        """Say once of a value that was set and that frames do not have."""
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
    """Each channel has an exposure of its own; a property is the same for all."""
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
