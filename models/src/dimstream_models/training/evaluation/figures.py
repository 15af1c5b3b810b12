"""Which figures are taken, of which kinds of images, and one row of the table of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from dimstream_models.training.errors import CannotEvaluate

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
