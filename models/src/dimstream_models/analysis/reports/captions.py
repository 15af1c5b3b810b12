"""The caption of each panel for readers who do not know the program, with the figures of the cell."""

from __future__ import annotations

from dataclasses import dataclass

from dimstream_models.analysis.reports.cell import AnalysedCell
from dimstream_models.analysis.reports.panels import mean_text


@dataclass(frozen=True)
class Caption:
    """The caption of one panel.

    Parameters
    ----------
    letter, title, text : str
    figures : tuple of str
        Figures that it describes.
    """

    letter: str
    title: str
    text: str
    figures: tuple[str, ...] = ()


def captions(cell: AnalysedCell) -> list[Caption]:
    """Return the captions of figure 3 for one cell."""
    of_cell = [_frames(cell), _kinds(cell), _nodes(cell), *_pieces(cell), _foreground(cell), _ssim(cell)]
    return [*sorted(of_cell, key=lambda caption: caption.letter), _stays()]


def flag_sentence(cell: AnalysedCell) -> str:
    """Return how many frames were not trusted, and how they were treated."""
    counts: dict[str, int] = {}
    for span in cell.flag_spans():
        counts[span.flag] = counts.get(span.flag, 0) + span.last - span.first + 1
    if not any(cell.frames["flag"]):
        return "The movie has no flags: every frame was analysed, and it is unknown which can be trusted."
    if not counts:
        return "Every frame has the flag ok."
    said = ", ".join(f"{n} {flag}" for flag, n in counts.items())
    out = sum(cell.left_out.values())
    treated = f"{out} of these were left out of all figures" if out else "they were analysed nevertheless"
    return (
        f"Flags other than ok: {said} of {len(cell)} frames; {treated}. They are shaded: red where the"
        " denoised image cannot be trusted (suspect), grey where it could not be judged (unjudged), violet"
        " where there is no result."
    )


def interval_sentence(cell: AnalysedCell) -> str:
    """Return the meaning of the brackets after a mean."""
    known = any(mean.low is not None for mean in cell.means.values())
    if not known:
        return (
            "No intervals are given: successive frames are correlated, and the movie is worth fewer than 20 "
            "independent frames."
        )
    return (
        "In brackets: the 95 % confidence interval of the mean of this movie (moving-block bootstrap, which "
        "accounts for the correlation of successive frames). It holds for this cell only; for a population, "
        "measure several cells. Without a bracket, too few frames are independent."
    )


def _said(cell: AnalysedCell, figure: str) -> str:
    return mean_text(cell.mean(figure))


def _frames(cell: AnalysedCell) -> Caption:
    scale = (
        "the bar is the scale" if cell.scaled else "there is no scale bar, because the pixel size is unknown"
    )
    return Caption(
        "A",
        "Frames",
        "Denoised frames at several times, and the same frames with the structures found in them. All have "
        f"the same contrast; {scale}. Tubules are blue, sheets are yellow. The white line is the skeleton, "
        "the middle of the tubules. Round green marks are free ends; square ones are ends that touch a "
        "sheet or the border of the frame. Pink marks are junctions of three tubules, red ones of four or "
        "more.",
    )


def _kinds(cell: AnalysedCell) -> Caption:
    return Caption(
        "B",
        "Tubules and sheets",
        f"Shares of the ER's pixels that are tubules: {_said(cell, 'tubule_fraction')}, and sheets: "
        f"{_said(cell, 'sheet_fraction')}; their sum is 1. What counts as a sheet depends on the segmenter "
        "and on the pixel size: compare only cells that were labelled in the same way.",
        ("tubule_fraction", "sheet_fraction"),
    )


def _nodes(cell: AnalysedCell) -> Caption:
    return Caption(
        "C",
        "Nodes of the network",
        "Left: how many tubules meet at a node, on average over frames; thin lines are the standard"
        " deviation over frames. Blue bars count as ERnet does: a tubule that reaches a sheet is a one-way"
        " node there. Pink bars are corrected for branches and junctions that thinning makes, and count"
        " only free ends as 1. In a frame there are, on average, junctions of three tubules and more:"
        f" {_said(cell, 'junctions')}; free ends: {_said(cell, 'free_ends')}; ends at a sheet:"
        f" {_said(cell, 'ends_at_sheets')}; ends at the border: {_said(cell, 'ends_at_border')}."
        " Right: the share of one-, two- and three-way nodes over time, counted as ERnet does.",
        ("junctions", "degree_3", "degree_4", "free_ends", "ernet_degree_1", "ernet_degree_3"),
    )


def _pieces(cell: AnalysedCell) -> list[Caption]:
    unit = "µm²" if cell.scaled else "px²"
    number = Caption(
        "D",
        "Pieces",
        f"How many connected pieces a frame has, of tubules: {_said(cell, 'tubes')}, of sheets:"
        f" {_said(cell, 'sheets')}, and gaps: {_said(cell, 'gaps')}. A gap is background that the ER"
        " encloses on all sides. A single break in a tubule changes these numbers, so use them only to "
        "compare cells that were measured in the same way.",
        ("tubes", "sheets", "gaps"),
    )
    areas = ", ".join(f"{name} {_said(cell, f'{name}_area')}" for name in ("tubes", "sheets", "gaps"))
    size = Caption(
        "G",
        "Size of pieces",
        f"Their mean area in {unit}: {areas}. The curve stops where a frame has no such piece.",
        ("tubes_area", "sheets_area", "gaps_area"),
    )
    return [number, size]


def _foreground(cell: AnalysedCell) -> Caption:
    return Caption(
        "E",
        "Foreground",
        f"Share of the frame that is ER: {_said(cell, 'foreground')}. It also falls when the cell leaves "
        "the frame.",
        ("foreground",),
    )


def _ssim(cell: AnalysedCell) -> Caption:
    return Caption(
        "F",
        "Likeness of frames",
        f"Structural similarity (SSIM) of each frame with the one before: {_said(cell, 'ssim')}. 1 means"
        " that nothing changed. It falls when the ER moves more, but also when there is less light. So a "
        "slow fall while the sample bleaches does not show that the ER has changed.",
        ("ssim",),
    )


def _stays() -> Caption:
    return Caption(
        "H",
        "Where the ER stays",
        "Share of the analysed frames in which each pixel was ER: in bright places the ER stayed, in dark "
        "ones it was only for a short time.",
    )
