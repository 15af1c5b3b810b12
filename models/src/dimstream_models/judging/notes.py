"""Notes on a frame: further observations next to its flag."""

from __future__ import annotations

from typing import Final

from dimstream_models.judging.criteria import Criteria
from dimstream_models.judging.frame_metrics import FrameMetrics, Note
from dimstream_models.judging.plane_history import PlaneHistory

MOVED_PX: Final = 1
MOVED_GAIN: Final = 0.05
"""Least gain in SSIM by alignment for the note `moved`."""
MOSTLY: Final = 0.5
"""Share of the predicted signal without photons above which a frame gets the note `unsupported`."""


def notes_of(
    metrics: FrameMetrics, criteria: Criteria, history: PlaneHistory, *, confirmed: bool
) -> tuple[Note, ...]:
    """Return the notes of a frame; without a comparison, notes that need one are left out."""
    similarity = None if history.reappeared else metrics.similarity
    compared = criteria.ssim is not None and similarity is not None
    alike = compared and metrics.is_alike(criteria)
    unlike = compared and (not alike or metrics.is_another(criteria))
    found: list[tuple[Note, bool]] = [
        ("moved", similarity is not None and _has_moved(metrics)),
        ("jump", unlike and metrics.gap is None and not history.low_similarity and not history.no_structure),
        ("changing", unlike and confirmed and not history.no_structure),
        ("fixed_pattern", alike and history.no_structure),
        ("unsupported", metrics.unsupported_fraction > MOSTLY and not history.no_structure),
        ("saturated", metrics.saturated > 0),
        ("fading", history.is_fading(criteria) and not history.no_structure),
        ("interval", metrics.is_slow(criteria)),
        ("pixel_size", metrics.has_strange_pixels(criteria)),
        ("not_photons", history.counts.not_photons is not None),
        ("doubtful_counts", metrics.doubt is not None and history.counts.not_photons is None),
        ("clipped", metrics.clipped > 0),
        ("outlier_pixel", metrics.outlier),
    ]
    return tuple(note for note, seen in found if seen)


def _has_moved(metrics: FrameMetrics) -> bool:
    moved = max(abs(part) for part in metrics.shift) >= MOVED_PX
    gained = (metrics.ssim_aligned or -1.0) - (metrics.ssim or 0.0)
    return moved and gained >= MOVED_GAIN
