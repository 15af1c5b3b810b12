"""A movie judged frame by frame, exactly as the service judges it, with everything that the flag rests on.

The service composes its arithmetic into one graph; here it is the numpy reference around the bare network. A
test streams a movie through the real engine and compares.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dimstream_models.arithmetic import Float32, normalise_prediction
from dimstream_models.bundle import Bundle, apply_steps
from dimstream_models.evidence.alignment import Shift
from dimstream_models.evidence.support import SIGNAL, UNCERTAIN, all_unsupported
from dimstream_models.judging import FIVE_SIGMA, Criteria, Evidence, Judgement, PlaneJudge
from dimstream_models.training.audit.decision import Margins
from dimstream_models.training.audit.weighing import Rules, Weighing
from dimstream_models.training.errors import CannotEvaluate
from dimstream_models.training.prediction import Denoise, onnx_denoiser


@dataclass(frozen=True)
class Verdict:
    """What was judged of one frame.

    Parameters
    ----------
    decision : float
        See `Margins.decide`.
    """

    judgement: Judgement
    suspect_since: int | None
    decision: float


@dataclass(frozen=True, kw_only=True)
class FrameRecord:
    """All scores of one frame, and its flag.

    Parameters
    ----------
    evidence
        What the verdict rests on.
    shift
        Since the frame before, rows and columns, px; None where nothing was aligned.
    uncertain, signal
        Shares of the raw frame's pixels; that of background is in `evidence`.
    refused
        Why the photons were not split where they should have been.
    verdict, alone
        With the witness of split photons as often as it was asked, and without it.
    """

    seq: int
    evidence: Evidence
    shift: Shift | None
    uncertain: float
    signal: float
    refused: str | None
    verdict: Verdict
    alone: Verdict

    @property
    def unsupported(self) -> float:
        """Share of the predicted signal without support, as the service states it: 1 without structure."""
        return self.evidence.unsupported if self.verdict.judgement.structure_seen else 1.0


@dataclass(frozen=True, eq=False)
class FollowedFrame:
    """A record with the images that it was taken of.

    Parameters
    ----------
    prediction
        (H, W) float32, the network's output.
    support
        (H, W) uint8, see `evidence.support`; no witness took part.
    witnessed
        The same with what both halves of the photons disagree on; None where they were not compared.
    """

    record: FrameRecord
    prediction: Float32
    support: NDArray[np.uint8]
    witnessed: NDArray[np.uint8] | None


class MovieFollower:
    """Follows movies with a bundle; several threads may share it.

    Parameters
    ----------
    denoise
        The bundle's bare network; None: it is opened here.
    witness_every
        The photons of every n-th frame are split, the first included; 0: of none.
    frame_interval_s
        Seconds between frames; None when unknown.

    Raises
    ------
    CannotEvaluate
        When the network takes other axes than (1, 1, y, x).
    """

    def __init__(
        self,
        bundle: Bundle,
        denoise: Denoise | None = None,
        *,
        witness_every: int = 0,
        frame_interval_s: float | None = None,
    ) -> None:
        self.bundle, self.criteria = bundle, criteria_of(bundle)
        self._rules = Rules(bundle, self.criteria, witness_every, frame_interval_s)
        self._denoise = denoise or _network(bundle)

    def follow(self, movie: Iterable[NDArray[Any]]) -> Iterator[FollowedFrame]:
        """Yield the frames of a movie (T, H, W) of counts, each with its scores and its flag.

        Raises
        ------
        CannotEvaluate
            When a prediction holds nan or infinity.
        """
        heard, alone = _Bench(self._rules), _Bench(self._rules)
        before: Float32 | None = None
        for seq, counts in enumerate(movie):
            prediction = self._predict(counts, seq)
            normalised = normalise_prediction(prediction, self.bundle.ssim.normalisation)
            frame = Weighing(self._rules, seq, counts, prediction, normalised)
            evidence, shift = frame.evidence(before)
            testimony = frame.testimony(self._normalised)
            told = replace(
                evidence,
                split_ssim=testimony.ssim,
                split_refused=testimony.refused,
                unsupported=frame.unsupported(testimony),
            )
            record = FrameRecord(
                seq=seq,
                evidence=told,
                shift=shift,
                uncertain=frame.share(UNCERTAIN),
                signal=frame.share(SIGNAL),
                refused=testimony.refused,
                verdict=heard.judge(seq, told),
                alone=alone.judge(seq, evidence),
            )
            support, witnessed = frame.support.classes, testimony.witnessed
            if not record.verdict.judgement.structure_seen:
                support = all_unsupported(support)
                witnessed = None if witnessed is None else all_unsupported(witnessed)
            yield FollowedFrame(record, prediction, support, witnessed)
            before = normalised

    def _normalised(self, counts: NDArray[Any]) -> Float32:
        return normalise_prediction(self._predict(counts, None), self.bundle.ssim.normalisation)

    def _predict(self, counts: NDArray[Any], seq: int | None) -> Float32:
        values = apply_steps(self.bundle.preprocessing, counts.astype(np.float32))
        prediction = self._denoise(values)
        if not np.isfinite(prediction).all():
            where = "half the photons of a frame" if seq is None else f"frame {seq}"
            raise CannotEvaluate(
                f"expected finite predictions, {where} gave nan or infinity: the service would answer"
                " that the frame failed"
            )
        return prediction


class _Bench:
    """The judge of a movie, and the margins by which it judges."""

    def __init__(self, rules: Rules) -> None:
        self._criteria, self._every = rules.criteria, rules.witness_every
        self._judge = PlaneJudge()
        self._margins = Margins(rules.criteria, witness_every=rules.witness_every)

    def judge(self, seq: int, evidence: Evidence) -> Verdict:
        judgement = self._judge.judge(seq, evidence, self._criteria, witness_every=self._every)
        return Verdict(judgement, self._judge.suspect_since, self._margins.decide(seq, evidence))


def criteria_of(bundle: Bundle) -> Criteria:
    """Return what the service judges a bundle's frames by, where a stream changes nothing of it."""
    own = bundle.thresholds
    return Criteria.of(
        bundle,
        ssim=own.ssim,
        structure=FIVE_SIGMA if own.structure is None else own.structure,
        split=own.split,
        background_max=own.background_max,
    )


def _network(bundle: Bundle) -> Denoise:
    if (bundle.input_axes, bundle.output_axes) != ("bcyx", "bcyx"):
        raise CannotEvaluate(
            f"expected a network with axes bcyx in and out, {bundle.id} has {bundle.input_axes} and"
            f" {bundle.output_axes}"
        )
    return onnx_denoiser(bundle.onnx, step=bundle.step, min_side=bundle.min_side)
