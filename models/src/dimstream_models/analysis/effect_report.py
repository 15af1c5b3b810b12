"""The effects of denoising and segmentation, as a Markdown table and as a picture."""

from __future__ import annotations

import io
from typing import Final

from matplotlib.figure import Figure as Canvas

from dimstream_models.analysis.denoising_effect import DOSES_PH
from dimstream_models.analysis.effects import EVENTS, NOISE_FREE, Effects, is_relative
from dimstream_models.er_figures import FIGURES

TITLES: Final = {name: name.replace("_", " ") for name in EVENTS}
DRAWN: Final = (
    "foreground",
    "tubule_fraction",
    "tubes",
    "sheets",
    "gaps",
    "junctions",
    "degree_3",
    "free_ends",
    "tubule_length",
    "edge_length",
    "ssim",
    "junctions_appeared",
)


def effects_table(effects: Effects) -> str:
    """Return bias and spread of each figure by dose; for counts, lengths and areas in percent of the
    truth."""
    doses = [*(f"{dose:g}" for dose in DOSES_PH), NOISE_FREE]
    heads = [*(f"{dose:g} ph" for dose in DOSES_PH), NOISE_FREE]
    rows = [f"| figure | truth | {' | '.join(heads)} |", "|---" * (2 + len(heads)) + "|"]
    for figure, effect in effects.effects[NOISE_FREE].items():
        cells = [effects.effects[dose][figure].text(relative=is_relative(figure)) for dose in doses]
        rows.append(f"| {title(figure)} | {effect.true:.4g} | {' | '.join(cells)} |")
    return "\n".join(rows)


def title(figure: str) -> str:
    """Return a figure's title, with its unit in px."""
    return TITLES[figure] if figure in TITLES else FIGURES[figure].titled(scaled=False)


def draw_effects(effects: Effects) -> bytes:
    """Return a picture (PNG) of the main figures' bias and spread by dose."""
    canvas = Canvas(figsize=(14, 9), layout="constrained")
    axes = canvas.subplots(3, 4).ravel()
    for ax, figure in zip(axes, DRAWN, strict=True):
        relative = is_relative(figure)
        values = [effects.effects[f"{dose:g}"][figure] for dose in DOSES_PH]
        clean = effects.effects[NOISE_FREE][figure]
        factor = 100 / clean.true if relative and clean.true else 1.0
        ax.axhline(0, color="0.6", linewidth=0.8)
        ax.errorbar(
            DOSES_PH,
            [factor * each.bias for each in values],
            [abs(factor) * each.spread for each in values],
            marker="o",
            capsize=3,
        )
        ax.axhline(factor * clean.bias, color="tab:orange", linestyle="--")
        ax.set_xscale("log")
        ax.set_xticks(DOSES_PH, [f"{dose:g}" for dose in DOSES_PH])
        ax.set_xticks([], minor=True)
        ax.set_title(title(figure).removesuffix(", px"), fontsize=10)
        ax.set_ylabel("found - true, %" if relative else "found - true")
    for ax in axes[-4:]:
        ax.set_xlabel("photons on a tubule's pixel")
    canvas.suptitle(
        "Denoised and segmented against exact labels: mean and deviation over scenes; dashed: noise-free"
    )
    file = io.BytesIO()
    canvas.savefig(file, format="png", dpi=80)
    return file.getvalue()
