"""The summary of a movie as a table to read."""

from __future__ import annotations

from dimstream_models.analysis.figures import FIGURES
from dimstream_models.analysis.movies import Movie
from dimstream_models.analysis.summary import Lifetimes, Summary
from dimstream_models.analysis.uncertainty import Mean


def summary_text(movie: Movie, summary: Summary) -> str:
    """Return every figure's mean with its 95 % interval, rates, lifetimes, and what was left out."""
    lines = [_head(movie, summary), ""]
    rows = [("figure", "mean", "95 % interval", "frames", "alike over")]
    scaled = movie.pixel_um is not None
    titles = {figure.column(scaled=scaled): figure.titled(scaled=scaled) for figure in FIGURES.values()}
    rows += [_row(titles[column], mean) for column, mean in summary.means.items()]
    rows += [_row(name.replace("_", " "), mean) for name, mean in summary.rates.items()]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        name, *values = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        lines.append("  ".join([name, *values]).rstrip())
    return "\n".join([*lines, "", *(_life(name, each) for name, each in summary.lifetimes.items())])


def _head(movie: Movie, summary: Summary) -> str:
    left_out = ", ".join(f"{n} {flag}" for flag, n in summary.left_out.items()) or "none"
    size = "pixels of unknown size" if movie.pixel_um is None else f"pixels of {movie.pixel_um * 1e3:g} nm"
    time = "" if summary.observed_min is None else f", {summary.observed_min:.3g} min between them"
    return (
        f"{movie.path.name}: {summary.analysed} of {len(movie)} frames analysed (left out: {left_out}),"
        f" {size}; {summary.pairs} frames compared with the one before{time}"
    )


def _row(title: str, mean: Mean) -> tuple[str, str, str, str, str]:
    value = "none" if mean.value is None else f"{mean.value:.4g}"
    between = "" if mean.low is None or mean.high is None else f"{mean.low:.4g} to {mean.high:.4g}"
    if mean.value is not None and not between:
        between = "too few frames"
    return title, value, between, str(mean.frames), f"{mean.correlation_frames:.1f} frames"


def _life(name: str, life: Lifetimes) -> str:
    seen = f"{life.tracks} {name} began while it was seen, {life.ended} of them ended"
    if not life.tracks:
        return f"no {name} began while it was seen"
    if life.median_frames is None:
        return f"{seen}; more than half outlived the movie, or what of it was analysed"
    seconds = "" if life.median_s is None else f" ({life.median_s:.3g} s)"
    return f"{seen}; half lived {life.median_frames:g} frames{seconds} or less"
