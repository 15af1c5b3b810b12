"""People are told once that something is wrong, and once that it is well again."""

from collections.abc import Iterable

from dimstream_server.alerts.active import MOST, ActiveAlerts
from dimstream_server.alerts.alert import Finding, Notice


def finding(subject: str = "a", text: str = "it is wrong") -> Finding:
    return Finding(rule="suspect", subject=subject, text=text, stream=subject, client="sted", seq=7)


def alerts(*, repeat_s: float = 600, most_per_hour: int = 60) -> ActiveAlerts:
    return ActiveAlerts(repeat_s=repeat_s, most_per_hour=most_per_hour)


def told(notices: Iterable[Notice]) -> list[tuple[str, str]]:
    return [(notice.event, notice.finding.subject) for notice in notices]


def test_what_goes_on_is_told_once_and_its_end_once() -> None:
    active = alerts()
    assert told(active.update([finding()], 0)) == [("raised", "a")]
    for now in range(1, 2000):
        assert active.update([finding(text=f"for {now} s")], now) == []
    (end,) = active.update([], 2000)
    assert (end.event, end.since, end.at) == ("cleared", 0, 2000)
    assert end.text == "well again after 33 min: for 1999 s"
    assert active.update([], 2001) == []


def test_two_streams_have_an_alert_each() -> None:
    active = alerts()
    assert told(active.update([finding("a"), finding("b")], 0)) == [("raised", "a"), ("raised", "b")]
    assert told(active.update([finding("b")], 1)) == [("cleared", "a")]


def test_what_comes_and_goes_is_told_once_in_a_while() -> None:
    active = alerts(repeat_s=600)
    notices = [
        notice for now in range(1200) for notice in active.update([finding()] if now % 2 == 0 else [], now)
    ]
    assert [(notice.event, notice.at) for notice in notices] == [
        ("raised", 0), ("cleared", 1), ("raised", 600), ("cleared", 601),
    ]  # fmt: skip


def test_what_came_back_too_soon_is_told_if_it_stands_when_the_time_is_over() -> None:
    active = alerts(repeat_s=600)
    active.update([finding()], 0)
    active.update([], 10)
    notices = [notice for now in range(20, 700) for notice in active.update([finding()], now)]
    assert [(notice.event, notice.at, notice.since) for notice in notices] == [("raised", 600, 20)]


def test_the_end_of_what_was_not_sent_is_not_sent() -> None:
    active = alerts(repeat_s=600)
    active.update([finding()], 0)
    active.update([], 10)
    assert active.update([finding()], 20) == []
    assert active.update([], 30) == []


def test_notices_over_the_limit_are_counted_and_left_out() -> None:
    active = alerts(most_per_hour=3)
    many = [finding(f"s{n}") for n in range(10)]
    assert len(active.update(many, 0)) == 3
    assert active.update([], 60) == []  # seven that were not sent, three ends
    (late,) = active.update([finding("late")], 3600)
    assert late.not_sent == 7 + 3


def test_what_was_not_sent_for_the_limit_is_not_said_to_be_over() -> None:
    active = alerts(most_per_hour=1)
    assert told(active.update([finding("a"), finding("b")], 0)) == [("raised", "a")]
    active.update([finding("a")], 1800)  # b is over
    (end,) = active.update([], 3600)
    assert (end.event, end.finding.subject, end.not_sent) == ("cleared", "a", 1)


def test_what_the_limit_held_back_is_sent_once_there_is_room() -> None:
    active = alerts(most_per_hour=1)
    both = [finding("a"), finding("b")]
    notices = [notice for now in range(0, 7200, 10) for notice in active.update(both, now)]
    assert [(*one, notice.at) for one, notice in zip(told(notices), notices, strict=True)] == [
        ("raised", "a", 0), ("raised", "b", 3600),
    ]  # fmt: skip
    assert notices[1].not_sent == 0
    assert notices[1].since == 0


def test_alerts_and_what_is_remembered_of_them_are_bounded() -> None:
    active = alerts(repeat_s=10, most_per_hour=10_000)
    for hour in range(5):
        active.update([finding(f"{hour}-{n}") for n in range(2 * MOST)], 3600 * hour)
        assert len(list(active)) == MOST
        active.update([], 3600 * hour + 1)
    active.update([], 1e6)
    assert not active._sent_at
    assert not active._recent
