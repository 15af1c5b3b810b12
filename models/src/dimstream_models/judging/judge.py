"""Judges the frames of one plane, in their order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from dimstream_models.judging.criteria import Criteria
from dimstream_models.judging.evidence import Evidence, Judgement
from dimstream_models.judging.memory import PlaneMemory
from dimstream_models.judging.notes import notes_of
from dimstream_models.judging.verdict import verdict_on


@dataclass
class PlaneJudge:
    """Judges the frames of one plane in their order.

    Parameters
    ----------
    suspect_since : int or None
        First frame of the present run of suspect ones.
    """

    suspect_since: int | None = None
    _memory: PlaneMemory = field(default_factory=PlaneMemory)
    _vouched_for: int = 0  # frames, this one included

    def judge(self, seq: int, evidence: Evidence, criteria: Criteria, *, witness_every: int = 0) -> Judgement:
        """Flag of the next frame of the plane.

        Parameters
        ----------
        seq : int
            Of the frame in its stream.
        witness_every : int
            Frames of the plane for which the verdict of a split holds; 0: for its own.
        """
        self._memory.follow(evidence, criteria, split_every=witness_every)
        vouched = self._is_vouched(evidence, criteria, witness_every)
        flag, reason = verdict_on(evidence, criteria, self._memory, vouched=vouched)
        if flag != "suspect":
            self.suspect_since = None
        elif self.suspect_since is None:
            self.suspect_since = seq
        similarity = evidence.similarity
        return Judgement(
            flag=flag,
            reason=reason,
            p_signal=None if similarity is None else criteria.p_signal(similarity),
            p_dark=None if similarity is None else criteria.p_dark(similarity),
            notes=notes_of(evidence, criteria, self._memory, vouched=vouched),
            structure_seen=not self._memory.empty,
        )

    @property
    def not_photons(self) -> str | None:
        """Why the plane's values are no photon counts, as far as is known."""
        return self._memory.counts.not_photons

    def lost(self) -> None:
        """Take note that the plane's frame failed: what follows has nothing before it."""
        self._memory.begin_anew()
        self._vouched_for = 0

    def state(self) -> dict[str, Any]:
        """All that it remembers, as JSON holds it: a judge made of it goes on as this one would."""
        return {
            "suspect_since": self.suspect_since,
            "vouched_for": self._vouched_for,
            "memory": self._memory.state(),
        }

    @classmethod
    def of_state(cls, state: Mapping[str, Any]) -> Self:
        """The judge of which `state` told.

        Raises
        ------
        KeyError
            It is no state of a judge.
        """
        memory = PlaneMemory.of_state(state["memory"])
        return cls(suspect_since=state["suspect_since"], _memory=memory, _vouched_for=state["vouched_for"])

    def _is_vouched(self, evidence: Evidence, criteria: Criteria, witness_every: int) -> bool:
        """Whether the halves of its photons, or of those of a frame shortly before, agreed."""
        self._vouched_for = 0 if evidence.obstacle is not None else max(self._vouched_for - 1, 0)
        if evidence.split_ssim is not None and criteria.split is not None:
            agreed = evidence.split_ssim >= criteria.split
            self._vouched_for = max(witness_every, 1) if agreed else 0
        return self._vouched_for > 0
