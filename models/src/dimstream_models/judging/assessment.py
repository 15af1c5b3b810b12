"""What is measured of one frame, and the flag that follows: the same code in the server and in the audit.

A pipeline denoises frames and compares predictions, wherever it keeps them: on the server's device, or in
numpy in the audit. This module decides what the pipeline is asked, in which order, and how the answers are
used.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Final, Generic, NamedTuple, Protocol, TypeVar

from dimstream_models.arithmetic import Array
from dimstream_models.judging.criteria import Criteria
from dimstream_models.judging.frame_metrics import FlagDecision, FrameMetrics
from dimstream_models.judging.judge import PlaneJudge
from dimstream_models.judging.measures import Measures
from dimstream_models.judging.previous_frame import PreviousFrame, gap_before
from dimstream_models.judging.raw_findings import RawFindings
from dimstream_models.quality.alignment import Overview, Shift, correlation_between, shift_between
from dimstream_models.quality.count_check import Doubt
from dimstream_models.quality.detector import Detector
from dimstream_models.quality.saturation import clipped_share, saturated_share
from dimstream_models.quality.split_photon_check import halve_photons, no_photons

UNMOVED: Final[Shift] = (0, 0)

Map = TypeVar("Map", covariant=True)
"""A support map (H, W) uint8, in the form that the pipeline uses."""


class Agreement(NamedTuple, Generic[Map]):
    """How the predictions of both halves of a frame's photons compare.

    Parameters
    ----------
    ssim : float
        SSIM of both predictions.
    unsupported_fraction : float
        Share of the predicted signal that lacks photons, or on which the halves disagree, 0 to 1.
    support
        (H, W) uint8, the support map, including where the halves disagree.
    """

    ssim: float
    unsupported_fraction: float
    support: Map


class DenoisedFrame(Protocol[Map]):
    """A frame that a pipeline has denoised, with its metrics."""

    @property
    def photons(self) -> Array:
        """The network's input, (H, W) photons."""

    @property
    def recorded(self) -> Array:
        """The recorded photons, (H, W): before hot pixels were replaced or photons moved to finer pixels."""

    @property
    def raw_findings(self) -> RawFindings:
        """What the recorded photons show by themselves."""

    @property
    def denoised(self) -> Array:
        """The denoised frame as it is delivered, (H, W) counts."""

    @property
    def overview(self) -> Overview:
        """The overview of the prediction."""

    @property
    def support(self) -> Map:
        """(H, W) uint8, see `quality.support_map`."""

    @property
    def measures(self) -> Measures:
        """The figures of the frame."""

    def ssim_shifted(self, before: Any, shift: Shift) -> float:
        """SSIM with another prediction, of the part that both show when aligned by `shift` (rows, columns;
        px)."""

    def compare_halves(self, first: Array, second: Array) -> Agreement[Map]:
        """Compare the predictions of both halves of its photons, each (H, W)."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Conditions:
    """What is the same for all frames of a stream.

    Parameters
    ----------
    window : int
        Side of SSIM's window, px.
    split_every : int
        The photons of frames of every n-th time point are split, starting with the first (0); 0: never.
    ceiling : float or None
        Photons at the largest value of a raw pixel; None for float32.
    denoised_ceiling : float or None
        The largest value that a denoised pixel can have; None when there is none.
    frame_interval_s : float or None
        Seconds between time points; None when unknown.
    detector : Detector or None
        Offset and gain by which photons were calculated; None: the values are photons.
    only_plane : bool
        Whether the stream has only one plane so far.
    pixel_size_nm : float or None
        Side of the pixels of the network's input; None when unknown.
    """

    criteria: Criteria
    window: int
    split_every: int = 0
    ceiling: float | None = None
    denoised_ceiling: float | None = None
    frame_interval_s: float | None = None
    detector: Detector | None = None
    only_plane: bool = True
    pixel_size_nm: float | None = None


@dataclass(frozen=True, eq=False)
class Split(Generic[Map]):
    """The result for a frame whose photons were to be split.

    Parameters
    ----------
    refused : str or None
        Why they could not be split.
    agreement : Agreement or None
        How both halves compare; None when refused.
    t_ms : float
        Duration, milliseconds.
    """

    refused: str | None
    agreement: Agreement[Map] | None
    t_ms: float


@dataclass(frozen=True, eq=False)
class Assessment(Generic[Map]):
    """The decision on a frame, and the values behind it.

    Parameters
    ----------
    shift : (int, int) or None
        How far the sample has moved since the frame before, rows and columns, px. None when nothing was
        compared, or the raw frame shows no structure to align.
    split : Split or None
        None for frames whose photons are not split.
    support
        (H, W) uint8, the support map, including where the halves disagree.
    """

    decision: FlagDecision
    metrics: FrameMetrics
    shift: Shift | None
    split: Split[Map] | None
    support: Map

    @property
    def unsupported_fraction(self) -> float:
        """Share of the predicted signal without photons, 0 to 1; 1 for a frame without structure."""
        return self.metrics.unsupported_fraction if self.decision.structure_seen else 1.0


def assess(
    judge: PlaneJudge,
    frame: DenoisedFrame[Map],
    before: PreviousFrame | None,
    conditions: Conditions,
    *,
    seq: int,
    t: int,
    not_comparable: str | None,
) -> Assessment[Map]:
    """Collect the metrics of the next frame of a plane, and decide its flag.

    Parameters
    ----------
    judge : PlaneJudge
        Of this plane; its state is updated by this frame.
    before : PreviousFrame or None
        The frame with which `frame.measures.ssim` was calculated; None when `not_comparable` is given.
    not_comparable : str or None
        Why it is compared with no frame, see `why_not_comparable`.
    """
    shift, aligned = _aligned(frame, before, conditions)
    split = _split(frame, conditions, seq=seq, t=t)
    agreement = None if split is None else split.agreement
    gap, steps = _gap(before, seq, t, conditions)
    interval_s = conditions.frame_interval_s
    measures = frame.measures
    metrics = FrameMetrics(
        not_comparable=not_comparable,
        ssim=None if before is None else measures.ssim,
        ssim_aligned=aligned,
        shift=shift or UNMOVED,
        correlation=_correlation(frame, before, shift or UNMOVED),
        minimum=measures.minimum,
        maximum=measures.maximum,
        background=measures.background,
        structure_score=measures.structure_score,
        saturated=_saturated(frame, conditions.ceiling),
        unsupported_fraction=measures.unsupported_fraction
        if agreement is None
        else agreement.unsupported_fraction,
        split_ssim=None if agreement is None else agreement.ssim,
        split_refused=None if split is None else split.refused,
        doubt=_doubt(frame, conditions.detector, known=judge.not_photons is not None),
        clipped=clipped_share(frame.denoised, conditions.denoised_ceiling),
        outlier=frame.raw_findings.outlier,
        light=frame.raw_findings.light,
        steps=steps,
        gap=gap,
        frame_interval_s=None if interval_s is None else interval_s * steps,
        pixel_size_nm=conditions.pixel_size_nm,
    )
    return Assessment(
        decision=judge.judge(seq, metrics, conditions.criteria, split_every=conditions.split_every),
        metrics=metrics,
        shift=shift,
        split=split,
        support=frame.support if agreement is None else agreement.support,
    )


def _aligned(
    frame: DenoisedFrame[Any], before: PreviousFrame | None, conditions: Conditions
) -> tuple[Shift | None, float | None]:
    """Shift since the frame before, and SSIM when aligned by it; None for both if the frame has no
    structure."""
    if before is None or before.overview is None:
        return None, None
    if not frame.measures.structure_score >= conditions.criteria.structure_score:
        return None, None
    shift = shift_between(before.overview, frame.overview)
    if shift == UNMOVED:
        return shift, frame.measures.ssim
    sides = zip(frame.photons.shape, shift, strict=True)
    if any(side - abs(moved) < conditions.window for side, moved in sides):
        return None, None  # the part that both frames show is smaller than SSIM's window
    return shift, frame.ssim_shifted(before.normalised, shift)


def _split(frame: DenoisedFrame[Map], conditions: Conditions, *, seq: int, t: int) -> Split[Map] | None:
    if not conditions.split_every or t % conditions.split_every:
        return None
    started = time.perf_counter()
    refusal = _no_photons(frame, conditions.detector)
    agreement = None if refusal is not None else frame.compare_halves(*halve_photons(frame.photons, seq))
    return Split(refusal, agreement, (time.perf_counter() - started) * 1e3)


def _no_photons(frame: DenoisedFrame[Any], detector: Detector | None) -> str | None:
    """Why the frame's photons cannot be split; None when they can."""
    if detector is not None:
        return no_photons(frame.recorded, converted=True)
    return no_photons(frame.recorded, doubt_of=lambda _: frame.raw_findings.doubt)


def _gap(before: PreviousFrame | None, seq: int, t: int, conditions: Conditions) -> tuple[str | None, int]:
    return (None, 1) if before is None else gap_before(before, seq=seq, t=t, only_plane=conditions.only_plane)


def _correlation(frame: DenoisedFrame[Any], before: PreviousFrame | None, shift: Shift) -> float | None:
    if before is None or before.overview is None:
        return None
    return correlation_between(before.overview, frame.overview, shift)


def _saturated(frame: DenoisedFrame[Any], ceiling: float | None) -> float:
    measures = frame.measures
    return saturated_share(
        maximum=measures.maximum,
        at_maximum=measures.at_maximum,
        near_maximum=measures.near_maximum,
        pixels=frame.recorded.size,
        ceiling=ceiling,
    )


def _doubt(frame: DenoisedFrame[Any], detector: Detector | None, *, known: bool) -> Doubt | None:
    """Why the values are not photon counts. Offset and gain are estimated only when this is new (not
    `known`)."""
    doubt = frame.raw_findings.doubt
    return doubt if doubt is None or known else doubt.proposing(frame.recorded, detector)
