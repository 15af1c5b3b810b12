"""Warnings about a bundle, with names and numbers: at the end of an export, and in the model card.

They are derived from the bundle's own records, so every reader of the bundle gets the same warnings.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from dimstream_models.bundle import BundleDraft, Calibration, DimstreamConfig, ScoreCalibration, open_draft
from dimstream_models.training.errors import PoorModel
from dimstream_models.training.evaluation.gains import Margin
from dimstream_models.training.settings.calibration import (
    NOT_STATED,
    PLACEHOLDER_DESCRIPTION,
    PLACEHOLDER_ID,
    PLACEHOLDER_NAME,
)

NEAR_CHANCE: Final = 0.9
"""Area under the ROC curve below which a threshold is called near chance; 0.5 is chance, 1 is perfect."""
SHORTEST_DESCRIPTION: Final = 20  # characters
HEADING: Final = "## Warnings"
_OVER_NOISY, _MARGIN = "_over_noisy_db", "_margin_db"


def warnings(draft: BundleDraft) -> tuple[str, ...]:
    """Return the warnings for users of the bundle, one sentence each; empty if there are none."""
    return (
        *_judging(draft.config),
        *_chance(draft.config),
        *_quality(draft.config.quality),
        *_scale(draft),
        *_placeholders(draft),
    )


def warnings_of(bundle: Path) -> tuple[str, ...]:
    """Return the warnings of a stored bundle.

    Raises
    ------
    BundleError
        When it cannot be read.
    """
    with open_draft(bundle) as draft:
        return warnings(draft)


def refuse(draft: BundleDraft) -> None:
    """Refuse a bundle with warnings.

    Raises
    ------
    PoorModel
        When there are warnings; the message has all of them.
    """
    message = warnings(draft)
    if message:
        lines = "".join(f"\n  {each}" for each in message)
        raise PoorModel(
            f"expected a bundle without warnings (--strict), got one with {len(message)} warnings:"
            f"{lines}\nNothing was written. Correct these, or export without --strict"
        )


def warnings_section(draft: BundleDraft) -> str:
    """Return the card's section; empty without warnings."""
    message = warnings(draft)
    return "\n".join([HEADING, "", *(f"- **{each}**" for each in message)]) if message else ""


def _judging(config: DimstreamConfig) -> Iterator[str]:
    if config.thresholds.ssim is None:
        yield (
            "No frame is judged: there is no threshold for the similarity of adjacent predictions, so every "
            "flag is unjudged. Record a movie of a sample and one without: --signal MOVIE --dark MOVIE."
        )


def _chance(config: DimstreamConfig) -> Iterator[str]:
    records: dict[str, Calibration | ScoreCalibration | None] = {
        "of adjacent predictions (thresholds.ssim)": config.calibration,
        "of the raw frame's structure (thresholds.structure_score)": config.structure_calibration,
        "of split photons (thresholds.split)": config.split_calibration,
    }
    areas = {name: record.auc for name, record in records.items() if record is not None}
    for name, area in areas.items():
        if area < NEAR_CHANCE:
            yield (
                f"The threshold {name} is near chance: it separates a sample from an empty field with an "
                f"area under the curve of {area:.2f}, where 0.5 is chance, 1 is perfect and at least "
                f"{NEAR_CHANCE:g} is expected. Its flags have little meaning: give movies with the dose in "
                "use, or train longer."
            )


def _quality(quality: Mapping[str, float]) -> Iterator[str]:
    over_noisy, over_filter = _margins(quality, _OVER_NOISY), _margins(quality, _MARGIN)
    for name, margin in over_noisy.items():
        yield from _not_better(name, margin, "its own input")
    for name, margin in over_filter.items():
        yield from _not_better(name, margin, f"the best tuned filter{_filter_of(quality, name)}")
    if not over_noisy and not over_filter:
        yield (
            "It is unknown whether it is better than its own input or than a Gaussian filter, because "
            "neither was measured. Use `dimstream-train compare`, and give its file with --quality."
        )


def _not_better(name: str, margin: Margin, other: str) -> Iterator[str]:
    if margin.worse:
        yield f"It is worse than {other} {margin} (PSNR, fitted; {name})."
    elif not margin.better:
        error = "" if margin.error_db is None else f" \u00b1 {margin.error_db:.1f}"
        yield f"It is not better than {other} ({margin.db:+.1f}{error} dB PSNR, fitted; {name})."


def _margins(quality: Mapping[str, float], ending: str) -> dict[str, Margin]:
    """Return the margins of one kind by the name of the images."""
    return {
        key.removesuffix(ending): Margin(value, quality.get(f"{key.removesuffix('_db')}_error_db"), 0)
        for key, value in quality.items()
        if key.endswith(ending)
    }


def _filter_of(quality: Mapping[str, float], name: str) -> str:
    found = (key for key in quality if key.startswith(f"{name}_filter_"))
    key = next(found, None)
    if key is None:
        return ""
    title = key.removeprefix(f"{name}_filter_").replace("_", " ")
    return f" ({title}, {quality[key]:g})"


def _scale(draft: BundleDraft) -> Iterator[str]:
    if draft.config.rescaling is None and (draft.gain, draft.offset) == (1.0, 0.0):
        yield (
            "It has no scale: results are on the network's own scale, not in counts. `dimstream-train "
            "calibrate --pairs` fits one."
        )


def _placeholders(draft: BundleDraft) -> Iterator[str]:
    for what, value in {"name": draft.name, "id": draft.id}.items():
        if value.lower() in (PLACEHOLDER_NAME, PLACEHOLDER_ID):
            yield f"Its {what} is a placeholder, {value!r}: set bundle.{what}."
    message = draft.description.strip()
    if message == PLACEHOLDER_DESCRIPTION or len(message) < SHORTEST_DESCRIPTION:
        yield (
            f"Its description is {'a placeholder' if message else 'empty'}, {message!r}: set"
            " bundle.description to one sentence on what it restores and what it was trained on."
        )
    names = [author.name.strip() for author in draft.authors]
    if not names or any(name.lower() in ("", NOT_STATED, "your name") for name in names):
        yield f"Its authors are not stated ({', '.join(names) or 'none'}): set bundle.authors."
    if draft.licence is None:
        yield "Its licence is not stated, so nobody may pass it on: set bundle.license."
