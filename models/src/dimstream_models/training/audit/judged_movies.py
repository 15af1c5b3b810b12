"""A movie judged frame by frame with the server's own code, `dimstream_models.judging`.

The server computes a frame in one graph; this is the numpy reference around the bare network. A test streams
a movie through the real engine and compares.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dimstream_models.arithmetic import Float32
from dimstream_models.bundle import Bundle
from dimstream_models.judging import (
    Assessment,
    Conditions,
    Criteria,
    FlagDecision,
    FrameMetrics,
    PlaneJudge,
    PreviousFrame,
    assess,
    why_not_comparable,
)
from dimstream_models.quality.alignment import Shift
from dimstream_models.quality.support_map import all_unsupported
from dimstream_models.training.audit.decision import Margins
from dimstream_models.training.audit.numpy_pipeline import DELIVERED, NumpyFrame, NumpyPipeline
from dimstream_models.training.errors import CannotEvaluate
from dimstream_models.training.prediction import Denoise, onnx_denoiser


@dataclass(frozen=True)
class JudgedFrame:
    """The decision on one frame.

    Parameters
    ----------
    margin : float
        See `Margins.decide`.
    """

    decision: FlagDecision
    suspect_since: int | None
    margin: float


@dataclass(frozen=True, kw_only=True)
class FrameRecord:
    """All scores of one frame, and its flag.

    Parameters
    ----------
    metrics
        The metrics behind the decision.
    shift
        Since the frame before, rows and columns, px; None if nothing was aligned.
    uncertain, signal
        Shares of the raw frame's pixels; that of background is in `metrics`.
    refused
        Why the photons were not split although they should have been.
    outcome, alone
        With the split-photon check as often as requested, and without it.
    """

    seq: int
    metrics: FrameMetrics
    shift: Shift | None
    uncertain: float
    signal: float
    refused: str | None
    outcome: JudgedFrame
    alone: JudgedFrame

    @property
    def unsupported_fraction(self) -> float:
        """Share of the predicted signal without support, as the server reports it: 1 without structure."""
        return self.metrics.unsupported_fraction if self.outcome.decision.structure_seen else 1.0


@dataclass(frozen=True, eq=False)
class FollowedFrame:
    """A record with its images.

    Parameters
    ----------
    prediction
        (H, W) float32, the network's output.
    support
        (H, W) uint8, see `quality.support_map`; without the split-photon check.
    with_split
        The same, including pixels on which both halves of the photons disagree; None if not compared.
    """

    record: FrameRecord
    prediction: Float32
    support: NDArray[np.uint8]
    with_split: NDArray[np.uint8] | None


class MovieFollower:
    """Applies a bundle to movies; several threads may share it.

    Parameters
    ----------
    denoise
        The bundle's bare network; None: it is loaded.
    split_every
        The photons of every n-th frame are split, starting with the first; 0: never.
    frame_interval_s
        Seconds between frames; None when unknown.

    Raises
    ------
    CannotEvaluate
        When the network needs other axes than (1, 1, y, x).
    """

    def __init__(
        self,
        bundle: Bundle,
        denoise: Denoise | None = None,
        *,
        split_every: int = 0,
        frame_interval_s: float | None = None,
    ) -> None:
        self.bundle, self.criteria = bundle, Criteria.of(bundle)
        self._split_every, self._frame_interval_s = split_every, frame_interval_s
        self._pipeline = NumpyPipeline(bundle, denoise or _network(bundle))

    def follow(self, movie: Iterable[NDArray[Any]]) -> Iterator[FollowedFrame]:
        """Yield the frames of a movie (T, H, W) of counts, each with its scores and its flag.

        Raises
        ------
        CannotEvaluate
            When a prediction contains nan or infinity.
        """
        heard, alone = self._bench(), self._bench()
        last: PreviousFrame | None = None
        for seq, counts in enumerate(movie):
            not_comparable = why_not_comparable(
                last,
                seq=seq,
                t=seq,
                shape=(counts.shape[0], counts.shape[1]),
                model_sha256=self.bundle.sha256,
                only_plane=True,
            )
            before = last if not_comparable is None else None
            frame = self._pipeline.run(counts, None if before is None else before.normalised, f"frame {seq}")
            found = assess(
                heard.judge,
                frame,
                before,
                self._conditions(counts),
                seq=seq,
                t=seq,
                not_comparable=not_comparable,
            )
            yield _followed(seq, frame, found, heard, alone)
            last = PreviousFrame(
                seq=seq,
                t=seq,
                shape=(counts.shape[0], counts.shape[1]),
                model_sha256=self.bundle.sha256,
                normalised=frame.normalised,
                overview=frame.overview,
            )

    def _conditions(self, counts: NDArray[Any]) -> Conditions:
        return Conditions(
            criteria=self.criteria,
            window=self.bundle.ssim.window,
            split_every=self._split_every,
            ceiling=float(np.iinfo(counts.dtype).max) if counts.dtype.kind == "u" else None,
            denoised_ceiling=self.bundle.ceiling(DELIVERED),
            frame_interval_s=self._frame_interval_s,
        )

    def _bench(self) -> _Bench:
        return _Bench(self.criteria, self._split_every)


class _Bench:
    """The judge of a movie, and its margins."""

    def __init__(self, criteria: Criteria, split_every: int) -> None:
        self.judge = PlaneJudge()
        self._criteria, self._every = criteria, split_every
        self._margins = Margins(criteria, split_every=split_every)

    def outcome(self, seq: int, metrics: FrameMetrics, decision: FlagDecision | None = None) -> JudgedFrame:
        """Return the decision on the next frame; `decision` is given if the judge has already decided."""
        if decision is None:
            decision = self.judge.judge(seq, metrics, self._criteria, split_every=self._every)
        return JudgedFrame(decision, self.judge.suspect_since, self._margins.decide(seq, metrics))


def _followed(
    seq: int, frame: NumpyFrame, found: Assessment[NDArray[np.uint8]], heard: _Bench, alone: _Bench
) -> FollowedFrame:
    unheard = replace(
        found.metrics,
        split_ssim=None,
        split_refused=None,
        unsupported_fraction=frame.measures.unsupported_fraction,
    )
    record = FrameRecord(
        seq=seq,
        metrics=found.metrics,
        shift=found.shift,
        uncertain=frame.measures.uncertain,
        signal=frame.measures.signal,
        refused=found.metrics.split_refused,
        outcome=heard.outcome(seq, found.metrics, found.decision),
        alone=alone.outcome(seq, unheard),
    )
    support = frame.support
    with_split = None if found.split is None or found.split.agreement is None else found.support
    if not found.decision.structure_seen:
        support = all_unsupported(support)
        with_split = None if with_split is None else all_unsupported(with_split)
    return FollowedFrame(record, frame.prediction, support, with_split)


def _network(bundle: Bundle) -> Denoise:
    if bundle.classes or (bundle.input_axes, bundle.output_axes) != ("bcyx", "bcyx"):
        raise CannotEvaluate(
            f"expected a network with input and output axes bcyx, but {bundle.id} has {bundle.input_axes} "
            f"and {bundle.output_axes}"
        )
    return onnx_denoiser(bundle.onnx, step=bundle.step, min_side=bundle.min_side)
