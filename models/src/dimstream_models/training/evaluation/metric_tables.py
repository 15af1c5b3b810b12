"""The metrics of each kind of image, rows of the table of them, and statistics over all images.

The statistics are quartiles, normality, and whether two kinds differ. Source: the paper's Methods,
"Statistical analysis".
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
    "noisy": "the noisy image, after a straight-line fit to its truth",
    "filter": "the noisy image after the best tuned classical filter and a straight-line fit to its truth",
    "prediction": "the prediction as delivered, in the bundle's own counts",
    "fitted": "the prediction, after a straight-line fit to its truth",
    "truth": "the truth itself",
    "floor": "a perfect restoration, whose figures are limited by the truth's own photon noise",
}


@dataclass(frozen=True)
class Metric:
    """A column of the table; lengths are stored in px, and given in nm where the pixel size is known."""

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
    """A number, or the reason why it is missing."""

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
    """Gain and offset of the fit to its truth."""
    correlated: str = ""
    """The two images that FRC and rolling FRC compare, except for the columns against the truth."""

    def value(self, metric: Metric, unit: Unit) -> float | None:
        """Return the figure in the unit; None if it is missing, or the pixel size for nm is unknown."""
        found = self.figures.get(metric.key, Figure(None)).value
        if found is None or unit != "nm":
            return found
        return None if self.pixel_size_nm is None else found * self.pixel_size_nm


def absent(keys: Iterable[str], reason: str) -> dict[str, Figure]:
    """Return missing figures, all with the same reason."""
    return {key: Figure(None, reason) for key in keys}


def take(function: Callable[[], float | None], *, otherwise: str = "") -> Figure:
    """Return a figure, or the reason why it is missing: `otherwise`, or the metric's error message."""
    try:
        value = function()
    except CannotEvaluate as error:
        return Figure(None, str(error))
    return Figure(None, otherwise) if value is None else Figure(float(value))


def unit_of(metric: Metric, rows: Sequence[Row]) -> Unit:
    """Return the unit of a metric in these rows: nm for lengths if every pixel size is known."""
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
    sd: float | None  # of the sample; None for a single image
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
    """Why figures are missing, and for how many images."""

    metric: Metric
    kind: Kind
    images: int
    reason: str


def values_of(rows: Sequence[Row], metric: Metric, kind: Kind) -> list[float]:
    """Return a metric of all images of a kind that have it, in the table's unit."""
    unit = unit_of(metric, rows)
    found = (row.value(metric, unit) for row in rows if row.kind == kind)
    return [value for value in found if value is not None]


def summarise(rows: Sequence[Row]) -> list[Summary]:
    """Return the summary of each metric and kind with at least one figure."""
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
    """Return why figures are missing, by metric and kind; if there are several reasons, the most frequent."""
    return [
        Absent(metric, kind, images=sum(reasons.values()), reason=_most_frequent(reasons))
        for metric in METRICS
        for kind in KINDS
        if (reasons := _reasons(rows, metric, kind))
    ]


def _reasons(rows: Sequence[Row], metric: Metric, kind: Kind) -> Counter[str]:
    """Return why a metric is missing for images of a kind; empty if the kind does not have this metric."""
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
