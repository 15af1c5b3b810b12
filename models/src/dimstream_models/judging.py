"""Whether a prediction can be believed: the flag of a frame, from all that speaks for and against it.

One `PlaneJudge` follows one (channel, z, position) of a stream. The same code flags frames in the server
and is put to the test by `dimstream-train audit`. `docs/flags.md` explains the rules to the people who use
them.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, Self

from dimstream_models.bundle import Bundle, Calibration

FlagName = Literal["ok", "suspect", "unjudged"]
Note = Literal["moved", "jump", "changing", "fixed_pattern", "unsupported", "saturated", "fading", "interval"]

WINDOW: Final = 3
"""Frames over which similarities are smoothed, by their median: one bad pair turns no flag."""
FIVE_SIGMA: Final = 5.0
"""Structure score under which a frame shows no more than noise, where the bundle names no other."""
STRUCTURE_RECOVERY: Final = 2.0
"""Above its threshold the structure score must be by so much until a suspect plane is believed again."""
SSIM_RECOVERY: Final = 0.1
"""Of the way from the threshold to the calibration's 5 % quantile of signal, that SSIM must be above it
then."""
MOVED_PX: Final = 1
MOVED_GAIN: Final = 0.05
"""SSIM that alignment must gain for the note `moved`."""
SATURATED_MAX: Final = 0.01
"""Share of saturated pixels above which a frame is suspect."""
MOSTLY: Final = 0.5
"""Share of the predicted signal without photons above which the note `unsupported` is given."""
FADED: Final = 1 / 2
"""Of a plane's best structure score: under it the note `fading` says that the sample bleaches."""
LONG_INTERVAL: Final = 3.0
"""Times the calibration's frame interval: from there on, low SSIM may be motion."""


@dataclass(frozen=True)
class Distribution:
    """A calibration's distribution of SSIM, known by its quantiles.

    Parameters
    ----------
    shares, values : tuple of float
        Rising quantiles, 0 to 1, and the SSIM at each.
    pairs : int
        That it was measured on; no probability below 1 / (pairs + 1) is claimed.
    """

    shares: tuple[float, ...]
    values: tuple[float, ...]
    pairs: int

    @classmethod
    def of(cls, quantiles: Mapping[str, float], pairs: int) -> Self:
        """From a bundle's record."""
        ordered = sorted((float(share), value) for share, value in quantiles.items())
        return cls(tuple(share for share, _ in ordered), tuple(value for _, value in ordered), pairs)

    def at_most(self, value: float) -> float:
        """Probability of a value at most this."""
        return self._bounded(self._share_below(value))

    def at_least(self, value: float) -> float:
        """Probability of a value at least this."""
        return self._bounded(1 - self._share_below(value))

    def _share_below(self, value: float) -> float:
        if value <= self.values[0]:
            return 0.0
        for (low, high), (below, above) in zip(
            zip(self.values, self.values[1:], strict=False),
            zip(self.shares, self.shares[1:], strict=False),
            strict=True,
        ):
            if value < high:
                return below + (above - below) * (value - low) / (high - low)
        return 1.0

    def _bounded(self, probability: float) -> float:
        return min(max(probability, 1 / (self.pairs + 1)), 1.0)


@dataclass(frozen=True)
class Criteria:
    """What frames are judged by; from a bundle, with what a stream has changed of it.

    Parameters
    ----------
    ssim : float or None
        Smoothed similarity below it is suspect; None: predictions cannot be judged.
    structure : float
        Frames whose structure score is below it show nothing, in standard errors.
    split : float or None
        SSIM of the predictions of both halves of a frame's photons below it is suspect; None: not judged
        by it.
    background_max : float
        Of the window classes; for the reason.
    """

    ssim: float | None
    structure: float = FIVE_SIGMA
    split: float | None = None
    background_max: float = 5.0
    signal: Distribution | None = None
    dark: Distribution | None = None
    frame_interval_s: float | None = None

    @classmethod
    def of(
        cls,
        bundle: Bundle,
        *,
        ssim: float | None,
        structure: float,
        split: float | None,
        background_max: float,
    ) -> Self:
        """With the calibration record of a bundle."""
        record = None if bundle.config is None else bundle.config.calibration
        return cls(
            ssim=ssim,
            structure=structure,
            split=split,
            background_max=background_max,
            signal=None if record is None else _signal(record),
            dark=None if record is None else Distribution.of(record.dark_quantiles, record.dark_pairs),
            frame_interval_s=None if record is None else record.frame_interval_s,
        )

    @property
    def ssim_recovered(self) -> float:
        """Smoothed similarity from which a suspect plane is believed again."""
        assert self.ssim is not None  # nothing is suspect of it otherwise
        if self.signal is None:
            return self.ssim
        usual = dict(zip(self.signal.shares, self.signal.values, strict=True)).get(0.05, self.ssim)
        return self.ssim + SSIM_RECOVERY * max(usual - self.ssim, 0.0)


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """All that was measured of one frame.

    Parameters
    ----------
    obstacle : str or None
        Why there is no comparison with the frame before; then `ssim` and `ssim_aligned` are not looked at.
    ssim, ssim_aligned : float or None
        With the plane's previous prediction, as they lie and after `shift` (rows, columns; px) was taken out.
    minimum, maximum, background, structure : float
        Of the raw frame; `background` is the share of its pixels in that class.
    saturated : float
        Share of its pixels that are saturated.
    unsupported : float
        Share of its predicted signal that no photons support.
    split_ssim : float or None
        Of the predictions of both halves of its photons; None when they were not split.
    frame_interval_s : float or None
        Seconds between time points; None when unknown.
    """

    obstacle: str | None
    ssim: float | None = None
    ssim_aligned: float | None = None
    shift: tuple[int, int] = (0, 0)
    minimum: float
    maximum: float
    background: float
    structure: float
    saturated: float = 0.0
    unsupported: float = 0.0
    split_ssim: float | None = None
    frame_interval_s: float | None = None

    @property
    def similarity(self) -> float | None:
        """The better SSIM of both; None when nothing was compared, or it is not a number."""
        known = [one for one in (self.ssim, self.ssim_aligned) if one is not None and math.isfinite(one)]
        return max(known) if known and self.obstacle is None else None


@dataclass(frozen=True)
class Judgement:
    """Flag of one frame; `reason` is None when it is "ok".

    Parameters
    ----------
    p_signal, p_dark : float or None
        Probability, by the bundle's calibration, that a movie of a sample is at most, and that an empty
        one is at least, as alike as this frame and the one before.
    notes : tuple of Note
        What else was seen.
    structure_seen : bool
        Whether the raw frame shows more than noise.
    """

    flag: FlagName
    reason: str | None
    p_signal: float | None = None
    p_dark: float | None = None
    notes: tuple[Note, ...] = ()
    structure_seen: bool = True


@dataclass
class PlaneJudge:
    """Judges the frames of one plane in their order.

    Parameters
    ----------
    suspect_since : int or None
        First frame of the present run of suspect ones.
    """

    suspect_since: int | None = None
    _similarities: deque[float] = field(default_factory=lambda: deque(maxlen=WINDOW))
    _scores: deque[float] = field(default_factory=lambda: deque(maxlen=WINDOW))
    _best_score: float = 0.0
    _empty: bool = False
    _doubted: bool = False
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
        returned = self._follow(evidence, criteria)
        if evidence.split_ssim is not None and criteria.split is not None:
            agreed = evidence.split_ssim >= criteria.split
            self._vouched_until = seq + max(witness_every, 1) - 1 if agreed else -1
        vouched = seq <= self._vouched_until
        flag, reason = self._verdict(evidence, criteria, vouched=vouched, returned=returned)
        if flag != "suspect":
            self.suspect_since = None
        elif self.suspect_since is None:
            self.suspect_since = seq
        similarity = evidence.similarity
        return Judgement(
            flag=flag,
            reason=reason,
            p_signal=_probability(criteria.signal, similarity, "at_most"),
            p_dark=_probability(criteria.dark, similarity, "at_least"),
            notes=() if returned else tuple(self._notes(evidence, criteria, vouched=vouched)),
            structure_seen=not self._empty,
        )

    def lost(self) -> None:
        """Take note that the plane's frame failed: what follows has nothing before it."""
        self._similarities.clear()
        self._doubted = False

    def _follow(self, evidence: Evidence, criteria: Criteria) -> bool:
        """Bring the smoothed state up to this frame; True when it shows structure after one that did not."""
        was_empty = self._empty
        least = criteria.structure + (STRUCTURE_RECOVERY if was_empty else 0.0)
        self._empty = not evidence.structure >= least
        self._scores.append(evidence.structure)
        self._best_score = max(self._best_score, _median(self._scores))
        returned = was_empty and not self._empty
        if evidence.obstacle is not None or returned:
            self.lost()
        similarity = evidence.similarity
        if similarity is None or criteria.ssim is None or returned:
            return returned
        self._similarities.append(similarity)
        least = criteria.ssim_recovered if self._doubted else criteria.ssim
        self._doubted = _median(self._similarities) < least
        return False

    def _verdict(
        self, evidence: Evidence, criteria: Criteria, *, vouched: bool, returned: bool
    ) -> tuple[FlagName, str | None]:
        """The first rule that applies, the surest first."""
        if evidence.minimum == evidence.maximum:
            return "suspect", f"blank frame: every pixel is {evidence.minimum:g}"
        if criteria.ssim is None:
            return "unjudged", evidence.obstacle or "no SSIM threshold in the bundle"
        if evidence.background >= 1:
            return "suspect", f"no signal: no window holds more than {criteria.background_max:g} photons"
        if self._empty:
            return "suspect", self._why_empty(evidence, criteria)
        if evidence.saturated > SATURATED_MAX:
            return "suspect", f"saturated: {evidence.saturated:.1%} of the pixels are at {evidence.maximum:g}"
        if evidence.split_ssim is not None and criteria.split is not None and not vouched:
            halves = _below(evidence.split_ssim, criteria.split)
            return "suspect", f"the two halves of its photons disagree: SSIM {halves}"
        if vouched and (evidence.split_ssim is not None or evidence.obstacle is None):
            return "ok", None
        if returned and evidence.obstacle is None:
            return "unjudged", "the frame before showed no structure"
        return self._compared(evidence, criteria)

    def _compared(self, evidence: Evidence, criteria: Criteria) -> tuple[FlagName, str | None]:
        """What the comparison with the frame before says of a frame that shows structure."""
        if evidence.obstacle is not None:
            return "unjudged", evidence.obstacle
        similarity = evidence.similarity
        if similarity is None:
            return "unjudged", "SSIM is not a number"
        assert criteria.ssim is not None  # told by the caller
        if self._doubted:
            return self._doubt(evidence, criteria)
        if similarity < criteria.ssim:
            return "unjudged", f"jump: SSIM {_below(similarity, criteria.ssim)} for this frame alone"
        return "ok", None

    def _doubt(self, evidence: Evidence, criteria: Criteria) -> tuple[FlagName, str]:
        assert criteria.ssim is not None and evidence.similarity is not None  # noqa: PT018
        if _is_long(evidence, criteria):
            return "unjudged", (
                f"frames {evidence.frame_interval_s:g} s apart, the threshold is for"
                f" {criteria.frame_interval_s:g} s: SSIM {evidence.similarity:.2f} may be motion"
            )
        smoothed = _median(self._similarities)
        if evidence.similarity < criteria.ssim:
            return "suspect", f"SSIM {_below(evidence.similarity, criteria.ssim)}"
        frames = len(self._similarities)
        return "suspect", (
            f"SSIM {smoothed:.2f}, the median of {frames} frames, not yet above {criteria.ssim_recovered:.2f}"
        )

    def _why_empty(self, evidence: Evidence, criteria: Criteria) -> str:
        least = criteria.structure
        if evidence.structure >= least:
            least += STRUCTURE_RECOVERY
        reason = f"no structure: score {evidence.structure:.1f} below {least:g}, as noise alone has"
        similarity = evidence.similarity
        if similarity is None or similarity < (criteria.ssim or 0.0):
            return reason
        return f"{reason}; predictions are alike (SSIM {similarity:.2f}) by a fixed pattern or stray light"

    def _notes(self, evidence: Evidence, criteria: Criteria, *, vouched: bool) -> list[Note]:
        similarity = evidence.similarity
        alike = criteria.ssim is not None and similarity is not None and similarity >= criteria.ssim
        unlike = criteria.ssim is not None and similarity is not None and not alike
        moved = max(abs(part) for part in evidence.shift) >= MOVED_PX
        gained = (evidence.ssim_aligned or -1.0) - (evidence.ssim or 0.0)
        found: list[tuple[Note, bool]] = [
            ("moved", similarity is not None and moved and gained >= MOVED_GAIN),
            ("jump", unlike and not self._doubted and not self._empty),
            ("changing", unlike and vouched and not self._empty),
            ("fixed_pattern", alike and self._empty),
            ("unsupported", evidence.unsupported > MOSTLY and not self._empty),
            ("saturated", evidence.saturated > 0),
            ("fading", self._is_fading(criteria)),
            ("interval", _is_long(evidence, criteria)),
        ]
        return [note for note, seen in found if seen]

    def _is_fading(self, criteria: Criteria) -> bool:
        return self._best_score * FADED > max(criteria.structure, _median(self._scores))


def _signal(record: Calibration) -> Distribution:
    return Distribution.of(record.signal_quantiles, record.signal_pairs)


def _probability(
    known: Distribution | None, value: float | None, side: Literal["at_most", "at_least"]
) -> float | None:
    if known is None or value is None:
        return None
    return known.at_most(value) if side == "at_most" else known.at_least(value)


def _is_long(evidence: Evidence, criteria: Criteria) -> bool:
    if evidence.frame_interval_s is None or criteria.frame_interval_s is None:
        return False
    return evidence.frame_interval_s > LONG_INTERVAL * criteria.frame_interval_s


def _median(values: deque[float]) -> float:
    """The upper median: of two values the larger, so that one bad pair decides nothing."""
    return sorted(values)[len(values) // 2]


def _below(value: float, threshold: float) -> str:
    digits = 2 if round(value, 2) != round(threshold, 2) else 5
    return f"{value:.{digits}f} below {threshold:.{digits}f}"
