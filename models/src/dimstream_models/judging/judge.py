"""Judges the frames of one plane, in their order."""

from __future__ import annotations

from dataclasses import dataclass, field

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
    _vouched_until: int = -1

    def judge(self, seq: int, evidence: Evidence, criteria: Criteria, *, witness_every: int = 0) -> Judgement:
        """Flag of the next frame of the plane.

        Parameters
        ----------
        seq : int
            Of the frame in its stream.
        witness_every : int
            Frames for which the verdict of a split holds, when it is taken now and then; 0: for its own.
        """
        self._memory.follow(evidence, criteria)
        if evidence.split_ssim is not None and criteria.split is not None:
            agreed = evidence.split_ssim >= criteria.split
            self._vouched_until = seq + max(witness_every, 1) - 1 if agreed else -1
        vouched = seq <= self._vouched_until
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

    def lost(self) -> None:
        """Take note that the plane's frame failed: what follows has nothing before it."""
        self._memory.begin_anew()
