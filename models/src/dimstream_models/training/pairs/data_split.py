"""The role of each field of view: training, validation (for choices), or test (unused until the end)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from dimstream_models.training.errors import InvalidPairs
from dimstream_models.training.pairs.prepared import PrepareSettings, Role

DEFAULT_SHARE = 0.1  # share for validation and for test if no day is named (the paper validates on 10 %)


@dataclass(frozen=True)
class View:
    """A field of view: images that must have the same role."""

    name: str
    days: frozenset[str]  # more than one if the same place was measured again
    listed: frozenset[Role | None]  # roles of its images in a list


@dataclass(frozen=True)
class Roles:
    """The role of each field of view, by name, and the reason."""

    of: Mapping[str, Role]
    reason: str  # one sentence


def give_roles(views: Sequence[View], settings: PrepareSettings) -> Roles:
    """Return the roles: from the list, or by measurement day, and drawn at random for days that are not
    named.

    Raises
    ------
    InvalidPairs
        When a day is unknown, a field of view would have two roles, or training or validation has none.
    """
    listed = {role for view in views for role in view.listed}
    roles = _from_list(views, settings) if listed != {None} else _by_day_and_share(views, settings)
    missing = {"training", "validation"} - set(roles.of.values())
    if missing:
        raise InvalidPairs(
            f"expected at least one field of view to train on and one to validate on, got none for"
            f" {' and '.join(sorted(missing))} of {len(views)} in all ({roles.reason}): give more fields of "
            "view, or choose other days or shares, such as --test-share 0. If different fields were counted "
            "as one, or one movie must be used for both, give --fields-of-view planes: then each image is "
            "its own field of view"
        )
    return roles


def _from_list(views: Sequence[View], settings: PrepareSettings) -> Roles:
    stated = (settings.validation_days, settings.test_days, settings.validation_share, settings.test_share)
    if any(value not in ((), None) for value in stated):
        raise InvalidPairs("expected roles from the list or from days and shares, got both: leave one out")
    of: dict[str, Role] = {}
    for view in views:
        (role, *others) = view.listed
        if others or role is None:
            raise InvalidPairs(
                f"expected one role for all images of {view.name}, got {_joined(view.listed)}: give every"
                " line of the list a role, and the same where images show the same field of view"
            )
        of[view.name] = role
    return Roles(of, "roles as listed")


def _by_day_and_share(views: Sequence[View], settings: PrepareSettings) -> Roles:
    by_day = _roles_of_days(views, settings)
    of: dict[str, Role] = {}
    others = []
    for view in sorted(views, key=lambda view: view.name):
        (role, *more) = {by_day.get(day) for day in view.days}
        if more:
            raise InvalidPairs(
                f"{view.name} was measured on {_joined(view.days)}, and these days have different roles:"
                " leave one of its images out, or give both days the same role"
            )
        if role is None:
            others.append(view.name)
        else:
            of[view.name] = role
    drawn = [others[index] for index in np.random.default_rng(settings.seed).permutation(len(others))]
    test = _number(_share(settings.test_share, settings.test_days), len(drawn))
    validation = _number(_share(settings.validation_share, settings.validation_days), len(drawn))
    validation = min(validation, len(drawn) - test)
    of |= dict.fromkeys(drawn[:test], "test") | dict.fromkeys(drawn[test : test + validation], "validation")
    of |= dict.fromkeys(drawn[test + validation :], "training")
    return Roles(of, _reason(by_day, settings.seed, test=test, validation=validation, number=len(drawn)))


def _roles_of_days(views: Sequence[View], settings: PrepareSettings) -> dict[str, Role]:
    days = {day for view in views for day in view.days}
    named = {*settings.validation_days, *settings.test_days}
    if named - days:
        raise InvalidPairs(f"expected measurement days of {_joined(days)}, got {_joined(named - days)}")
    both = set(settings.validation_days) & set(settings.test_days)
    if both:
        raise InvalidPairs(f"expected days to validate on or to test on, got both for {_joined(both)}")
    roles: dict[str, Role] = {}
    roles |= dict.fromkeys(settings.validation_days, "validation")
    return roles | dict.fromkeys(settings.test_days, "test")


def _share(stated: float | None, days: Sequence[str]) -> float:
    if stated is not None:
        return stated
    return 0.0 if days else DEFAULT_SHARE


def _number(share: float, fields: int) -> int:
    return max(1, round(share * fields)) if share and fields else 0


def _reason(by_day: Mapping[str, Role], seed: int, *, test: int, validation: int, number: int) -> str:
    message = [f"{day} for {role}" for day, role in by_day.items()]
    drawn = [f"{count} for {role}" for role, count in (("validation", validation), ("test", test)) if count]
    if drawn:
        message.append(f"{' and '.join(drawn)} of {number} fields of view, drawn with seed {seed}")
    return ", ".join([*message, "the rest for training"])


def _joined(names: Iterable[object]) -> str:
    return ", ".join(sorted(map(str, names)))
