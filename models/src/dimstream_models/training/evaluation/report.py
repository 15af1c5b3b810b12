"""The report as one HTML file with its pictures inside, without scripts and fonts.

It is also well-formed XML, so that programs can read it. It states how metrics were calculated, and warns of
misleading figures.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from typing import Final

import numpy as np

from dimstream_models.html_page import picture, web_page
from dimstream_models.training.evaluation.evaluate import Evaluation
from dimstream_models.training.evaluation.filters import Rivals
from dimstream_models.training.evaluation.metric_tables import (
    KINDS,
    METRICS,
    Kind,
    Row,
    Summary,
    Unit,
    absences,
    differences,
    summarise,
    unit_of,
    values_of,
)
from dimstream_models.training.evaluation.pictures import draw_distributions, draw_pair
from dimstream_models.training.evaluation.resolving import HALVES, RECORDINGS
from dimstream_models.training.evaluation.scoring import NO_SCALE, ScoringSettings
from dimstream_models.training.metrics.statistics import Outcome

ONE_SCALE: Final = (0.8, 1.25)
"""Range of the gain between a prediction and its truth in which both have the same scale."""
FEW_PAIRS: Final = 5


def statements(
    rows: Sequence[Row], settings: ScoringSettings, rivals: Rivals | None = None
) -> dict[str, str]:
    """Return how each metric was calculated, by its name."""
    return {
        "Scale": _scale(rows),
        **_filter(rivals),
        "SSIM, PSNR": f"scikit-image's, data range {_data_range(rows, settings)}; SSIM's window is 7 px.",
        "MAE": "Mean absolute difference, in the truth's counts.",
        "Pearson correlation": "Pearson's correlation of the pixels. A straight-line fit does not change it.",
        "LPIPS": "VGG16 with the published linear heads; the data range is white, 0 is black.",
        "Noise floor": "The score of the light from which the truth was counted. The light is unknown, so "
        "it is replaced by the truth, smoothed by the Gaussian with the smallest unbiased risk, and the "
        "truth by this light with new photon noise. Only for truths that are photon counts (variance = "
        "mean).",
        "FRC, rolling FRC": "The detail in which two independent images of a field agree "
        f"({_correlated(rows)}); for a prediction, the predictions of both. Threshold 1/7. A half has half "
        "of the photons, so its figures are those of half the dose. If a network invents the same from "
        "both, this agrees too, although it is not true.",
        "FRC, rolling FRC against the truth": "The detail in which image and truth agree. Threshold 1/7. If "
        "the truth was recorded separately, invented structure does not count. Two noisy halves agree less "
        "than a clean image and a noisy one: do not compare these figures with those above.",
        "Rolling FRC": f"Blocks of 64 px, a value for each {settings.skip} x {settings.skip} px. Blocks "
        f"that are not brighter than {settings.background:g} of 255, relative to the image's maximum, are "
        "left out.",
        "Decorrelation": "Of each single image (Descloux et al. 2019). It measures sharpness, not truth.",
        "Tests": "Shapiro-Wilk for normality; Mann-Whitney U, two-sided, between kinds. Both kinds show the "
        "same fields of view; this test, which the paper uses, ignores that.",
    }


def warnings(rows: Sequence[Row]) -> Iterator[str]:
    """Yield warnings about misleading figures."""
    gain = _median_line(rows, "fitted")[0]
    if any(row.figures["mae"].reason == NO_SCALE for row in rows if row.kind == "prediction"):
        yield f"Kind `prediction` has no figures in counts: {NO_SCALE}."
    elif not ONE_SCALE[0] <= gain <= ONE_SCALE[1]:
        yield (
            "The predictions do not have the truths' scale: the median gain of the fit to the truth is "
            f"{gain:.3g}. MAE, SSIM, PSNR and LPIPS of kind `prediction` mainly measure this; those of kind "
            "`fitted` do not."
        )
    yield from _too_regular(rows)
    if (pairs := number_of_pairs(rows)) < FEW_PAIRS:
        yield f"{pairs} {'pair is' if pairs == 1 else 'pairs are'} too few for a distribution."


def _too_regular(rows: Sequence[Row]) -> Iterator[str]:
    """Warn if predictions agree in finer detail than their truths."""
    metric = next(each for each in METRICS if each.key == "rfrc_mean")
    prediction, truth = values_of(rows, metric, "prediction"), values_of(rows, metric, "truth")
    if prediction and truth and (finer := np.median(prediction)) < (coarser := np.median(truth)):
        unit = unit_of(metric, rows)
        yield (
            f"The predictions of two images agree in finer detail (rolling FRC, median {finer:.3g} {unit}) "
            f"than two images of the truth ({coarser:.3g} {unit}). This shows how regular the network's "
            "output is, not its resolution: use the agreement with the truth instead."
        )


def number_of_pairs(rows: Sequence[Row]) -> int:
    """Return the number of pairs in the rows."""
    return sum(row.kind == "truth" for row in rows)


def _filter(rivals: Rivals | None) -> dict[str, str]:
    if rivals is None:
        return {}
    return {
        "Best filter": "The best of Gaussian, median, non-local means and total variation by PSNR, at its "
        f"best strength: {rivals}. Tuned on {rivals.tuned_on}."
    }


def _scale(rows: Sequence[Row]) -> str:
    gain, offset = _median_line(rows, "fitted")
    noisy_gain, noisy_offset = _median_line(rows, "noisy")
    return (
        "Kind `prediction` is what the server delivers: with the bundle's own gain, offset and clipping, "
        "and nothing fitted to these truths. For kinds `noisy` and `fitted`, a straight line (gain and "
        "offset by least squares) is fitted to each image's own truth, so their figures are too good. "
        f"Median lines: noisy {noisy_gain:.4g} and {noisy_offset:.4g}; prediction {gain:.4g} and "
        f"{offset:.4g}, where 1 and 0 mean that the bundle's counts have the truth's scale."
    )


def _median_line(rows: Sequence[Row], kind: Kind) -> tuple[float, float]:
    gain, offset = np.median([row.line for row in rows if row.kind == kind and row.line is not None], axis=0)
    return float(gain), float(offset)


def _data_range(rows: Sequence[Row], settings: ScoringSettings) -> str:
    if settings.data_range is not None:
        return f"{settings.data_range:g} counts, as set"
    lowest, highest = min(row.data_range for row in rows), max(row.data_range for row in rows)
    return f"the largest minus the smallest value of each truth ({lowest:g} to {highest:g} counts)"


def _correlated(rows: Sequence[Row]) -> str:
    ways = sorted({row.correlated for row in rows} & {HALVES, RECORDINGS})
    return "here " + " or ".join(ways) if ways else "here there are none"


NONE: Final = "–"
STYLE: Final = """
.wide { overflow-x: auto } th, td { white-space: nowrap } td.text { white-space: normal }
th { border-bottom: 1px solid #888 } .text, th:first-child, td:first-child { text-align: left }
figure { margin: 1em 0 } figcaption { color: #555; font-size: 13px }
.first { font-size: 1.15em; font-weight: 600 }
dt { font-weight: 600 } .warning { background: #fff3cd; border-left: 4px solid #d39e00; padding: 6px 12px }
"""


def render(evaluation: Evaluation) -> str:
    """Return the report as HTML text."""
    bundle, rows = evaluation.bundle, evaluation.rows
    images = number_of_pairs(rows)
    parts = [
        f"<h1>{escape(bundle.name)}: evaluation on {images} {'pair' if images == 1 else 'pairs'}</h1>",
        f'<p class="first">{escape(evaluation.sentence)}</p>',
        f"<p>Bundle <code>{escape(bundle.id)}</code>, weights sha256 <code>{bundle.sha256[:16]}…</code>;"
        f" pairs <code>{escape(evaluation.pairs)}</code>.</p>",
        *(f'<p class="warning">{escape(text)}</p>' for text in warnings(rows)),
        "<h2>Medians</h2>",
        _medians(rows),
        "<h2>Images</h2>",
        *_pictures(evaluation),
        "<h2>Distributions</h2>",
        _distributions(rows),
        "<h2>How the figures were calculated</h2>",
        _definitions(statements(rows, evaluation.settings, evaluation.rivals)),
        "<h2>All images together</h2>",
        _summaries(rows),
        "<h2>Differences between kinds</h2>",
        _differences(rows),
        "<h2>Each image</h2>",
        _images(rows),
        "<h2>Missing figures</h2>",
        _absences(rows),
    ]
    return web_page(f"{bundle.id}: evaluation", parts, style=STYLE)


def _pictures(evaluation: Evaluation) -> Iterable[str]:
    for why, shown in evaluation.shown:
        caption = (
            f"{shown.name}: {why}. A the truth. B the noisy image as recorded. C the prediction, in the "
            f"truth's counts and contrast. D the detail in which {shown.correlated} agree; black where "
            "there is only background, or no such detail. K truth, noisy image and prediction along the "
            "line in A, the latter two after a straight-line fit to the truth."
        )
        yield _picture(draw_pair(shown), caption)


def _distributions(rows: Sequence[Row]) -> str:
    caption = (
        "Each point is an image; the box contains the middle half, its line is the median, and the shape "
        "behind it the density. Brackets: Mann-Whitney U."
    )
    return _picture(draw_distributions(rows, differences(rows)), caption)


def _picture(png: bytes, caption: str) -> str:
    return f"<figure>{picture(png, caption)}<figcaption>{escape(caption)}</figcaption></figure>"


def _definitions(entries: Mapping[str, str]) -> str:
    items = (f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in entries.items())
    return f"<dl>{''.join(items)}</dl>"


def _medians(rows: Sequence[Row]) -> str:
    summaries = summarise(rows)
    kinds = [kind for kind in KINDS if any(each.kind == kind for each in summaries)]
    body = []
    for metric in METRICS:
        found = {each.kind: each for each in summaries if each.metric == metric}
        if found:
            label = _label(metric.title, unit_of(metric, rows))
            body.append([label, metric.better, *(_median(found.get(kind)) for kind in kinds)])
    notes = _definitions({kind: KINDS[kind] for kind in kinds})
    return _table(["median (quartiles)", "better is", *kinds], body) + notes


def _median(summary: Summary | None) -> str:
    if summary is None:
        return NONE
    return f"{summary.median:.4g} ({summary.lower_quartile:.4g} to {summary.upper_quartile:.4g})"


def _summaries(rows: Sequence[Row]) -> str:
    head = ["figure", "kind", "N", "median", "quartiles", "mean", "sd", "Shapiro-Wilk W", "p"]
    body = [
        [
            _label(each.metric.title, each.unit),
            each.kind,
            str(each.n),
            _number(each.median),
            f"{each.lower_quartile:.4g} to {each.upper_quartile:.4g}",
            _number(each.mean),
            _number(each.sd),
            _number(each.shapiro_wilk.statistic),
            _number(each.shapiro_wilk.p),
        ]
        for each in summarise(rows)
    ]
    return _table(head, body, text=(1,))


def _differences(rows: Sequence[Row]) -> str:
    head = ["figure", "between", "Mann-Whitney U", "p", ""]
    body = [
        [
            each.metric.title,
            f"{each.first} and {each.second}",
            _number(each.outcome.statistic),
            _number(each.outcome.p),
            _mark(each.outcome),
        ]
        for each in differences(rows)
    ]
    marks = "<p>n.s.: p ≥ 0.05; *: p &lt; 0.05; **: p &lt; 0.01; ***: p &lt; 0.001.</p>"
    return _table(head, body, text=(1, 4)) + marks


def _mark(outcome: Outcome) -> str:
    return outcome.mark or outcome.why_none or NONE


def _images(rows: Sequence[Row]) -> str:
    metrics = [each for each in METRICS if any(each.key in row.figures for row in rows)]
    units = {each.key: unit_of(each, rows) for each in metrics}
    head = ["image", "day", "kind", *(_label(each.title, units[each.key]) for each in metrics)]
    body = [
        [
            row.image,
            row.day or NONE,
            row.kind,
            *(_number(row.value(each, units[each.key])) for each in metrics),
        ]
        for row in rows
    ]
    return _table(head, body, text=(1, 2))


def _absences(rows: Sequence[Row]) -> str:
    body = [[each.metric.title, each.kind, str(each.images), each.reason] for each in absences(rows)]
    return _table(["figure", "kind", "images", "reason"], body, text=(1, 3)) if body else "<p>None.</p>"


def _table(head: Sequence[str], body: Iterable[Sequence[str]], *, text: Sequence[int] = ()) -> str:
    """Return a table as HTML; the first column, and those in `text`, are aligned left."""

    def cells(tag: str, values: Sequence[str]) -> str:
        return "".join(
            f'<{tag} class="text">{escape(value)}</{tag}>'
            if place in text
            else f"<{tag}>{escape(value)}</{tag}>"
            for place, value in enumerate(values)
        )

    lines = "".join(f"<tr>{cells('td', row)}</tr>\n" for row in body)
    table = f"<table><thead><tr>{cells('th', head)}</tr></thead>\n<tbody>{lines}</tbody></table>"
    return f'<div class="wide">{table}</div>'


def _label(title: str, unit: Unit) -> str:
    return f"{title} / {unit}" if unit else title


def _number(value: float | None) -> str:
    return NONE if value is None else f"{value:.4g}"
