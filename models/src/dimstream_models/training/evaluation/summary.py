"""All images together: quartiles, normality, and whether two kinds differ.

Source: the paper's Methods, "Statistical analysis".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from dimstream_models.training.evaluation.figures import KINDS, METRICS, Kind, Metric, Row, Unit, unit_of
from dimstream_models.training.metrics.statistics import Outcome, mann_whitney, shapiro_wilk

COMPARED: Final[tuple[tuple[Kind, Kind], ...]] = (
    ("noisy", "prediction"),
    ("noisy", "fitted"),
    ("filter", "fitted"),
    ("truth", "prediction"),
    ("prediction", "floor"),
)


@dataclass(frozen=True)
class Summary:
    """One metric over all images of one kind that have it."""

    metric: Metric
    unit: Unit
    kind: Kind
    n: int
    median: float
    lower_quartile: float
    upper_quartile: float
    mean: float
    sd: float | None  # of the sample; None of a single image
    shapiro_wilk: Outcome


@dataclass(frozen=True)
class Difference:
    """Mann-Whitney U test of one metric between two kinds."""

    metric: Metric
    first: Kind
    second: Kind
    outcome: Outcome


@dataclass(frozen=True)
class Absent:
    """Why figures are missing, and of how many images."""

    metric: Metric
    kind: Kind
    images: int
    reason: str


def values_of(rows: Sequence[Row], metric: Metric, kind: Kind) -> list[float]:
    """Return a metric of all images of a kind that have it, in the unit in which it is told."""
    unit = unit_of(metric, rows)
    found = (row.value(metric, unit) for row in rows if row.kind == kind)
    return [value for value in found if value is not None]


def summarise(rows: Sequence[Row]) -> list[Summary]:
    """Return the summary of each metric and kind of which there is at least one figure."""
    return [
        _summary(metric, unit_of(metric, rows), kind, values)
        for metric in METRICS
        for kind in KINDS
        if (values := values_of(rows, metric, kind))
    ]


def differences(rows: Sequence[Row]) -> list[Difference]:
    """Return the tests between kinds that both have figures of a metric."""
    return list(_differences(rows))


def absences(rows: Sequence[Row]) -> list[Absent]:
    """Return why figures are missing, by metric and kind; of several reasons the most frequent."""
    return [
        Absent(metric, kind, images=sum(reasons.values()), reason=_most_frequent(reasons))
        for metric in METRICS
        for kind in KINDS
        if (reasons := _reasons(rows, metric, kind))
    ]


def _reasons(rows: Sequence[Row], metric: Metric, kind: Kind) -> Counter[str]:
    """Return why a metric is missing of images of a kind; nothing where the kind does not have it."""
    figures = (row.figures[metric.key] for row in rows if row.kind == kind and metric.key in row.figures)
    return Counter(figure.reason for figure in figures if figure.value is None)


def _most_frequent(reasons: Counter[str]) -> str:
    reason = reasons.most_common(1)[0][0]
    others = len(reasons) - 1
    return reason + (f" (and {others} other reasons)" if others else "")


def _summary(metric: Metric, unit: Unit, kind: Kind, values: list[float]) -> Summary:
    lower, median, upper = np.quantile(values, (0.25, 0.5, 0.75))
    sd = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return Summary(
        metric,
        unit,
        kind,
        n=len(values),
        median=float(median),
        lower_quartile=float(lower),
        upper_quartile=float(upper),
        mean=float(np.mean(values)),
        sd=sd,
        shapiro_wilk=shapiro_wilk(values),
    )


def _differences(rows: Sequence[Row]) -> Iterator[Difference]:
    for metric in METRICS:
        for first, second in COMPARED:
            a, b = values_of(rows, metric, first), values_of(rows, metric, second)
            if a and b:
                yield Difference(metric, first, second, mann_whitney(a, b))
