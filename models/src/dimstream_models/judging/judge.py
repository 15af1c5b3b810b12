"""The judge of one plane: decides the flags of its frames in order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from dimstream_models.judging.criteria import Criteria
from dimstream_models.judging.flag_decision import decide_flag
from dimstream_models.judging.forecast import Decline
from dimstream_models.judging.frame_metrics import FlagDecision, FrameMetrics
from dimstream_models.judging.notes import notes_of
from dimstream_models.judging.plane_history import PlaneHistory


@dataclass
class PlaneJudge:
    """Decides the flags of one plane's frames, in order.

    Parameters
    ----------
    suspect_since : int or None
        First frame of the present run of suspect frames.
    """

    suspect_since: int | None = None
    _history: PlaneHistory = field(default_factory=PlaneHistory)
    _confirmed_for: int = 0  # frames, this one included
    _decline: Decline = field(default_factory=Decline)

    def judge(
        self, seq: int, metrics: FrameMetrics, criteria: Criteria, *, split_every: int = 0
    ) -> FlagDecision:
        """Return the decision on the next frame of the plane.

        Parameters
        ----------
        seq : int
            Number of the frame in its stream.
        split_every : int
            Number of the plane's frames for which the result of a split holds; 0: for its own frame
            only.
        """
        self._history.follow(metrics, criteria, split_every=split_every)
        self._decline.follow(metrics.structure_score, metrics.light, steps=metrics.steps)
        confirmed = self._is_confirmed(metrics, criteria, split_every)
        flag, reason = decide_flag(metrics, criteria, self._history, confirmed=confirmed)
        if flag != "suspect":
            self.suspect_since = None
        elif self.suspect_since is None:
            self.suspect_since = seq
        similarity = metrics.similarity
        return FlagDecision(
            flag=flag,
            reason=reason,
            p_signal=None if similarity is None else criteria.p_signal(similarity),
            p_dark=None if similarity is None else criteria.p_dark(similarity),
            notes=notes_of(metrics, criteria, self._history, confirmed=confirmed),
            structure_seen=not self._history.no_structure,
            left=None if flag == "suspect" else self._decline.frames_left(criteria.structure_score),
        )

    @property
    def not_photons(self) -> str | None:
        """Why the plane's values are not photon counts, as far as is known."""
        return self._history.counts.not_photons

    def lost(self) -> None:
        """Note that a frame of the plane failed: the next one has no frame before it."""
        self._history.restart()
        self._confirmed_for = 0

    def state(self) -> dict[str, Any]:
        """Return its whole state as JSON values; a judge made from it continues where this one stopped."""
        return {
            "suspect_since": self.suspect_since,
            "confirmed_for": self._confirmed_for,
            "history": self._history.state(),
            "decline": self._decline.state(),
        }

    @classmethod
    def of_state(cls, state: Mapping[str, Any]) -> Self:
        """Return the judge that `state` describes.

        Raises
        ------
        KeyError
            When `state` is not the state of a judge.
        """
        history = PlaneHistory.of_state(state["history"])
        return cls(
            suspect_since=state["suspect_since"],
            _history=history,
            _confirmed_for=state["confirmed_for"],
            _decline=Decline.of_state(state["decline"]),
        )

    def _is_confirmed(self, metrics: FrameMetrics, criteria: Criteria, split_every: int) -> bool:
        """Whether the halves of its photons, or those of a frame shortly before, agreed."""
        self._confirmed_for = 0 if metrics.not_comparable is not None else max(self._confirmed_for - 1, 0)
        if metrics.split_ssim is not None and criteria.split is not None:
            agreed = metrics.split_ssim >= criteria.split
            self._confirmed_for = max(split_every, 1) if agreed else 0
        return self._confirmed_for > 0
