"""The summary of a movie as a text table."""

from __future__ import annotations

from collections.abc import Mapping

from dimstream_models.analysis.effects import EVENTS, Effect, Effects, is_relative
from dimstream_models.analysis.movies import Movie
from dimstream_models.analysis.summary import Lifetimes, Summary
from dimstream_models.analysis.uncertainty import Mean
from dimstream_models.er_figures import FIGURES


def summary_text(movie: Movie, summary: Summary, *, effects: Effects | None, dose_ph: float) -> str:
    """Return every figure's mean with its 95 % interval, rates, lifetimes, and the frames that were left out.

    Parameters
    ----------
    effects : Effects or None
        How denoising and segmentation change each figure; None if that was not measured for these labels.
    dose_ph : float
        Dose of the frames before denoising, photons per pixel on a tubule.
    """
    lines = [_head(movie, summary), ""]
    dose, known = "", dict[str, Effect]()
    if effects is not None:
        dose, known = effects.at(dose_ph)
    heads = ("figure", "mean", "95 % interval", "frames", "alike over", f"known error at {dose} ph")
    rows: list[tuple[str, ...]] = [heads]
    scaled = movie.pixel_um is not None
    for name, figure in FIGURES.items():
        mean = summary.means[figure.column(scaled=scaled)]
        rows.append(_row(figure.titled(scaled=scaled), mean, name, known))
    rows += [_row(rate_text(name), mean, "", {}) for name, mean in summary.rates.items()]
    if effects is None:
        rows = [row[:-1] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        name, *values = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        lines.append("  ".join([name, *values]).rstrip())
    lives = [_life(name, each) for name, each in summary.lifetimes.items()]
    return "\n".join([*lines, "", *lives, "", *_effect_lines(effects, dose, known)])


def rate_text(name: str) -> str:
    """Return the name of a rate, for people."""
    what, _, unit = name.replace("_", " ").partition(" per ")
    area, time = unit.split()
    return f"{what}, per {area[:-1].replace('u', 'µ')}² and {time.replace('min', 'minute')}"


def _head(movie: Movie, summary: Summary) -> str:
    left_out = ", ".join(f"{n} {flag}" for flag, n in summary.left_out.items()) or "none"
    size = "pixels of unknown size" if movie.pixel_um is None else f"pixels of {movie.pixel_um * 1e3:g} nm"
    time = "" if summary.observed_min is None else f", {summary.observed_min:.3g} min between them"
    return (
        f"{movie.path.name}: {summary.analysed} of {len(movie)} frames analysed (left out: {left_out}),"
        f" {size}; {summary.pairs} frames compared with the one before{time}"
    )


def _effect_lines(effects: Effects | None, dose: str, known: Mapping[str, Effect]) -> list[str]:
    if effects is None:
        return ["The effect of denoising on these figures was not measured for this segmenter."]
    events = [f"{name.replace('_', ' ')} {known[name].text(relative=True)}" for name in EVENTS]
    return [
        f"Known error, found - true: mean and deviation over {effects.scenes} simulated scenes at {dose} ph "
        f"(photons per pixel on a tubule), denoised by {effects.model}, against exact labels; in % of counts,"
        " lengths and areas.",
        f"Errors from frame to frame: {', '.join(events)}. Rates of junctions are too high and their "
        "lifetimes too short: use them only to compare cells that were measured in the same way.",
    ]


def _row(title: str, mean: Mean, name: str, known: Mapping[str, Effect]) -> tuple[str, ...]:
    value = "none" if mean.value is None else f"{mean.value:.4g}"
    between = "" if mean.low is None or mean.high is None else f"{mean.low:.4g} to {mean.high:.4g}"
    if mean.value is not None and not between:
        between = "too few frames"
    effect = known[name].text(relative=is_relative(name)) if name in known else ""
    return title, value, between, str(mean.frames), f"{mean.correlation_frames:.1f} frames", effect


def _life(name: str, life: Lifetimes) -> str:
    seen = f"{life.tracks} {name} began during the movie, {life.ended} of them ended"
    if not life.tracks:
        return f"no {name} began during the movie"
    if life.median_frames is None:
        return f"{seen}; more than half were still there when last observed"
    seconds = "" if life.median_s is None else f" ({life.median_s:.3g} s)"
    return f"{seen}; half lived {life.median_frames:g} frames{seconds} or less"
