"""What is remembered of a plane between its frames, so that one odd frame turns no flag."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Self

from dimstream_models.judging.counts import CountMemory
from dimstream_models.judging.criteria import Criteria
from dimstream_models.judging.evidence import Evidence

WINDOW: Final = 3
"""Frames over which similarities are smoothed, by their median: one bad pair turns no flag."""
UNRELATED: Final = -1.0
"""Similarity of frames that show other structures, whatever their SSIM."""
STRUCTURE_RECOVERY: Final = 2.0
"""Above its threshold the structure score must be by so much until an empty plane is believed again."""
FADED: Final = 1 / 2
"""Of a plane's best structure score: under it the sample bleaches."""


@dataclass
class PlaneMemory:
    """The smoothed state of one plane.

    Parameters
    ----------
    empty : bool
        Whether its raw frames show no more than noise.
    doubted : bool
        Whether its predictions do not repeat themselves.
    returned : bool
        Whether this frame shows structure after one that did not: what was before it says nothing.
    counts : CountMemory
        Whether its values are photon counts.
    """

    empty: bool = False
    doubted: bool = False
    returned: bool = False
    counts: CountMemory = field(default_factory=CountMemory)
    _similarities: deque[float] = field(default_factory=lambda: deque(maxlen=WINDOW))
    _scores: deque[float] = field(default_factory=lambda: deque(maxlen=WINDOW))
    _best_score: float = 0.0

    def follow(self, evidence: Evidence, criteria: Criteria, *, split_every: int = 0) -> None:
        """Bring it up to the next frame."""
        self.counts.follow(evidence, split_every=split_every)
        was_empty = self.empty
        self.empty = not evidence.structure >= self.least_structure(criteria)
        self.returned = was_empty and not self.empty
        self._scores.append(evidence.structure)
        self._best_score = max(self._best_score, _median(self._scores))
        if evidence.obstacle is not None or self.returned:
            self.begin_anew()
        similarity = evidence.similarity
        if similarity is None or criteria.ssim is None or self.returned or evidence.proves_nothing(criteria):
            return
        self._similarities.append(UNRELATED if evidence.is_another(criteria) else similarity)
        self.doubted = self.similarity < (criteria.ssim_recovered if self.doubted else criteria.ssim)

    def begin_anew(self) -> None:
        """Forget what frames were compared with: the next has nothing before it."""
        self._similarities.clear()
        self.doubted = False

    def least_structure(self, criteria: Criteria) -> float:
        """Structure score that a frame needs now to show anything."""
        return criteria.structure + (STRUCTURE_RECOVERY if self.empty else 0.0)

    def is_fading(self, criteria: Criteria) -> bool:
        """Whether the structure score is far below the best that there was."""
        return self._best_score * FADED > max(criteria.structure, _median(self._scores))

    def state(self) -> dict[str, Any]:
        """All of it, as JSON holds it."""
        return {
            "empty": self.empty,
            "doubted": self.doubted,
            "returned": self.returned,
            "similarities": list(self._similarities),
            "scores": list(self._scores),
            "best_score": self._best_score,
            "counts": self.counts.state(),
        }

    @classmethod
    def of_state(cls, state: Mapping[str, Any]) -> Self:
        """The memory of which `state` told."""
        memory = cls(empty=state["empty"], doubted=state["doubted"], returned=state["returned"])
        memory._similarities.extend(state["similarities"])
        memory._scores.extend(state["scores"])
        memory._best_score = state["best_score"]
        memory.counts = CountMemory.of_state(state["counts"])
        return memory

    @property
    def similarity(self) -> float:
        """The smoothed similarity."""
        return _median(self._similarities)

    @property
    def compared(self) -> int:
        """Frames that it is smoothed over."""
        return len(self._similarities)


def _median(values: deque[float]) -> float:
    """The upper median: of two values the larger, so that one bad pair decides nothing."""
    return sorted(values)[len(values) // 2]
