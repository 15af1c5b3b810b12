"""The goals of a generalist model in the stress test, and whether they are reached."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from dimstream_models.training.stress.cases import Kind
from dimstream_models.training.stress.measuring import Row

MOST_BRIDGE: Final = 0.25
LEAST_GAPS: Final = 0.8
PUNCTA_GAIN: Final = 1.3
ENOUGH_PUNCTA: Final = 0.95
TOTAL_WITHIN: Final = 0.03


@dataclass(frozen=True)
class Goal:
    """One goal, the measured value, and whether the goal is met."""

    text: str
    measured: str
    met: bool


def goals(rows: Sequence[Row]) -> list[Goal]:
    """Return all goals for which there are rows."""
    return [
        *_of(rows, "bridge", 160, 1.0, f"bridge at 160 nm and 1 photon at most {MOST_BRIDGE:g}", _low),
        *_of(rows, "gap", 100, 1.0, f"gaps of 100 nm at 1 photon detected in {LEAST_GAPS:.0%}", _high),
        *_of(
            rows,
            "puncta",
            None,
            5.0,
            f"puncta of 5 photons: {PUNCTA_GAIN:g} times the tuned Gaussian's, or {ENOUGH_PUNCTA:.0%}",
            _more,
        ),
        *_totals(rows),
    ]


def _low(row: Row) -> bool:
    return row.model <= MOST_BRIDGE


def _high(row: Row) -> bool:
    return row.model >= LEAST_GAPS


def _more(row: Row) -> bool:
    return row.model >= min(PUNCTA_GAIN * row.gaussian, ENOUGH_PUNCTA)


def _of(
    rows: Sequence[Row],
    kind: Kind,
    size_nm: float | None,
    photons: float,
    text: str,
    met: Callable[[Row], bool],
) -> Iterator[Goal]:
    for row in rows:
        if (row.kind, row.size_nm, row.photons) == (kind, size_nm, photons):
            most = "" if row.ideal is None else f", likelihood ratio {row.ideal:.2f}"
            yield Goal(text, f"{row.model:.2f} (Gaussian {row.gaussian:.2f}{most})", met(row))


def _totals(rows: Sequence[Row]) -> Iterator[Goal]:
    ratios = [row.model for row in rows if row.kind == "total"]
    if ratios:
        worst = max(ratios, key=lambda ratio: abs(ratio - 1))
        yield Goal(
            f"total within {TOTAL_WITHIN:.0%} of the truth from 0.1 photons on",
            f"at worst {worst:.2f}",
            abs(worst - 1) <= TOTAL_WITHIN,
        )
