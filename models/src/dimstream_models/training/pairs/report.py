"""The report on prepared pairs: one HTML file that contains its pictures."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from typing import Final, get_args

import imagecodecs
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from numpy.typing import NDArray
from scipy import ndimage

from dimstream_models.html_page import picture, web_page
from dimstream_models.training.pairs.noise import PhotonStatistics
from dimstream_models.training.pairs.pair_storage import Overlay
from dimstream_models.training.pairs.prepared import REPORT, Counts, Dose, Prepared, PreparedField, Role
from dimstream_models.training.pairs.registration import NEGLIGIBLE_PX

GAP_PX = 8  # gap between the two halves of an overlay
Histograms = Mapping[str, NDArray[np.int64]]  # from name to the number of pixels of each count


def draw_shifts(fields: Sequence[PreparedField], bound_px: float) -> bytes:
    """Return a picture (PNG) of all measured shifts with their errors, one colour per measurement day."""
    figure = Figure(figsize=(5, 5))
    axes = figure.subplots()
    reach = 0.0
    for day in dict.fromkeys(field.day for field in fields):
        measured = [
            (*f.shift_px, *f.shift_error_px)
            for f in fields
            if f.day == day and f.shift_px and f.shift_error_px
        ]
        down, right, down_error, right_error = np.array(measured).T
        axes.errorbar(right, down, down_error, right_error, "o", markersize=4, linewidth=0.7, label=day)
        reach = max(reach, 1.1 * float(np.abs(measured).max()))
    reach = max(reach, NEGLIGIBLE_PX)
    if (
        bound_px < 2 * reach
    ):  # outside it would be invisible, and a circle far larger than the axes takes forever to draw
        axes.add_patch(Circle((0, 0), bound_px, fill=False, color="grey"))
    axes.set(xlim=(-reach, reach), ylim=(reach, -reach), aspect="equal")
    axes.set(xlabel="high dose moved right (px)", ylabel="high dose moved down (px)")
    axes.legend(fontsize="small")
    return _png(figure)


def draw_overlay(overlay: Overlay) -> bytes:
    """Return a PNG of a pair before (left) and after registration: low dose red, high dose green, both
    yellow."""
    before, after = (_red_green(*images) for images in (overlay.before, overlay.after))
    canvas = np.zeros((len(before), 2 * before.shape[1] + GAP_PX, 3), np.uint8)
    canvas[:, : before.shape[1]] = before
    canvas[: len(after), before.shape[1] + GAP_PX :][:, : after.shape[1]] = after
    return bytes(imagecodecs.png_encode(canvas))


def draw_histograms(doses: Mapping[str, Histograms]) -> bytes:
    """Return histograms of counts (PNG), one panel per dose, one line per role."""
    figure = Figure(figsize=(9, 3.5))
    figure.subplots_adjust(left=0.08, right=0.98, bottom=0.16, top=0.97)
    for axes, (dose, histograms) in zip(
        figure.subplots(1, len(doses), squeeze=False)[0], doses.items(), strict=True
    ):
        for name, pixels in histograms.items():
            _draw_histogram(axes, name, pixels)
        axes.set(
            xscale="symlog", yscale="log", xlabel=f"counts per pixel, {dose} dose", ylabel="share of pixels"
        )
        axes.set_xlim(left=-0.5)
        axes.legend(fontsize="small")
    return _png(figure)


def draw_noise(doses: Mapping[Dose, PhotonStatistics]) -> bytes:
    """Return a plot (PNG) of variance/mean against mean, one line per dose; photon counts are at 1."""
    figure = Figure(figsize=(6, 4))
    figure.subplots_adjust(bottom=0.14, top=0.96)
    axes = figure.subplots()
    axes.axhline(1.0, color="grey", linestyle=":")
    for dose, noise in doses.items():
        if not noise.classes:
            continue
        means, ratios, errors = zip(
            *((each.mean, each.ratio, each.error) for each in noise.classes), strict=True
        )
        axes.errorbar(means, ratios, yerr=errors, marker="o", markersize=4, label=f"{dose} dose")
    axes.set(xscale="log", xlabel="mean (counts per pixel)", ylabel="variance / mean")
    axes.set_ylim(0, max(1.5, axes.get_ylim()[1]))
    if any(noise.classes for noise in doses.values()):
        axes.legend()
    return _png(figure)


def _draw_histogram(axes: Axes, name: str, pixels: NDArray[np.int64]) -> None:
    """Draw single counts up to 16, then increasingly wide bins."""
    used = np.flatnonzero(pixels)[-1] + 1
    edges = np.unique(np.append(np.arange(16), np.geomspace(16, max(used, 17), 60)).astype(int))
    shares = (
        np.add.reduceat(pixels, edges[edges < len(pixels)])[: len(edges) - 1] / np.diff(edges) / pixels.sum()
    )
    shown = shares > 0
    axes.plot(edges[:-1][shown], shares[shown], drawstyle="steps-post", label=name)


def _red_green(low: Counts, high: Counts) -> NDArray[np.uint8]:  # (H, W, 3)
    smooth = [ndimage.gaussian_filter(image.astype(float), 1) for image in (low, high)]
    red, green = (np.clip(255 * image / max(np.quantile(image, 0.995), 1e-9), 0, 255) for image in smooth)
    return np.stack([red, green, np.zeros_like(red)], axis=-1).astype(np.uint8)


def _png(figure: Figure) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=110)
    return file.getvalue()


STYLE: Final = """
th, td { text-align: left } figure { display: inline-block; margin: 0 1em 1em 0 }
"""


COLUMNS: Final = (
    "image",
    "role",
    "day",
    "field of view",
    "height x width (px)",
    "shift down, right (px)",
    "correlation",
    "mean low",
    "mean high",
)


def write_report(
    prepared: Prepared, overlays: Sequence[Overlay], noise: Mapping[Dose, PhotonStatistics]
) -> None:
    """Write `report.html` next to the fields."""
    page = web_page("Prepared pairs", _sections(prepared, overlays, noise), style=STYLE)
    (prepared.folder / REPORT).write_text(page, encoding="utf-8")


def _sections(
    prepared: Prepared, overlays: Sequence[Overlay], noise: Mapping[Dose, PhotonStatistics]
) -> Iterator[str]:
    index, fields = prepared.index, prepared.fields
    yield "<h1>Prepared pairs</h1>"
    yield _table(("role", "images", "fields of view", "measurement days"), _roles(prepared))
    yield _paragraph(f"Roles: {index.roles}. Images of the same field of view have the same role.")
    if index.notes:
        yield "<h2>Notes</h2>"
        yield "<ul>" + "".join(f"<li>{escape(note)}.</li>" for note in index.notes) + "</ul>"
    size = "not stated" if prepared.pixel_size_nm is None else f"{prepared.pixel_size_nm:g} nm"
    yield _paragraph(f"Pixel size: {size}. sha256 of all images and roles: {prepared.sha256}")
    if index.matched_by_order:
        days = ", ".join(index.matched_by_order)
        yield _paragraph(f"Files were matched by their order, because their names differ: {days}.")
    if index.left_out:
        yield "<h2>Left out</h2>"
        yield _table(("pair", "reason"), ((each.name, each.reason) for each in index.left_out))
    if any(field.shift_px for field in fields):
        yield "<h2>Registration</h2>"
        yield _paragraph(
            "Shift of the high dose against the low dose, with standard errors; pairs beyond "
            f"{index.settings.max_shift_px:g} px are refused. Shifts of less than {NEGLIGIBLE_PX:g} px, and "
            "those within their error, were not corrected: these images are unchanged."
        )
        yield picture(draw_shifts(fields, index.settings.max_shift_px), "shifts of all pairs")
        yield _paragraph(
            "The pairs with the largest shifts, before and after registration; low dose red, high dose "
            "green, both yellow."
        )
        for overlay in overlays:
            moved = f"{overlay.name}: {overlay.shift.px[0]:+.2f} px down, {overlay.shift.px[1]:+.2f} px right"
            shown = picture(draw_overlay(overlay), moved)
            yield f"<figure>{shown}<figcaption>{escape(moved)}</figcaption></figure>"
    yield "<h2>Counts</h2>"
    yield picture(draw_histograms(_histograms(prepared)), "histograms of counts")
    yield "<h2>Noise</h2>"
    yield from _noise(noise)
    yield "<h2>Images</h2>"
    yield _table(COLUMNS, map(_row, fields))
    yield f"<h2>Settings</h2>{_table((), ((name, str(value)) for name, value in index.settings))}"


def _roles(prepared: Prepared) -> Iterator[tuple[str, ...]]:
    for role in get_args(Role):
        fields = prepared.of(role)
        views, days = ({getattr(field, name) for field in fields} for name in ("field_of_view", "day"))
        yield role, str(len(fields)), str(len(views)), ", ".join(sorted(days))


def _histograms(prepared: Prepared) -> dict[str, dict[str, NDArray[np.int64]]]:
    """Return the number of pixels of each count, (counts,), by dose and role."""
    doses = ("low", "high") if prepared.fields[0].has_high else ("low",)
    histograms: dict[str, dict[str, NDArray[np.int64]]] = {dose: {} for dose in doses}
    for field in prepared.fields:
        for dose, image in zip(doses, prepared.open(field), strict=False):
            assert image is not None  # `doses` does not contain "high" without high dose
            pixels = histograms[dose].setdefault(field.role, np.zeros(2**16, np.int64))
            pixels += np.bincount(image.ravel(), minlength=2**16)
    return histograms


def _noise(doses: Mapping[Dose, PhotonStatistics]) -> Iterator[str]:
    yield _paragraph(
        "Variance/mean of the images before registration, from their finest detail (second differences "
        "along both axes), for pixels of similar brightness. It is 1 for photon counts. A camera's gain and "
        "offset, averaging, interpolation and scaling change it."
    )
    yield picture(draw_noise(doses), "variance over mean")
    for dose, noise in doses.items():
        verdict = "as for photon counts" if noise.poisson else "not as for photon counts"
        yield _paragraph(f"{dose} dose: {noise}: {verdict}.")


def _row(field: PreparedField) -> tuple[str, ...]:
    return (
        field.name,
        field.role,
        field.day,
        field.field_of_view,
        f"{field.shape[0]} x {field.shape[1]}",
        _shift(field),
        _number(field.correlation, ".3f"),
        _number(field.mean_low, ".4g"),
        _number(field.mean_high, ".4g"),
    )


def _shift(field: PreparedField) -> str:
    if field.shift_px is None or field.shift_error_px is None:
        return "not registered"
    measured = zip(field.shift_px, field.shift_error_px, strict=True)
    text = ", ".join(f"{by:+.2f} \u00b1 {error:.2f}" for by, error in measured)
    return text if field.moved else f"{text} (left)"


def _number(value: float | None, form: str) -> str:
    return "none" if value is None else format(value, form)


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    body = "\n".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><tr>{head}</tr>\n{body}</table>"


def _paragraph(text: str) -> str:
    return f"<p>{escape(text)}</p>"
