"""Uncertainty of figures that were measured on a few movies.

Frames of one movie are correlated, so movies are resampled: each figure has the interval of a cluster
bootstrap over movies. That interval is too narrow where nothing varies: no false alarm in any of ten movies
proves little. So a second interval is given, in which each movie counts as one observation. The difference
between both simulators is a further uncertainty, which more movies do not reduce.
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
"""Makes the bootstrap's random numbers independent of those of the movies."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A figure and its uncertainty; all None without data.

    Parameters
    ----------
    low, high : float or None
        95 % interval of the bootstrap over movies.
    movies : int
        Number of movies.
    single_low, single_high : float or None
        95 % interval as if each movie were one observation; it is wider for fewer movies.
    by_physics : mapping
        The figure with each simulator.
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
        """Difference between the simulators; None with fewer than two."""
        known = [value for value in self.by_physics.values() if value is not None]
        return max(known) - min(known) if len(known) > 1 else None

    @property
    def lowest(self) -> float | None:
        """The lower end of both intervals."""
        return min((end for end in (self.low, self.single_low) if end is not None), default=None)

    @property
    def highest(self) -> float | None:
        """The higher end of both intervals."""
        return max((end for end in (self.high, self.single_high) if end is not None), default=None)

    def as_dict(self) -> dict[str, object]:
        """Return all values as JSON values."""
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
    """Contribution of one movie to a share: `part` of `whole`."""

    physics: str
    part: float
    whole: float


@dataclass(frozen=True, eq=False)
class Scored:
    """A score of some frames of one movie."""

    physics: str
    scores: Floats


def share(tallies: Sequence[Tally], *, seed: int) -> Estimate:
    """Return the sum of all parts divided by the sum of all wholes, with the intervals over movies."""
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
    """Return the area under the ROC curve: the probability that a frame of `positive` scores higher than one
    of `negative`, where ties count half.

    Movies of each kind are resampled separately.
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
    """Return the number of pairs of frames in which a positive movie scores higher, (P, N); ties count half.

    Rows are positive movies, columns negative ones.
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
    """Return the exact 95 % interval of a share `part / whole`; `part` may be a fraction (Clopper & Pearson
    1934, doi 10.1093/biomet/26.4.404)."""
    tail = (1 - LEVEL) / 2
    low = float(stats.beta.ppf(tail, part, whole - part + 1)) if part > 0 else 0.0
    high = float(stats.beta.ppf(1 - tail, part + 1, whole - part)) if part < whole else 1.0
    return low, high


def newcombe(area_found: float, positive: int, negative: int) -> tuple[float, float]:
    """Return the 95 % interval of an area under the ROC curve, given the numbers of independent observations.

    Method 5 of Newcombe 2006, doi 10.1002/sim.2324, which is also valid for complete separation.
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
