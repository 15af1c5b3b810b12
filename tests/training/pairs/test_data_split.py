"""Roles: by list, by measurement day, by a seeded draw; each field of view has one."""

from collections import Counter
from typing import Any

import pytest

from dimstream_models.training.errors import InvalidPairs
from dimstream_models.training.pairs.data_split import View, give_roles
from dimstream_models.training.pairs.prepared import PrepareSettings

VIEWS = [
    View(f"day-{day}/{n}", frozenset({f"day-{day}"}), frozenset({None}))
    for day in (1, 2, 3)
    for n in range(10)
]

CASES: dict[str, tuple[dict[str, Any], dict[str, int], str]] = {
    "a tenth each where nothing is said": (
        {},
        {"training": 24, "validation": 3, "test": 3},
        "3 for validation and 3 for test of 30 fields of view, drawn with seed 0, the rest for training",
    ),
    "a day for the test, a tenth of the others": (
        {"test_days": ("day-3",)},
        {"training": 18, "validation": 2, "test": 10},
        "day-3 for test, 2 for validation of 20 fields of view, drawn with seed 0, the rest for training",
    ),
    "days for both": (
        {"test_days": ("day-3",), "validation_days": ("day-1",)},
        {"training": 10, "validation": 10, "test": 10},
        "day-1 for validation, day-3 for test, the rest for training",
    ),
    "no test": (
        {"test_share": 0.0, "validation_share": 0.5},
        {"training": 15, "validation": 15},
        "15 for validation",
    ),
    "never none of a share": (
        {"test_share": 0.001},
        {"training": 26, "validation": 3, "test": 1},
        "1 for test",
    ),
}


@pytest.mark.parametrize(("settings", "numbers", "reason"), CASES.values(), ids=CASES)
def test_every_field_of_view_has_the_role_that_is_told(
    settings: dict[str, Any], numbers: dict[str, int], reason: str
) -> None:
    roles = give_roles(VIEWS, PrepareSettings(**settings))
    assert Counter(roles.of.values()) == numbers
    assert set(roles.of) == {view.name for view in VIEWS}
    assert reason in roles.reason
    for view in VIEWS:
        if view.days <= set(settings.get("test_days", ())):
            assert roles.of[view.name] == "test"


def test_the_draw_depends_on_the_seed_and_not_on_the_order() -> None:
    drawn = give_roles(VIEWS, PrepareSettings()).of
    assert give_roles(VIEWS[::-1], PrepareSettings()).of == drawn
    assert give_roles(VIEWS, PrepareSettings(seed=1)).of != drawn


def test_roles_of_a_list_are_kept() -> None:
    views = [View(role, frozenset({"d"}), frozenset({role})) for role in ("training", "validation", "test")]
    assert give_roles(views, PrepareSettings()).of == {
        role: role for role in ("training", "validation", "test")
    }


def listed(*roles: Any) -> list[View]:
    return [View(f"v{index}", frozenset({"d"}), frozenset(those)) for index, those in enumerate(roles)]


REFUSED: dict[str, tuple[list[View], dict[str, Any], str]] = {
    "unknown day": (
        VIEWS,
        {"test_days": ("day-4",)},
        "expected measurement days of day-1, day-2, day-3, got day-4",
    ),
    "a day for both": (VIEWS, {"test_days": ("day-1",), "validation_days": ("day-1",)}, "got both for day-1"),
    "nothing to train on": (VIEWS[:2], {}, "got none for training of 2 in all"),
    "nothing to validate on": (VIEWS, {"validation_share": 0.0}, "got none for validation"),
    "one line without a role": (listed({"training"}, {"validation"}, {None}), {}, "v2, got None"),
    "two roles of one field of view": (
        listed({"training", "test"}, {"validation"}),
        {},
        "v0, got test, training",
    ),
    "a list and days": (listed({"training"}, {"validation"}), {"test_days": ("d",)}, "got both"),
    "one place on two days": (
        [*VIEWS, View("again", frozenset({"day-1", "day-3"}), frozenset({None}))],
        {"test_days": ("day-3",)},
        "again was measured on day-1, day-3",
    ),
}


@pytest.mark.parametrize(("views", "settings", "reason"), REFUSED.values(), ids=REFUSED)
def test_roles_that_leak_or_leave_nothing_are_refused(
    views: list[View], settings: dict[str, Any], reason: str
) -> None:
    with pytest.raises(InvalidPairs, match=reason):
        give_roles(views, PrepareSettings(**settings))
