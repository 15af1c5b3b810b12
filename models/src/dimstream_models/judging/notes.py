"""What else was seen of a frame, beside its flag."""

from __future__ import annotations

from typing import Final

from dimstream_models.judging.criteria import Criteria
from dimstream_models.judging.evidence import Evidence, Note
from dimstream_models.judging.memory import PlaneMemory

MOVED_PX: Final = 1
MOVED_GAIN: Final = 0.05
"""SSIM that alignment must gain for the note `moved`."""
MOSTLY: Final = 0.5
"""Share of the predicted signal without photons above which the note `unsupported` is given."""


def notes_of(
    evidence: Evidence, criteria: Criteria, memory: PlaneMemory, *, vouched: bool
) -> tuple[Note, ...]:
    """The notes of a frame; what follows from a comparison is left out where there was none."""
    similarity = None if memory.returned else evidence.similarity
    compared = criteria.ssim is not None and similarity is not None
    alike = compared and evidence.is_alike(criteria)
    unlike = compared and (not alike or evidence.is_another(criteria))
    found: list[tuple[Note, bool]] = [
        ("moved", similarity is not None and _has_moved(evidence)),
        ("jump", unlike and evidence.gap is None and not memory.doubted and not memory.empty),
        ("changing", unlike and vouched and not memory.empty),
        ("fixed_pattern", alike and memory.empty),
        ("unsupported", evidence.unsupported > MOSTLY and not memory.empty),
        ("saturated", evidence.saturated > 0),
        ("fading", memory.is_fading(criteria) and not memory.empty),
        ("interval", evidence.is_slow(criteria)),
        ("not_photons", memory.counts.not_photons is not None),
        ("doubtful_counts", evidence.doubt is not None and memory.counts.not_photons is None),
        ("clipped", evidence.clipped > 0),
        ("outlier_pixel", evidence.outlier),
    ]
    return tuple(note for note, seen in found if seen)


def _has_moved(evidence: Evidence) -> bool:
    moved = max(abs(part) for part in evidence.shift) >= MOVED_PX
    gained = (evidence.ssim_aligned or -1.0) - (evidence.ssim or 0.0)
    return moved and gained >= MOVED_GAIN
