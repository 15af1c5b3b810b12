"""How sure a figure is that was measured on a few movies.

Frames of one movie resemble each other, so movies are what is drawn again: each figure has the interval of a
cluster bootstrap over movies. That interval is blind where nothing varies (no false alarm in any movie says
little after ten movies), so next to it stands the one that holds if each movie is one observation; and,
as a second kind of uncertainty that no number of movies removes, how far both simulated worlds are
apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats

Floats = NDArray[np.float64]

LEVEL: Final = 0.95
RESAMPLES: Final = 1000
STREAM: Final = 20_272
"""Sets the bootstrap's random numbers apart from those of the movies."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A figure and how sure it is; all None where there was nothing to measure it on.

    Parameters
    ----------
    low, high : float or None
        95 % interval of the bootstrap over movies.
    movies : int
        On which it was measured.
    single_low, single_high : float or None
        95 % interval as if each movie were one observation: the wider, the fewer there are.
    by_physics : mapping
        The figure in each simulated world.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    movies: int = 0
    single_low: float | None = None
    single_high: float | None = None
    by_physics: Mapping[str, float | None] = field(default_factory=dict)

    @property
    def physics_spread(self) -> float | None:
        """How far the worlds are apart; None with fewer than two."""
        known = [value for value in self.by_physics.values() if value is not None]
        return max(known) - min(known) if len(known) > 1 else None

    @property
    def lowest(self) -> float | None:
        """The lower of both intervals' ends."""
        return min((end for end in (self.low, self.single_low) if end is not None), default=None)

    @property
    def highest(self) -> float | None:
        """The higher of both intervals' ends."""
        return max((end for end in (self.high, self.single_high) if end is not None), default=None)

    def as_dict(self) -> dict[str, object]:
        """Return it as plain values."""
        return {
            "value": self.value,
            "bootstrap_95": [self.low, self.high],
            "movies": self.movies,
            "movies_as_units_95": [self.single_low, self.single_high],
            "by_physics": dict(self.by_physics),
            "physics_spread": self.physics_spread,
        }


@dataclass(frozen=True)
class Tally:
    """What one movie adds to a share: `part` of `whole`."""

    physics: str
    part: float
    whole: float


@dataclass(frozen=True, eq=False)
class Scored:
    """A score of some frames of one movie."""

    physics: str
    scores: Floats


def share(tallies: Sequence[Tally], *, seed: int) -> Estimate:
    """Return the share of all parts in all wholes, with the intervals over the movies that they belong to."""
    tallies = [tally for tally in tallies if tally.whole > 0]
    if not tallies:
        return Estimate(value=None)
    parts, wholes = (np.array([getattr(tally, name) for tally in tallies]) for name in ("part", "whole"))
    drawn = redrawn(len(tallies), seed=seed)
    value = float(parts.sum() / wholes.sum())
    low, high = _quantiles((drawn @ parts) / np.maximum(drawn @ wholes, 1e-300))
    single_low, single_high = clopper_pearson(value * len(tallies), len(tallies))
    worlds = {tally.physics for tally in tallies}
    return Estimate(
        value=value,
        low=low,
        high=high,
        movies=len(tallies),
        single_low=single_low,
        single_high=single_high,
        by_physics={
            name: _share([each for each in tallies if each.physics == name]) for name in sorted(worlds)
        },
    )


def area(positive: Sequence[Scored], negative: Sequence[Scored], *, seed: int) -> Estimate:
    """Return the area under the curve (ROC): the chance that a frame of `positive` scores higher than one of
    `negative`, ties counting half.

    Movies of both kinds are drawn again, each kind for itself.
    """
    positive, negative = ([each for each in kind if len(each.scores)] for kind in (positive, negative))
    if not positive or not negative:
        return Estimate(value=None)
    won = concordance(positive, negative)
    sizes = [np.array([len(each.scores) for each in kind], float) for kind in (positive, negative)]
    first, second = (redrawn(len(kind), seed=seed + place) for place, kind in enumerate((positive, negative)))
    pairs = (first @ sizes[0]) * (second @ sizes[1])
    areas = np.einsum("bi,ij,bj->b", first, won, second, optimize=True) / pairs
    value = float(won.sum() / (sizes[0].sum() * sizes[1].sum()))
    low, high = _quantiles(areas)
    single_low, single_high = newcombe(value, len(positive), len(negative))
    return Estimate(
        value=value,
        low=low,
        high=high,
        movies=len(positive) + len(negative),
        single_low=single_low,
        single_high=single_high,
        by_physics=_areas(won, positive, negative),
    )


def concordance(positive: Sequence[Scored], negative: Sequence[Scored]) -> Floats:
    """Return in how many pairs of frames the first of two movies scores higher, (P, N); ties are half.

    Rows are the positive movies, columns the negative ones.
    """
    values = np.concatenate([each.scores for each in positive])
    starts = np.cumsum([0, *(len(each.scores) for each in positive)])[:-1]
    columns = []
    for each in negative:
        order = np.sort(each.scores)
        ranks = (np.searchsorted(order, values, "left") + np.searchsorted(order, values, "right")) / 2
        columns.append(np.add.reduceat(ranks, starts))
    return np.stack(columns, axis=1)


def redrawn(movies: int, *, seed: int) -> Floats:
    """Return how often each of N movies is drawn in each resample, (RESAMPLES, N)."""
    rng = np.random.default_rng((seed, STREAM, movies))
    return rng.multinomial(movies, np.full(movies, 1 / movies), RESAMPLES).astype(np.float64)


def clopper_pearson(part: float, whole: float) -> tuple[float, float]:
    """Return the exact 95 % interval of a share `part / whole`; `part` need not be whole
    (Clopper & Pearson 1934, doi 10.1093/biomet/26.4.404)."""
    tail = (1 - LEVEL) / 2
    low = float(stats.beta.ppf(tail, part, whole - part + 1)) if part > 0 else 0.0
    high = float(stats.beta.ppf(1 - tail, part + 1, whole - part)) if part < whole else 1.0
    return low, high


def newcombe(area_found: float, positive: int, negative: int) -> tuple[float, float]:
    """Return the 95 % interval of an area under the curve from so many independent observations.

    Method 5 of Newcombe 2006, doi 10.1002/sim.2324: it stays honest where all are told apart.
    """
    z = float(stats.norm.ppf((1 + LEVEL) / 2))
    middle = (positive + negative) / 2 - 1

    def off(true: float) -> float:
        inside = 1 + middle * (1 - true) / (2 - true) + middle * true / (1 + true)
        return abs(area_found - true) - z * float(np.sqrt(true * (1 - true) * inside / (positive * negative)))

    tiny = 1e-9
    below, above = area_found - tiny, area_found + tiny
    low = optimize.brentq(off, tiny, below) if below > tiny and off(tiny) > 0 else 0.0
    high = optimize.brentq(off, above, 1 - tiny) if above < 1 - tiny and off(1 - tiny) > 0 else 1.0
    return float(low), float(high)


def _share(tallies: Sequence[Tally]) -> float:
    return sum(tally.part for tally in tallies) / sum(tally.whole for tally in tallies)


def _areas(won: Floats, positive: Sequence[Scored], negative: Sequence[Scored]) -> dict[str, float | None]:
    found: dict[str, float | None] = {}
    for name in sorted({each.physics for each in (*positive, *negative)}):
        rows, columns = ([each.physics == name for each in kind] for kind in (positive, negative))
        pairs = sum(len(each.scores) for each in positive if each.physics == name) * sum(
            len(each.scores) for each in negative if each.physics == name
        )
        found[name] = float(won[np.ix_(rows, columns)].sum() / pairs) if pairs else None
    return found


def _quantiles(values: Floats) -> tuple[float, float]:
    low, high = np.quantile(values, ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
    return float(low), float(high)
