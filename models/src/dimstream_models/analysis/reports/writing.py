"""Writes a report: one page, and figure 3 of each cell as PNG and PDF."""

from __future__ import annotations

import io
import textwrap
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from matplotlib.backends.backend_pdf import PdfPages
from matplotlib.figure import Figure as Canvas

from dimstream_models.analysis.errors import InvalidResults
from dimstream_models.analysis.reports.captions import captions, flag_sentence, interval_sentence
from dimstream_models.analysis.reports.cell import AnalysedCell
from dimstream_models.analysis.reports.figure_three import as_png, draw_figure, draw_overlay_picture
from dimstream_models.analysis.reports.known_bias import KnownBias, known_bias
from dimstream_models.analysis.reports.page import Section, bias_sentence, report_page
from dimstream_models.analysis.reports.shown_frames import choose_frames, contrast_of, read_frames
from dimstream_models.whole_files import write_whole

PAGE: Final = "report.html"
LINE: Final = 118
"""Most characters in a line of the PDF's captions."""


def write_report(
    cells: Sequence[AnalysedCell],
    folder: Path,
    *,
    dose_ph: float,
    frames: Sequence[int] = (),
    times_min: Sequence[float] = (),
) -> list[Path]:
    """Write `report.html`, and for each cell NAME-figure.png, NAME-figure.pdf and a picture of each shown
    frame.

    Parameters
    ----------
    dose_ph : float
        Photons per pixel on a tubule before denoising; the known error at this dose is printed.
    frames, times_min : sequence
        The frames to show; by default four that are spread over the movie.

    Returns
    -------
    list of Path
        The written files, the page first.

    Raises
    ------
    InvalidMovie, InvalidResults
    """
    if doubles := [name for name, n in Counter(cell.name for cell in cells).items() if n > 1]:
        raise InvalidResults(f"expected folders of different names, got {', '.join(doubles)} more than once")
    folder.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    sections = []
    for cell in cells:
        numbers = choose_frames(cell, frames=frames, times_min=times_min)
        sections.append(
            _write_cell(cell, folder, numbers, known_bias(cell.segmenter, dose_ph=dose_ph), written)
        )
    page = folder / PAGE
    write_whole(page, report_page(sections).encode())
    return [page, *written]


def _write_cell(
    cell: AnalysedCell, folder: Path, numbers: Sequence[int], bias: KnownBias, written: list[Path]
) -> Section:
    shown = read_frames(cell, numbers)
    contrast, axis = contrast_of(shown), cell.time_axis()
    canvas = draw_figure(cell, shown, bias)
    files = {
        f"{cell.name}-figure.png": as_png(canvas),
        f"{cell.name}-figure.pdf": _as_pdf(canvas, cell, bias),
    }
    overlays = []
    for frame in shown:
        png = as_png(draw_overlay_picture(cell, frame, contrast))
        files[f"{cell.name}-frame-{frame.number:05}.png"] = png
        overlays.append((f"{axis.text(frame.number)} (frame {frame.number})", png))
    for name, content in files.items():
        write_whole(folder / name, content)
        written.append(folder / name)
    return Section(cell, bias, files[f"{cell.name}-figure.png"], tuple(overlays))


def _as_pdf(canvas: Canvas, cell: AnalysedCell, bias: KnownBias) -> bytes:
    """Return the figure and, on a second page, its captions."""
    file = io.BytesIO()
    with PdfPages(file, metadata={"Title": f"{cell.name}: what the ER does"}) as pages:
        pages.savefig(canvas, dpi=200)
        pages.savefig(_caption_sheet(cell, bias))
    return file.getvalue()


def _caption_sheet(cell: AnalysedCell, bias: KnownBias) -> Canvas:
    sentences = [flag_sentence(cell), interval_sentence(cell), bias_sentence(bias)]
    paragraphs = [f"{each.letter}  {each.title}. {each.text}" for each in captions(cell)]
    text = "\n\n".join(textwrap.fill(each, LINE) for each in [*sentences, *paragraphs])
    canvas = Canvas(figsize=(12, 15))
    canvas.text(0.06, 0.95, text, fontsize=10.5, va="top", linespacing=1.35)
    return canvas
