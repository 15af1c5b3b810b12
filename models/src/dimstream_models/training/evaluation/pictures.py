"""The report's pictures, after the paper's figure 2: images, resolution map, line profiles, distributions."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, uniform_filter1d

from dimstream_models.training.evaluation.metric_tables import (
    KINDS,
    METRICS,
    Difference,
    Kind,
    Metric,
    Row,
    unit_of,
    values_of,
)

Point = tuple[float, float]  # y, x, px

LONGEST_PX: Final = 128
SMOOTHING_PX: Final = 1.5


def line_through_structure(image: NDArray[Any]) -> tuple[Point, Point]:
    """Return the horizontal or vertical line along which an image (H, W) changes most.

    It is the line of 128 px, or of the image's side if that is shorter, with the largest mean square slope.
    The image is smoothed first, so that photon noise has no influence.
    """
    smooth = gaussian_filter(np.asarray(image, np.float64), SMOOTHING_PX)
    found = [_steepest(smooth), _steepest(smooth.T)]
    (_, row, start, end), axis = max((best, axis) for axis, best in enumerate(found))
    points = (float(row), float(start)), (float(row), float(end))
    return points if axis == 0 else (points[0][::-1], points[1][::-1])


def _steepest(image: NDArray[np.float64]) -> tuple[float, int, int, int]:
    """Return mean square slope, row, first and last column of the steepest segment of a row."""
    width = image.shape[1]
    length = min(LONGEST_PX, width)
    slope = np.diff(image, axis=1, append=image[:, -1:])
    energy = uniform_filter1d(np.square(slope), length, axis=1)
    whole = energy[:, length // 2 : width - (length - 1) // 2]  # windows inside the image
    row, column = np.unravel_index(np.argmax(whole), whole.shape)
    return float(whole[row, column]), int(row), int(column), int(column) + length - 1


COLOURS: Final[Mapping[str, str]] = {
    "truth": "#333333",
    "noisy": "#999999",
    "filter": "#009e73",
    "prediction": "#0072b2",
    "fitted": "#56b4e9",
    "floor": "#d55e00",
}
BARS_NM: Final = tuple(step * 10**power for power in range(1, 7) for step in (1, 2, 5))
BAR_SHARE: Final = 0.25  # the longest scale bar, as a share of the image's width
SHADES: Final = (0.001, 0.999)  # quantiles of the truth that are black and white
DPI: Final = 110

Plane = NDArray[Any]  # (H, W)


@dataclass(frozen=True)
class Shown:
    """The images and curves of one pair."""

    name: str
    pixel_size_nm: float | None
    truth: Plane
    noisy: Plane  # as recorded
    prediction: Plane  # on the truth's scale
    resolution_px: Plane  # rolling FRC map, nan where nothing was found
    correlated: str  # the two images that the map compares
    line: tuple[Point, Point]
    profiles: Mapping[str, NDArray[np.float64]]  # by kind, along the line, normalised together

    @property
    def unit(self) -> str:
        """Unit of lengths in the picture."""
        return "px" if self.pixel_size_nm is None else "nm"

    def length(self, px: Any) -> Any:
        """Return a length, px, in the picture's unit."""
        return px * (self.pixel_size_nm or 1.0)


def draw_pair(shown: Shown) -> bytes:
    """Return a PNG: truth with the line, noisy, prediction, resolution map, and the profiles below."""
    height, width = shown.truth.shape
    figure = Figure(figsize=(15, 3.6 * height / width + 3.2), layout="constrained")
    grid = figure.add_gridspec(2, 4, height_ratios=(3.6 * height / width, 2.4))
    panels = [figure.add_subplot(grid[0, column]) for column in range(4)]
    black, white = np.quantile(shown.truth, SHADES)
    _show(panels[0], shown.truth, "A  truth", black, white)
    _show(panels[1], shown.noisy, "B  noisy", *np.quantile(shown.noisy, SHADES))
    _show(panels[2], shown.prediction, "C  prediction", black, white)
    _show_map(panels[3], shown)
    (y0, x0), (y1, x1) = shown.line
    panels[0].plot([x0, x1], [y0, y1], ":", color="yellow", linewidth=1.5)
    _scale_bar(panels[0], shown)
    _profiles(figure.add_subplot(grid[1, :]), shown)
    return _png(figure)


def draw_distributions(rows: Sequence[Row], differences: Sequence[Difference]) -> bytes:
    """Return a PNG: a panel per metric, a violin with quartiles and points per kind, brackets with marks."""
    shown = [metric for metric in METRICS if any(values_of(rows, metric, kind) for kind in KINDS)]
    columns = 4
    lines = -(-len(shown) // columns)
    figure = Figure(figsize=(15, 3.4 * lines), layout="constrained")
    for place, metric in enumerate(shown):
        axes = figure.add_subplot(lines, columns, place + 1)
        _distribution(axes, rows, metric, [each for each in differences if each.metric == metric])
    return _png(figure)


def scale_bar_nm(width_nm: float) -> float:
    """Return the longest round length that fills at most a quarter of a width; at least 10 nm."""
    fitting = [bar for bar in BARS_NM if bar <= BAR_SHARE * width_nm]
    return float(max(fitting, default=BARS_NM[0]))


def _show(axes: Axes, image: Plane, title: str, black: float, white: float) -> None:
    axes.imshow(image, cmap="magma", vmin=black, vmax=max(white, black + 1e-9), interpolation="nearest")
    axes.set_title(title, loc="left")
    axes.set_axis_off()


def _show_map(axes: Axes, shown: Shown) -> None:
    axes.set_title("D  rolling FRC of the prediction", loc="left")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_facecolor("black")
    resolution = np.ma.masked_invalid(shown.length(shown.resolution_px))
    if resolution.count() == 0:
        axes.set_aspect(shown.truth.shape[0] / shown.truth.shape[1])
        axes.text(0.5, 0.5, "nothing found", color="white", ha="center", transform=axes.transAxes)
        return
    mapped = axes.imshow(resolution, cmap="turbo", interpolation="nearest")
    axes.figure.colorbar(mapped, ax=axes, label=f"resolution / {shown.unit}", shrink=0.85)


def _scale_bar(axes: Axes, shown: Shown) -> None:
    if shown.pixel_size_nm is None:
        return
    height, width = shown.truth.shape
    length = scale_bar_nm(width * shown.pixel_size_nm)
    end, y = 0.96 * width, 0.95 * height
    axes.plot([end - length / shown.pixel_size_nm, end], [y, y], color="white", linewidth=4)
    label = f"{length / 1000:g} µm" if length >= 1000 else f"{length:g} nm"
    axes.text(end, y - 0.02 * height, label, color="white", ha="right", va="bottom")


def _profiles(axes: Axes, shown: Shown) -> None:
    for kind, profile in shown.profiles.items():
        along = shown.length(np.arange(len(profile)))
        axes.plot(along, profile, color=COLOURS[kind], label=kind, linewidth=1 if kind == "noisy" else 1.6)
    axes.set_title("K  profiles along the yellow line in A, normalised together", loc="left")
    axes.set_xlabel(f"distance / {shown.unit}")
    axes.set_ylabel("intensity")
    axes.margins(x=0)
    axes.legend(frameon=False, ncols=3)


def _distribution(axes: Axes, rows: Sequence[Row], metric: Metric, tested: Sequence[Difference]) -> None:
    present = {kind: values for kind in KINDS if (values := values_of(rows, metric, kind))}
    for place, (kind, values) in enumerate(present.items()):
        _violin(axes, place, values, COLOURS[kind])
    axes.set_xticks(range(len(present)), list(present))
    axes.set_xlim(-0.6, len(present) - 0.4)
    unit = unit_of(metric, rows)
    axes.set_title(metric.title + (f" / {unit}" if unit else ""), loc="left")
    marked = [each for each in tested if each.outcome.mark is not None]
    _brackets(axes, list(present), marked)


def _violin(axes: Axes, place: int, values: Sequence[float], colour: str) -> None:
    if len(values) > 2:
        drawn: Any = axes.violinplot(values, [place], widths=0.8, showextrema=False)
        drawn["bodies"][0].set(facecolor=colour, alpha=0.25)
    axes.boxplot(
        values,
        positions=[place],
        widths=0.25,
        showfliers=False,
        manage_ticks=False,
        medianprops={"color": colour, "linewidth": 2},
    )
    rank = np.argsort(np.argsort(values))
    beside = place + 0.12 * ((rank * 0.618) % 1 - 0.5)  # spread out, but the same in every run
    axes.plot(beside, values, "o", color=colour, markersize=3, alpha=0.7)


def _brackets(axes: Axes, kinds: Sequence[Kind], tested: Sequence[Difference]) -> None:
    low, high = axes.get_ylim()
    axes.set_yticks([tick for tick in axes.get_yticks() if low <= tick <= high])
    step = 0.09 * (high - low)
    for level, each in enumerate(tested):
        ends = sorted((kinds.index(each.first), kinds.index(each.second)))
        y = high + step * level
        axes.plot(ends, [y, y], color="black", linewidth=0.8)
        axes.text(sum(ends) / 2, y, str(each.outcome.mark), ha="center", va="bottom", fontsize=8)
    axes.set_ylim(low, high + step * (len(tested) + 0.5))


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI)
    return buffer.getvalue()
