"""The report as one web page with its pictures inside, and without scripts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

from dimstream_models.analysis.effects import EVENTS
from dimstream_models.analysis.reports.captions import captions, flag_sentence, interval_sentence
from dimstream_models.analysis.reports.cell import AnalysedCell
from dimstream_models.analysis.reports.known_bias import KnownBias
from dimstream_models.analysis.reports.panels import mean_text
from dimstream_models.analysis.summary import Lifetimes
from dimstream_models.analysis.summary_text import rate_text
from dimstream_models.er_figures import FIGURES
from dimstream_models.html_page import picture, web_page

STYLE: Final = """
body { max-width: 75em } .note { color: #555 } td.text, th.text { text-align: left }
.captions p { margin: 0.4em 0 } .bias { color: #555; font-size: 13px }
table { margin: 1em 0 }
"""
TABLE: Final = (
    "foreground",
    "tubule_fraction",
    "sheet_fraction",
    "tubes",
    "tubes_area",
    "sheets",
    "sheets_area",
    "gaps",
    "gaps_area",
    "free_ends",
    "ends_at_sheets",
    "junctions",
    "degree_3",
    "degree_4",
    "junction_density",
    "ernet_degree_1",
    "ernet_degree_2",
    "ernet_degree_3",
    "tubule_length",
    "edge_length",
    "ssim",
)


@dataclass(frozen=True)
class Section:
    """The pictures of one cell on the page.

    Parameters
    ----------
    figure : bytes
        Figure 3, PNG.
    overlays : tuple of (str, bytes)
        Time of a frame, and its picture, PNG.
    """

    cell: AnalysedCell
    bias: KnownBias
    figure: bytes
    overlays: tuple[tuple[str, bytes], ...]


def report_page(sections: Sequence[Section]) -> str:
    """Return the report of one or several cells as HTML."""
    parts = ["<h1>What the ER does</h1>", *_means_table(sections)]
    for section in sections:
        parts += _cell_parts(section)
    return web_page("What the ER does", parts, style=STYLE)


def _cell_parts(section: Section) -> Iterator[str]:
    cell, bias = section.cell, section.bias
    yield f"<h2>{escape(cell.name)}</h2>"
    for sentence in (_what(cell), flag_sentence(cell), interval_sentence(cell), bias_sentence(bias)):
        yield f"<p>{escape(sentence)}</p>"
    yield picture(section.figure, f"figure 3 of {cell.name}: frames, overlays and figures over time")
    yield '<div class="captions">'
    for caption in captions(cell):
        yield f"<p><b>{caption.letter} {escape(caption.title)}.</b> {escape(caption.text)}</p>"
        if caption.figures and bias.effects:
            yield f'<p class="bias">{escape(bias.line(caption.figures))}</p>'
    yield "</div>"
    yield f"<h3>{escape(cell.name)}: rates and lifetimes</h3>"
    yield from _rates(cell, bias)
    yield f"<h3>{escape(cell.name)}: frames, and what was found in them</h3>"
    for when, png in section.overlays:
        yield f"<p>{escape(when)}</p>"
        yield picture(png, f"denoised frame of {cell.name} at {when}, and its overlay")


def bias_sentence(bias: KnownBias) -> str:
    """Return the known error of the figures, or a statement that it is unknown."""
    if not bias.effects:
        return (
            "The error of these figures was not measured for these labels: use them only to compare cells "
            "that were labelled in the same way."
        )
    example = bias.of("junctions")
    return (
        f"Known error: the error of these figures on {bias.scenes} simulated scenes with {bias.dose} ph "
        f"(photons per pixel on a tubule), which were denoised by {bias.model} and labelled in the same "
        f"way. For example, junctions have {example}: on average, the first number too many (+) or too few "
        "(-) are found; the second number is the standard deviation between scenes. Errors are in percent "
        "of the true value for counts, lengths and areas, and absolute for shares. No figure was corrected "
        "by them."
    )


def events_sentence(bias: KnownBias) -> str:
    """Return how reliable rates and lifetimes are."""
    known = ""
    if bias.effects:
        errors = [f"{name.replace('_', ' ')} {bias.effects[name].text(relative=True)}" for name in EVENTS]
        known = f" Known error at {bias.dose} ph: {', '.join(errors)}."
    return (
        "Use these only to compare cells that were measured in the same way, not as true numbers. If the "
        "labels of one frame miss a junction, it ends there and begins again in the next frame. So rates of "
        f"junctions are too high and lifetimes too short.{known}"
    )


def _what(cell: AnalysedCell) -> str:
    size = "of unknown size" if cell.pixel_um is None else f"of {cell.pixel_um * 1e3:.4g} nm"
    axis = cell.time_axis()
    span = "" if axis.unit == "frame" or not len(cell) else f" over {axis.text(len(cell) - 1)}"
    return (
        f"{cell.analysed} of {len(cell)} frames{span} were analysed, with pixels {size}; {cell.pairs} could"
        f" be compared with the frame before. Labels were made by: {cell.labels}."
    )


def _means_table(sections: Sequence[Section]) -> Iterator[str]:
    yield "<p>Means over all analysed frames, for each cell. The figures are explained below.</p>"
    yield '<table><tr><th class="text">figure</th>'
    for section in sections:
        yield f"<th>{escape(section.cell.name)}</th>"
    bias = sections[0].bias
    if bias.effects:
        yield f"<th>known error at {escape(bias.dose)} ph</th>"
    yield "</tr>"
    for name in TABLE:
        cells = "".join(f"<td>{escape(mean_text(each.cell.mean(name)))}</td>" for each in sections)
        known = f"<td>{escape(bias.of(name))}</td>" if bias.effects else ""
        titles = {FIGURES[name].titled(scaled=each.cell.scaled) for each in sections}
        yield f'<tr><td class="text">{escape(" / ".join(sorted(titles)))}</td>{cells}{known}</tr>'
    yield "</table>"


def _rates(cell: AnalysedCell, bias: KnownBias) -> Iterator[str]:
    yield (
        "<p>Events between each frame and the next one. Born: there was none before. Split: next to one "
        "that continues. Lost: nothing is left. Merged: next to one that continues.</p>"
    )
    yield '<table><tr><th class="text">events</th><th>mean (95 % interval)</th></tr>'
    for name, mean in cell.rates.items():
        text = rate_text(name)
        yield f'<tr><td class="text">{escape(text)}</td><td>{escape(mean_text(mean))}</td></tr>'
    yield "</table>"
    yield f"<p>{escape(events_sentence(bias))}</p>"
    for name, life in cell.lifetimes.items():
        yield f"<p>{escape(_life(name, life))}</p>"


def _life(name: str, life: Lifetimes) -> str:
    if life.median_frames is None:
        return (
            f"Lifetimes of {name}: {life.tracks} began during the movie; more than half were still there "
            "when they were last observed."
        )
    seconds = "" if life.median_s is None else f" ({life.median_s:.3g} s)"
    return (
        f"Lifetimes of {name}: of {life.tracks} that began during the movie, half lived"
        f" {life.median_frames:g} frames{seconds} or less."
    )
