"""The page on a search: one HTML file that needs nothing else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Final

from dimstream_models.training.html_page import picture, web_page
from dimstream_models.training.pairs.prepared import Prepared
from dimstream_models.training.search.ranking import Scored
from dimstream_models.training.search.space import PLACES
from dimstream_models.training.settings import Recipe

CAPTIONS: Final = {
    "knobs.png": "Total score of each trial against each knob; lines: medians; crosses: failed trials.",
    "losses.png": "Validation loss of each trial, coloured by its total score.",
    "predictions.png": "The brightest validation field: noisy, as each of the best restores it, its truth.",
}
HEAD: Final = ("", *PLACES, "SSIM", "MAE, counts", "resolution, px", "resolution, nm", "total score", "run")
SCORING: Final = (
    "SSIM and MAE are means over the validation fields, the resolution (decorrelation analysis) is their"
    " median. Each is scaled over the runs of its kind that succeeded, 0 the worst and 1 the best; the total"
    " score is the mean of the three. A run without a resolution has 0 for it. The test set took no part."
)


def render(
    recipe: Recipe,
    screened: Sequence[Scored],
    retrained: Sequence[Scored],
    prepared: Prepared,
    pictures: Mapping[str, bytes],
) -> str:
    """Return the page as HTML text.

    Parameters
    ----------
    recipe : Recipe
        What was searched.
    screened, retrained : sequences of Scored
        Best first.
    prepared : Prepared
        The data, without the test set.
    pictures : mapping of str to bytes
        PNG by file name.
    """
    search, succeeded = recipe.search, sum(each.score is not None for each in screened)
    training, validation = len(prepared.of("training")), len(prepared.of("validation"))
    patches = "all patches" if search.instances is None else f"at most {search.instances} patches"
    body = [
        f"<h1>Search for {escape(recipe.bundle.id)}</h1>",
        f"<p>{len(screened)} trials ({search.sampler}) of {search.epochs} epochs on {patches} of {training}"
        f" training fields, judged on {validation} validation fields; {succeeded} succeeded. Data sha256"
        f" {prepared.sha256[:16]}.</p>",
        f"<p>{escape(SCORING)}</p>",
        "<h2>The best, trained to convergence on everything</h2>",
        _table(retrained, prepared.pixel_size_nm),
        "<h2>Ten best trials</h2>",
        _table(screened[:10], prepared.pixel_size_nm),
        _failures(screened),
        *(_picture(name, content) for name, content in pictures.items()),
    ]
    return web_page(f"Search for {recipe.bundle.id}", body)


def _table(runs: Sequence[Scored], pixel_size_nm: float | None) -> str:
    rows = [_line("th", HEAD)]
    rows += [_line("td", _cells(place, run, pixel_size_nm)) for place, run in enumerate(runs, 1)]
    return f"<table>{''.join(rows)}</table>" if runs else "<p>None.</p>"


def _cells(place: int, run: Scored, pixel_size_nm: float | None) -> list[str]:
    knobs = [str(run.trial.setting[knob]) for knob in PLACES]
    figures = run.outcome.figures if run.outcome else None
    if figures is None or run.score is None:
        return [str(place), *knobs, "failed", *[""] * 4, run.run.name]
    length = figures.resolution_px
    lengths = ["none" if length is None else f"{length:.2f}"]
    lengths += ["" if length is None or pixel_size_nm is None else f"{length * pixel_size_nm:.0f}"]
    numbers = [f"{figures.ssim:.4f}", f"{figures.mae:.4g}", *lengths, f"{run.score.total:.3f}"]
    return [str(place), *knobs, *numbers, f"{run.run.parent.name}/{run.run.name}"]


def _failures(runs: Sequence[Scored]) -> str:
    reasons = Counter(run.outcome.reason for run in runs if run.outcome and run.outcome.reason)
    if not reasons:
        return ""
    items = "".join(f"<li>{count}: {escape(str(reason))}</li>" for reason, count in reasons.most_common(10))
    return f"<h2>Why {reasons.total()} trials failed</h2><ul>{items}</ul>"


def _line(tag: str, cells: Iterable[str]) -> str:
    return f"<tr>{''.join(f'<{tag}>{escape(cell)}</{tag}>' for cell in cells)}</tr>"


def _picture(name: str, content: bytes) -> str:
    return f"<h2>{CAPTIONS[name]}</h2>{picture(content, CAPTIONS[name])}"
