"""Pictures of the report on prepared pairs, as PNG."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import imagecodecs
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from numpy.typing import NDArray
from scipy import ndimage

from dimstream_models.training.pairs.noise import PhotonStatistics
from dimstream_models.training.pairs.prepared import Counts, Dose, PreparedField
from dimstream_models.training.pairs.registration import NEGLIGIBLE_PX
from dimstream_models.training.pairs.storing import Overlay

GAP_PX = 8  # between the two halves of an overlay
Histograms = Mapping[str, NDArray[np.int64]]  # name to the number of pixels of each count


def draw_shifts(fields: Sequence[PreparedField], bound_px: float) -> bytes:
    """Return a picture of all measured shifts, with their errors, one colour for each measurement day."""
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
    if bound_px < 2 * reach:  # outside it would not be seen, and a circle far larger than the axes never ends
        axes.add_patch(Circle((0, 0), bound_px, fill=False, color="grey"))
    axes.set(xlim=(-reach, reach), ylim=(reach, -reach), aspect="equal")
    axes.set(xlabel="high dose moved right (px)", ylabel="high dose moved down (px)")
    axes.legend(fontsize="small")
    return _png(figure)


def draw_overlay(overlay: Overlay) -> bytes:
    """Return a pair before (left) and after registration: low dose red, high dose green, both yellow."""
    before, after = (_red_green(*images) for images in (overlay.before, overlay.after))
    canvas = np.zeros((len(before), 2 * before.shape[1] + GAP_PX, 3), np.uint8)
    canvas[:, : before.shape[1]] = before
    canvas[: len(after), before.shape[1] + GAP_PX :][:, : after.shape[1]] = after
    return bytes(imagecodecs.png_encode(canvas))


def draw_histograms(doses: Mapping[str, Histograms]) -> bytes:
    """Return histograms of counts, one panel for each dose, one line for each role."""
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
    """Return variance over mean against mean, one line for each dose; photon counts lie at 1."""
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
    """Draw counts one by one up to 16, then in ever wider bins."""
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
