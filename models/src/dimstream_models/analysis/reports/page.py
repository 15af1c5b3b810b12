"""The report as one web page: pictures inside, no scripts, readable without help."""

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
    """What the page has of one cell.

    Parameters
    ----------
    figure : bytes
        Figure 3, PNG.
    overlays : tuple of (str, bytes)
        When a frame was taken, and its picture, PNG.
    """

    cell: AnalysedCell
    bias: KnownBias
    figure: bytes
    overlays: tuple[tuple[str, bytes], ...]


def report_page(sections: Sequence[Section]) -> str:
    """Return the report of one cell or several."""
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
    """Return how wrong the figures are known to be, or that nobody knows."""
    if not bias.effects:
        return (
            "How far these figures are from the truth was not measured for these labels: only differences"
            " between cells that were labelled alike can be read."
        )
    example = bias.of("junctions")
    return (
        f"Known error: how far such figures were from the truth on {bias.scenes} simulated scenes, with"
        f" {bias.dose} ph (photons on a tubule's pixel) before they were denoised by {bias.model} and"
        f" labelled in the same way. Behind the junctions stands {example}: the first number is by how much"
        " too many (+) or too few (-) are found on average, the second one by how much single scenes differ"
        " from that (standard deviation). It is in percent of the true value for counts, lengths and areas,"
        " and absolute for shares. No figure was corrected by it."
    )


def events_sentence(bias: KnownBias) -> str:
    """Return what rates and lifetimes are worth."""
    known = ""
    if bias.effects:
        errors = [f"{name.replace('_', ' ')} {bias.effects[name].text(relative=True)}" for name in EVENTS]
        known = f" Known error at {bias.dose} ph: {', '.join(errors)}."
    return (
        "Read these as a comparison between cells that were measured alike, not as true numbers: where the"
        " labels of one frame miss a junction, it ends there and begins again in the next one, so rates of"
        f" junctions come out too high and lifetimes too short.{known}"
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
    yield "<p>Means over all analysed frames, for each cell. What the figures mean stands below.</p>"
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
        "<p>Between each frame and the next one. Born: where none was. Split: next to one that goes on. Lost:"
        " nothing is left. Merged: next to one that goes on.</p>"
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
            f"Lifetimes of {name}: {life.tracks} began during the movie; most outlived what was seen of it."
        )
    seconds = "" if life.median_s is None else f" ({life.median_s:.3g} s)"
    return (
        f"Lifetimes of {name}: of {life.tracks} that began during the movie, half lived"
        f" {life.median_frames:g} frames{seconds} or less."
    )
