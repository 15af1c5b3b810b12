"""The report of an audit as one HTML file that contains its pictures and explains the figures."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from typing import Final

from dimstream_models.html_page import picture, web_page
from dimstream_models.training.audit.alarms import ALLOWED, NOTICED_WITHIN, Rate
from dimstream_models.training.audit.auditing import INVENTED, REAL, Audit
from dimstream_models.training.audit.conditions import ENOUGH_PHOTONS
from dimstream_models.training.audit.error_rates import Figures, RateRow, RecordedRow
from dimstream_models.training.audit.goals import Goal, goals
from dimstream_models.training.audit.intervals import Estimate
from dimstream_models.training.audit.pictures import TITLES
from dimstream_models.training.audit.scores import SCORES
from dimstream_models.training.audit.simulated_movies import LEAST_SHOWN

CAPTIONS: Final[Mapping[str, str]] = {
    "gallery.png": "From left to right: raw counts, the prediction, the truth (white is twice the dose) and "
    "the support map. If the halves of the photons were compared, the map includes pixels on which they "
    "disagree.",
    "roc.png": "ROC curves: the threshold of each score varies. The decision is the smallest margin of all "
    "scores over their thresholds.",
    "histograms.png": "All frames of simulated movies except the first; the axes are logarithmic away from "
    "the middle.",
    "delays.png": "0: the first frame without the sample's light is suspect.",
    "false_alarms.png": "Suspect frames of movies that show a sample, without the first frame.",
    "missed.png": "Frames of empty fields that are not suspect.",
    "claims.png": "On the grey line, the flag's probabilities are correct; above it, they are too small. "
    "Small probabilities speak against the frame (p_signal) or for it (p_dark).",
    "pixels.png": "The support map compared with the truth, in movies that show a sample.",
}
"""Caption of each picture."""

STATEMENTS: Final[Mapping[str, str]] = {
    "Simulators": "simulator is the one on which models are trained, with scenes from separate seeds; other "
    "has other samples, another point spread function, and a detector with dead time and an uneven dark "
    f"rate. Fields of which less than {LEAST_SHOWN:.0%} reaches half a typical structure's peak were drawn "
    "again. The difference between both simulators is an uncertainty that more movies do not reduce.",
    "Intervals": "95 %, by a bootstrap over whole movies. If nothing varies, this interval is too narrow, "
    "so the interval as if each movie were one observation is given as well. Clopper-Pearson assumes "
    "independent frames, which they are not. In tables, in brackets: the bootstrap's interval and the "
    "number of movies.",
    "Signal": f"frames, except the first, of movies with at least {ENOUGH_PHOTONS:g} photon on a typical "
    "structure's peak (of bleaching movies, while this holds); saturated movies, and those in which the "
    "sample ends, are not included.",
    "Decision": "the smallest margin over all thresholds of the flag; below 0 if the flag is suspect, apart "
    "from hysteresis and saturation.",
    "Flag": "the flag as a score: suspect 0, unjudged 1/2, ok 1; its area under the curve is the mean of "
    "the shares of correct flags of both kinds.",
    "Noticed": f"a sample's end is detected within {NOTICED_WITHIN} frames if one of the first "
    f"{NOTICED_WITHIN} frames without its light is suspect; at {ALLOWED:.0%} false alarms: if the decision "
    f"score is below the {ALLOWED:.0%} quantile of signal frames.",
    "Support map": f"predicted pixels are invented if no truth within 3 px reaches {INVENTED:g} of the "
    f"dose, and real if it reaches {REAL:g}; those between are ignored. Only frames whose photons should be "
    "split are used; those whose photons could be split include the split-photon check. A good network has "
    "few invented pixels, and then the precision cannot be high.",
}
"""How the figures were calculated."""


NONE: Final = "–"
SMALLEST: Final = 1e-4
STYLE: Final = """
.wide { overflow-x: auto } th, td { white-space: nowrap }
th { border-bottom: 1px solid #888 } th:first-child, td:first-child { text-align: left }
figure { margin: 1em 0 } figcaption { color: #555; font-size: 13px } dt { font-weight: 600 }
.no td { background: #fde8e0 }
.warning { background: #fff3cd; border-left: 4px solid #d39e00; padding: 6px 12px }
"""


def render(audit: Audit, figures: Figures, pngs: Mapping[str, bytes], provenance: Mapping[str, str]) -> str:
    """Return the report as HTML text.

    Parameters
    ----------
    pngs : mapping
        Pictures by file name; those that are missing are left out.
    provenance : mapping
        Versions and settings of the audit, for the reader.
    """
    parts = [
        f"<h1>{escape(audit.bundle.name)}: audit of its flags</h1>",
        _warning(audit),
        "<h2>Goals</h2>",
        _goals(goals(figures, with_split=audit.bundle.thresholds.split is not None)),
        "<h2>Examples</h2>",
        *_figures(pngs, "gallery.png"),
        "<h2>Signal against empty fields</h2>",
        *_figures(pngs, "roc.png", "histograms.png"),
        _areas(figures),
        "<h2>The end of a sample</h2>",
        *_figures(pngs, "delays.png"),
        _noticed(figures),
        "<h2>False alarms and missed frames</h2>",
        *_figures(pngs, "false_alarms.png", "missed.png"),
        _rates("suspect frames of movies that show a sample", figures.false_alarms),
        _rates("frames of empty fields that are not suspect", figures.missed),
        _rates("suspect frames of saturated movies", figures.saturated),
        "<h2>Stated probabilities</h2>",
        *_figures(pngs, "claims.png"),
        "<h2>The support map</h2>",
        *_figures(pngs, "pixels.png"),
        _pixels(figures),
        "<h2>Recorded movies</h2>",
        _recorded(figures.recorded),
        "<h2>How the figures were calculated</h2>",
        _definitions({**STATEMENTS, **provenance}),
    ]
    return web_page(f"{audit.bundle.id}: audit", parts, style=STYLE)


def _warning(audit: Audit) -> str:
    if not audit.settings.quick:
        return ""
    text = "A quick audit: it only checks that the command runs; its figures have little meaning."
    return f'<p class="warning">{text}</p>'


def _goals(found: Sequence[Goal]) -> str:
    rows = []
    for goal in found:
        words = {None: "not measured", True: "reached", False: "not reached"}[goal.reached]
        sure = {None: NONE, True: "yes", False: "no"}[goal.certain]
        rows.append([goal.name, goal.bound, _number(goal.value), _range(goal.low, goal.high), words, sure])
    head = ["goal", "bound", "measured", "widest 95 % interval", "", "beyond doubt"]
    return _table(head, rows, marked=[goal.reached is False for goal in found])


def _areas(figures: Figures) -> str:
    together = [
        [score.title, *_estimate(figures.area(score.key)), _worlds(figures.area(score.key))]
        for score in SCORES
    ]
    head = ["score", "AUC", "95 % over movies", "as if each movie were one frame", "with each simulator"]
    names = list(dict.fromkeys(row.condition for row in figures.areas if row.condition is not None))
    found = {(row.score, row.condition): row.estimate for row in figures.areas}
    each = [[name, *(_with_interval(found.get((score.key, name))) for score in SCORES)] for name in names]
    return _table(head, together) + _table(["AUC of each condition", *(s.title for s in SCORES)], each)


def _noticed(figures: Figures) -> str:
    rows = [
        [f"{TITLES[way]}, {title}", *_estimate(estimates[by]), _worlds(estimates[by])]
        for way, estimates in figures.noticed.items()
        for by, title in (("flagged", "by the flag"), ("at_allowed", f"at {ALLOWED:.0%} false alarms"))
    ]
    head = [
        f"detected within {NOTICED_WITHIN} frames",
        "share",
        "95 % over movies",
        "exact",
        "with each simulator",
    ]
    return _table(head, rows)


def _rates(title: str, rows: Sequence[RateRow]) -> str:
    return _table(
        [title, "", "frames", "per thousand", "Clopper-Pearson", "95 % over movies", "movies with any"],
        ([row.name, TITLES[row.way], *_rate(row.rate)] for row in rows),
    )


def _rate(rate: Rate) -> list[str]:
    return [
        f"{rate.events} of {rate.frames}",
        _thousandths(rate.estimate.value),
        f"{_thousandths(rate.frames_low)} to {_thousandths(rate.frames_high)}",
        f"{_thousandths(rate.estimate.low)} to {_thousandths(rate.estimate.high)}",
        f"{rate.movies_affected} of {rate.estimate.movies}",
    ]


def _pixels(figures: Figures) -> str:
    rows = [
        [
            f"{row.by} {row.name}",
            TITLES[row.way],
            *(_with_interval(each) for each in (row.recall, row.precision, row.real_lost, row.invented)),
            *(_worlds(each) for each in (row.recall, row.real_lost)),
        ]
        for row in figures.pixels
    ]
    head = [
        "predicted pixels",
        "",
        "recall",
        "precision",
        "real pixels lost",
        "invented ones",
        "recall by simulator",
        "lost by simulator",
    ]
    return _table(head, rows)


def _recorded(rows: Sequence[RecordedRow]) -> str:
    if not rows:
        return "<p>None were given: name files with --signal and --dark.</p>"
    head = [
        "file",
        "role",
        "frames",
        "",
        "wrong",
        "per thousand",
        "Clopper-Pearson",
        "over movies",
        "with any",
    ]
    wrong = [
        [row.file, row.role, str(row.frames), TITLES[way], *_rate(rate)]
        for row in rows
        for way, rate in row.wrong.items()
    ]
    titles = {score.key: score.title for score in SCORES}
    spread = [
        [row.file, titles[key], *(_number(found[place]) for place in (0, 2, 4, 6, 8))]
        for row in rows
        for key, found in row.scores.items()
        if found
    ]
    notes = {
        row.file: "; ".join(
            text for text in (row.note, row.refused and f"photons not split: {row.refused}") if text
        )
        for row in rows
        if row.note or row.refused
    }
    return (
        "<p>A flag is wrong if it is suspect for a movie of a sample, or not suspect for one without.</p>"
        + _table(head, wrong)
        + _table(["file", "score", "lowest", "5 %", "median", "95 %", "highest"], spread)
        + _definitions(notes)
    )


def _figures(pngs: Mapping[str, bytes], *names: str) -> Iterator[str]:
    for name in names:
        if name in pngs:
            shown, caption = picture(pngs[name], CAPTIONS[name]), escape(CAPTIONS[name])
            yield f"<figure>{shown}<figcaption>{caption}</figcaption></figure>"


def _definitions(entries: Mapping[str, str]) -> str:
    items = (f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in entries.items())
    return f"<dl>{''.join(items)}</dl>" if entries else ""


def _table(head: Sequence[str], body: Iterable[Sequence[str]], *, marked: Sequence[bool] = ()) -> str:
    """Return a table as HTML, with `marked` rows highlighted."""
    lines = []
    for place, row in enumerate(body):
        kind = ' class="no"' if place < len(marked) and marked[place] else ""
        lines.append(f"<tr{kind}>{_cells('td', row)}</tr>\n")
    table = f"<table><thead><tr>{_cells('th', head)}</tr></thead>\n<tbody>{''.join(lines)}</tbody></table>"
    return f'<div class="wide">{table}</div>'


def _cells(tag: str, values: Sequence[str]) -> str:
    return "".join(f"<{tag}>{escape(value)}</{tag}>" for value in values)


def _estimate(each: Estimate) -> list[str]:
    return [_number(each.value), _range(each.low, each.high), _range(each.single_low, each.single_high)]


def _worlds(each: Estimate) -> str:
    known = [f"{name} {_number(value)}" for name, value in each.by_physics.items()]
    return ", ".join(known) or NONE


def _with_interval(each: Estimate | None) -> str:
    if each is None or each.value is None:
        return NONE
    return f"{_number(each.value)} ({_range(each.low, each.high)}; {each.movies})"


def _range(low: float | None, high: float | None) -> str:
    return NONE if low is None or high is None else f"{_number(low)} to {_number(high)}"


def _number(value: float | None) -> str:
    if value is None:
        return NONE
    return "< 0.0001" if 0 < value < SMALLEST else f"{value:.4g}"


def _thousandths(share: float | None) -> str:
    return NONE if share is None else f"{1000 * share:.3g}"
