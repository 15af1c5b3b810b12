"""Which figures are taken, of which kinds of images, and one row of the table of them.

All images together: quartiles, normality, and whether two kinds differ.

Source: the paper's Methods, "Statistical analysis".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from dimstream_models.training.errors import CannotEvaluate
from dimstream_models.training.metrics.statistics import Outcome, mann_whitney, shapiro_wilk

Kind = Literal["noisy", "filter", "prediction", "fitted", "truth", "floor"]
Unit = Literal["counts", "dB", "px", "nm", ""]

KINDS: Final[Mapping[Kind, str]] = {
    "noisy": "the noisy image, on the straight line that brings it closest to this very truth",
    "filter": "what the best tuned classical filter makes of the noisy image, on the straight line that"
    " brings it closest to this very truth",
    "prediction": "the prediction as it is served, in the bundle's own counts",
    "fitted": "the prediction, on the straight line that brings it closest to this very truth",
    "truth": "the truth itself",
    "floor": "a perfect restoration, which the truth's own photon noise keeps from perfect figures",
}


@dataclass(frozen=True)
class Metric:
    """A column of the table; lengths are kept in px and told in nm where pixels have a size."""

    key: str
    title: str
    unit: Unit
    better: Literal["higher", "lower"]

    @property
    def is_length(self) -> bool:
        """Whether it is a length, px."""
        return self.unit == "px"


METRICS: Final = (
    Metric("ssim", "SSIM", "", "higher"),
    Metric("mae", "MAE", "counts", "lower"),
    Metric("pearson", "Pearson correlation", "", "higher"),
    Metric("psnr", "PSNR", "dB", "higher"),
    Metric("lpips", "LPIPS", "", "lower"),
    Metric("rfrc_mean", "rFRC, mean", "px", "lower"),
    Metric("rfrc_min", "rFRC, minimum", "px", "lower"),
    Metric("frc", "FRC", "px", "lower"),
    Metric("decorrelation", "Decorrelation", "px", "lower"),
    Metric("truth_rfrc_mean", "rFRC against the truth, mean", "px", "lower"),
    Metric("truth_rfrc_min", "rFRC against the truth, minimum", "px", "lower"),
    Metric("truth_frc", "FRC against the truth", "px", "lower"),
)


@dataclass(frozen=True)
class Figure:
    """A number, or the reason why there is none."""

    value: float | None
    reason: str = ""


@dataclass(frozen=True)
class Row:
    """All figures of one image of one kind."""

    image: str
    day: str | None
    kind: Kind
    figures: Mapping[str, Figure]
    data_range: float
    pixel_size_nm: float | None
    line: tuple[float, float] | None = None
    """Gain and offset by which it was brought closest to its truth."""
    correlated: str = ""
    """Which two images FRC and rolling FRC compare, those against the truth aside."""

    def value(self, metric: Metric, unit: Unit) -> float | None:
        """Return the figure in the unit; None where there is none, or no pixel size to tell nm by."""
        found = self.figures.get(metric.key, Figure(None)).value
        if found is None or unit != "nm":
            return found
        return None if self.pixel_size_nm is None else found * self.pixel_size_nm


def absent(keys: Iterable[str], reason: str) -> dict[str, Figure]:
    """Return figures that are not there, all for one reason."""
    return {key: Figure(None, reason) for key in keys}


def take(function: Callable[[], float | None], *, otherwise: str = "") -> Figure:
    """Return a figure, or why there is none: `otherwise`, or what the metric objects to."""
    try:
        value = function()
    except CannotEvaluate as error:
        return Figure(None, str(error))
    return Figure(None, otherwise) if value is None else Figure(float(value))


def unit_of(metric: Metric, rows: Sequence[Row]) -> Unit:
    """Return the unit in which a metric is told of these rows: lengths in nm where every pixel has a size."""
    if metric.is_length and all(row.pixel_size_nm is not None for row in rows):
        return "nm"
    return metric.unit


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
