"""Turns are shared by time: checked on the scheduler alone, with times that are made up."""

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dimstream_server.engine.fair_turns import FairTurns

COST = st.floats(0.001, 1.0)


class Device:
    """A device in virtual seconds: whose turns take how long, and what was guessed of that."""

    def __init__(self, costs: dict[str, float], *, guess: float = 1.0, seed: int = 0) -> None:
        self.turns: FairTurns[str] = FairTurns()
        self.now = 0.0
        self.had: Counter[str] = Counter()
        self.costs = costs
        self._guess, self._random = guess, random.Random(seed)

    def want(self, key: str) -> None:
        error = self._guess ** self._random.uniform(-1, 1)
        self.turns.want(key, seconds=self.costs[key] * error)

    def step(self) -> str:
        key = self.turns.take()
        self.turns.used(key, self.costs[key])
        self.now += self.costs[key]
        self.had[key] += self.costs[key]
        return key

    def run(self, keys: list[str], *, until: float) -> None:
        """Let these keys want another turn whenever they have had one."""
        for key in keys:
            self.want(key)
        while self.now < until:
            key = self.step()
            if key in keys:
                self.want(key)


@pytest.mark.slow
@given(costs=st.lists(COST, min_size=2, max_size=12), guess=st.floats(1.0, 4.0), seed=st.integers(0, 99))
def test_who_always_wants_turns_gets_an_equal_share_of_time(
    costs: list[float], guess: float, seed: int
) -> None:
    device = Device({str(n): cost for n, cost in enumerate(costs)}, guess=guess, seed=seed)
    device.run(list(device.costs), until=200 * max(costs))
    shares = [device.had[key] for key in device.costs]
    assert max(shares) - min(shares) <= 2 * (1 + guess) * max(costs)


@given(heavy=st.integers(1, 100), light=st.floats(0.001, 1.0), at=st.floats(0.0, 300.0))
def test_a_small_frame_waits_for_its_share_of_time_whenever_it_comes(
    heavy: int, light: float, at: float
) -> None:
    """As if the device had always been shared by all; and for the large frame that runs when it comes."""
    device = Device({f"heavy {n}": 1.0 for n in range(heavy)} | {"light": light})
    device.run([f"heavy {n}" for n in range(heavy)], until=at)
    came = device.now
    device.want("light")
    while (key := device.step()) != "light":
        device.want(key)
    assert device.now - came <= 1.0 + (heavy + 1) * light + 1e-6


def test_a_first_round_of_large_frames_is_passed_too() -> None:
    device = Device({f"heavy {n}": 1.0 for n in range(63)} | {"light": 0.01})
    for key in device.costs:
        device.want(key)
    assert device.step() == "light"


@given(idle=st.floats(1.0, 1e6), others=st.integers(1, 8))
def test_who_was_idle_has_saved_nothing_up(idle: float, others: int) -> None:
    keys = [f"busy {n}" for n in range(others)]
    device = Device(dict.fromkeys([*keys, "idle"], 0.1))
    device.want("idle")
    device.step()
    device.run(keys, until=min(idle, 50.0))
    before, since = device.had["idle"], device.now
    device.run([*keys, "idle"], until=since + 20.0)
    share = 20.0 / (others + 1)
    assert abs(device.had["idle"] - before - share) <= 0.5


@given(light=COST, seed=st.integers(0, 99))
def test_ever_new_small_streams_do_not_starve_a_large_frame(light: float, seed: int) -> None:
    """Each has a turn or two and is gone; two of them want one at any time."""
    device = Device({"heavy": 10.0})
    device.want("heavy")
    fresh = 0
    for _ in range(2):
        device.costs[f"new {fresh}"] = light
        device.want(f"new {fresh}")
        fresh += 1
    while (key := device.step()) != "heavy":
        device.turns.forget(key)
        device.costs[f"new {fresh}"] = light
        device.want(f"new {fresh}")
        fresh += 1
        assert device.now <= 3 * 10.0 + 4 * light


@given(guess=st.floats(1.0, 100.0), seed=st.integers(0, 99))
def test_a_guess_that_is_wrong_is_paid_back(guess: float, seed: int) -> None:
    """Who seems cheap and is not gets the time of others once, not always."""
    device = Device({"honest": 0.1, "dear": 1.0}, seed=seed)
    turns = 0
    device.want("honest")
    device.turns.want("dear", seconds=1e-6)
    while device.now < 100.0:
        key = device.step()
        turns += 1
        if key == "dear":
            device.turns.want("dear", seconds=1.0 / guess)
        else:
            device.want("honest")
    assert device.had["dear"] - device.had["honest"] <= 3.0


def test_a_key_waits_once() -> None:
    turns: FairTurns[str] = FairTurns()
    turns.want("a", seconds=1.0)
    turns.want("a", seconds=1.0)
    assert (len(turns), "a" in turns, turns.take(), len(turns)) == (1, True, "a", 0)
    turns.used("a", 1.0)
    turns.want("a", seconds=1.0)
    turns.forget("a")
    assert len(turns) == 0
    with pytest.raises(ValueError, match="empty"):
        turns.take()
