"""What is remembered between the frames of a plane, so that a single odd frame does not change the flag."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Self

from dimstream_models.judging.count_history import CountHistory
from dimstream_models.judging.criteria import Criteria
from dimstream_models.judging.frame_metrics import FrameMetrics

WINDOW: Final = 3
"""Similarities are smoothed by their median over this many frames, so that one bad pair does not change the
flag."""
UNRELATED: Final = -1.0
"""Similarity that is used for frames that show different structures, whatever their SSIM."""
STRUCTURE_RECOVERY: Final = 2.0
"""How far the structure score must be above its threshold before a plane without structure is trusted
again."""
FADED: Final = 1 / 2
"""A sample fades when its structure score is below this share of the plane's best."""


@dataclass
class PlaneHistory:
    """The smoothed state of one plane.

    Parameters
    ----------
    no_structure : bool
        Whether its raw frames show only noise.
    low_similarity : bool
        Whether its predictions differ from frame to frame.
    reappeared : bool
        Whether this frame shows structure after one without: then the frame before is no reference.
    counts : CountHistory
        Whether its values are photon counts.
    """

    no_structure: bool = False
    low_similarity: bool = False
    reappeared: bool = False
    counts: CountHistory = field(default_factory=CountHistory)
    _similarities: deque[float] = field(default_factory=lambda: deque(maxlen=WINDOW))
    _scores: deque[float] = field(default_factory=lambda: deque(maxlen=WINDOW))
    _best_score: float = 0.0

    def follow(self, metrics: FrameMetrics, criteria: Criteria, *, split_every: int = 0) -> None:
        """Update it with the next frame."""
        self.counts.follow(metrics, split_every=split_every)
        had_no_structure = self.no_structure
        self.no_structure = not metrics.structure_score >= self.least_structure(criteria)
        self.reappeared = had_no_structure and not self.no_structure
        self._scores.append(metrics.structure_score)
        self._best_score = max(self._best_score, _median(self._scores))
        if metrics.not_comparable is not None or self.reappeared:
            self.restart()
        similarity = metrics.similarity
        if similarity is None or criteria.ssim is None or self.reappeared or metrics.proves_nothing(criteria):
            return
        self._similarities.append(UNRELATED if metrics.is_another(criteria) else similarity)
        self.low_similarity = self.similarity < (
            criteria.ssim_recovered if self.low_similarity else criteria.ssim
        )

    def restart(self) -> None:
        """Forget the frames to compare with: the next frame has none before it."""
        self._similarities.clear()
        self.low_similarity = False

    def least_structure(self, criteria: Criteria) -> float:
        """Structure score that a frame now needs to count as structure."""
        return criteria.structure_score + (STRUCTURE_RECOVERY if self.no_structure else 0.0)

    def is_fading(self, criteria: Criteria) -> bool:
        """Whether the structure score is far below the best so far."""
        return self._best_score * FADED > max(criteria.structure_score, _median(self._scores))

    def state(self) -> dict[str, Any]:
        """Return the whole state as JSON values."""
        return {
            "no_structure": self.no_structure,
            "low_similarity": self.low_similarity,
            "reappeared": self.reappeared,
            "similarities": list(self._similarities),
            "scores": list(self._scores),
            "best_score": self._best_score,
            "counts": self.counts.state(),
        }

    @classmethod
    def of_state(cls, state: Mapping[str, Any]) -> Self:
        """Return the history that `state` describes."""
        history = cls(
            no_structure=state["no_structure"],
            low_similarity=state["low_similarity"],
            reappeared=state["reappeared"],
        )
        history._similarities.extend(state["similarities"])
        history._scores.extend(state["scores"])
        history._best_score = state["best_score"]
        history.counts = CountHistory.of_state(state["counts"])
        return history

    @property
    def similarity(self) -> float:
        """The smoothed similarity."""
        return _median(self._similarities)

    @property
    def compared(self) -> int:
        """Number of frames over which it is smoothed."""
        return len(self._similarities)


def _median(values: deque[float]) -> float:
    """The upper median: of two values the larger one, so that one bad pair decides nothing."""
    return sorted(values)[len(values) // 2]
