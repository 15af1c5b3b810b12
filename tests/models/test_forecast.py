"""How long a plane will last: on declines by formula, with the noise that structure scores have."""

import json
import math
from collections.abc import Iterator

import numpy as np
import pytest

from dimstream_models.judging import Decline, FramesLeft

THRESHOLD = 5.0


def declining(
    half_life: float, *, start: float = 60.0, seed: int = 0, background: float = 0.0
) -> Iterator[tuple[float, float]]:
    """Structure score with a standard error of 1, and light, of an even decline."""
    rng = np.random.default_rng(seed)
    frame = 0
    while True:
        share = 0.5 ** (frame / half_life)
        yield start * share + rng.normal(), background + share * (1 + 0.002 * rng.normal())
        frame += 1


def foreseen(half_life: float, **how: float) -> tuple[int, list[FramesLeft | None]]:
    """First frame below the threshold, and what was foreseen before it."""
    decline, found = Decline(), []
    for frame, (score, light) in enumerate(declining(half_life, **how)):  # type: ignore[arg-type]
        if score < THRESHOLD:
            return frame, found
        decline.follow(score, light)
        found.append(decline.frames_left(THRESHOLD))
    raise AssertionError("it declines for ever")


@pytest.mark.parametrize("half_life", [6, 30, 200, 1500])
def test_an_even_decline_is_foreseen_whatever_its_pace(half_life: float) -> None:
    errors, inside = [], []
    for seed in range(12 if half_life < 1000 else 3):
        end, found = foreseen(half_life, seed=seed)
        told = [(frame, left) for frame, left in enumerate(found) if left is not None]
        assert len(told) > 0.4 * end
        errors += [abs(math.log(left.frames / (end - frame))) for frame, left in told if end - frame > 5]
        inside += [left.earliest <= end - frame <= left.latest for frame, left in told]
    assert np.median(errors) < 0.25
    assert np.mean(inside) > 0.7


def test_a_bright_background_that_stays_changes_little() -> None:
    end, found = foreseen(40, background=5.0)
    (left,) = [found[end // 2]]
    assert left is not None
    assert 0.6 < left.frames / (end - end // 2) < 1.7


@pytest.mark.parametrize("start", [8.0, 30.0, 200.0])
def test_of_what_stays_nothing_is_foreseen(start: float) -> None:
    for seed in range(20):
        rng, decline = np.random.default_rng(seed), Decline()
        for _ in range(300):
            decline.follow(start * (1 + 0.03 * rng.normal()) + rng.normal(), 1 + 0.002 * rng.normal())
            assert decline.frames_left(THRESHOLD) is None


def test_nothing_is_foreseen_while_the_light_does_not_fall() -> None:
    decline = Decline()
    for (score, _), light in zip(declining(10), np.linspace(1, 1.2, 25), strict=False):
        decline.follow(score, float(light))
        assert decline.frames_left(THRESHOLD) is None


def test_one_blank_frame_is_passed_over_and_another_field_is_a_new_beginning() -> None:
    clean, spoiled = Decline(), Decline()
    movie = declining(30)
    for frame in range(40):
        score, light = next(movie)
        clean.follow(score, light)
        spoiled.follow(*((0.0, 0.0) if frame == 25 else (score, light)))
    one, other = clean.frames_left(THRESHOLD), spoiled.frames_left(THRESHOLD)
    assert one is not None
    assert other is not None
    assert other.frames == pytest.approx(one.frames, rel=0.15)
    for score, light in ((400.0 + n, 3.0) for n in range(5)):
        clean.follow(score, light)
    assert clean.frames_left(THRESHOLD) is None
    assert clean.frames <= 3


def test_missing_frames_are_counted() -> None:
    whole, thinned = Decline(), Decline()
    for frame, (score, light) in zip(range(60), declining(40), strict=False):
        whole.follow(score, light)
        if frame % 3 == 0:
            thinned.follow(score, light, steps=1 if frame == 0 else 3)
    one, other = whole.frames_left(THRESHOLD), thinned.frames_left(THRESHOLD)
    assert one is not None
    assert other is not None
    assert other.frames - 2 == pytest.approx(one.frames, rel=0.3)  # its last frame is two frames older


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_figures_that_are_no_numbers_are_passed_over(value: float) -> None:
    decline = Decline()
    for score, light in zip(*[iter([50.0, 1.0] * 20)] * 2, strict=True):
        decline.follow(score, light)
    before = decline.state()
    decline.follow(value, 1.0)
    decline.follow(50.0, value)
    assert decline.state() == before


@pytest.mark.parametrize("values", [(0.0, 0.0), (-3.0, 1.0), (1e30, 1e30), (5.0, -1.0)])
def test_odd_values_raise_nothing(values: tuple[float, float]) -> None:
    decline = Decline()
    for _ in range(30):
        decline.follow(*values)
        decline.frames_left(THRESHOLD)
        decline.frames_left(-1.0)
        decline.frames_left(1e6)


def test_one_made_of_its_state_goes_on_as_it_would() -> None:
    movie = declining(25)
    first = Decline()
    for _ in range(30):
        first.follow(*next(movie))
    second = Decline.of_state(json.loads(json.dumps(first.state())))
    for _ in range(10):
        values = next(movie)
        first.follow(*values)
        second.follow(*values)
        assert first.frames_left(THRESHOLD) == second.frames_left(THRESHOLD)
    assert len(json.dumps(first.state())) < 600


def test_what_is_kept_does_not_grow() -> None:
    decline, movie = Decline(), declining(3000)
    for _ in range(50):
        decline.follow(*next(movie))
    early = len(json.dumps(decline.state()))
    for _ in range(4000):
        decline.follow(*next(movie))
    assert len(json.dumps(decline.state())) < early + 60
