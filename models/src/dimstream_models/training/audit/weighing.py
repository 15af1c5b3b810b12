"""The evidence on one frame, gathered as the service gathers it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dimstream_models.arithmetic import Float32, as_counts, ssim
from dimstream_models.bundle import Bundle, apply_steps
from dimstream_models.evidence.alignment import (
    Shift,
    correlation_between,
    overlap,
    overview,
    shift_between,
)
from dimstream_models.evidence.counting import doubt_counts
from dimstream_models.evidence.outliers import has_outlier
from dimstream_models.evidence.photons import no_photons, split_photons
from dimstream_models.evidence.saturation import clipped_share, saturated_share, shares_at_maximum
from dimstream_models.evidence.structure import structure_score
from dimstream_models.evidence.support import BACKGROUND, CLASS, Support, support
from dimstream_models.judging import Criteria, Evidence
from dimstream_models.training.audit.similarity import ssim_map, unsupported_share, witnessed_support

FIRST: Final = "first frame"
UNMOVED: Final[Shift] = (0, 0)
DELIVERED: Final = "uint16"


@dataclass(frozen=True, eq=False)
class Rules:
    """How the frames of a movie are weighed.

    Parameters
    ----------
    witness_every
        The photons of every n-th frame are split, the first included; 0: of none.
    frame_interval_s
        Seconds between frames; None when unknown.
    """

    bundle: Bundle
    criteria: Criteria
    witness_every: int
    frame_interval_s: float | None


@dataclass(frozen=True, eq=False)
class Testimony:
    """What both halves of a frame's photons say of it.

    Parameters
    ----------
    ssim
        Of the predictions of both; None when they were not asked.
    refused
        Why they could not be.
    witnessed
        (H, W) uint8, the support map with what they disagree on.
    """

    ssim: float | None = None
    refused: str | None = None
    witnessed: NDArray[np.uint8] | None = None


class Weighing:
    """One frame, as `dimstream_server.engine.weighing` weighs it.

    Parameters
    ----------
    counts, prediction, normalised
        (H, W); what the network makes of the counts, as it is and normalised on its own.
    """

    def __init__(
        self,
        rules: Rules,
        seq: int,
        counts: NDArray[Any],
        prediction: Float32,
        normalised: Float32,
    ) -> None:
        limits = rules.bundle.thresholds
        self.support: Support = support(
            counts, prediction, limits.window_px, limits.background_max, limits.signal_min
        )
        self._rules, self._seq, self._counts, self._normalised = rules, seq, counts, normalised
        self._prediction = prediction

    def share(self, kind: int) -> float:
        """Return the share of a class of pixels."""
        return float(((self.support.classes & CLASS) == kind).mean())

    def evidence(self, before: Float32 | None) -> tuple[Evidence, Shift | None]:
        """Return what speaks for the frame, but for its split photons, and how far the sample moved."""
        settings, structure = self._rules.bundle.ssim, structure_score(self._counts)
        adjacent, aligned, shift = None, None, None
        if before is not None:
            adjacent = ssim(before, self._normalised, data_range=settings.data_range, window=settings.window)
            if structure >= self._rules.criteria.structure:
                shift, aligned = self._aligned(before, adjacent)
        evidence = Evidence(
            obstacle=FIRST if before is None else None,
            ssim=adjacent,
            ssim_aligned=aligned,
            shift=shift or UNMOVED,
            correlation=None if before is None else self._correlation(before, shift or UNMOVED),
            minimum=float(self._counts.min()),
            maximum=float(self._counts.max()),
            background=self.share(BACKGROUND),
            structure=structure,
            saturated=_saturated(self._counts),
            unsupported=self.support.unsupported,
            doubt=doubt_counts(self._counts),
            clipped=self._clipped(),
            outlier=has_outlier(self._counts),
            frame_interval_s=self._rules.frame_interval_s,
        )
        return evidence, shift

    def _clipped(self) -> float:
        bundle = self._rules.bundle
        denoised = as_counts(apply_steps(bundle.postprocessing, self._prediction), DELIVERED)
        return clipped_share(denoised, bundle.ceiling(DELIVERED))

    def testimony(self, normalise: Callable[[NDArray[Any]], Float32]) -> Testimony:
        """Return what both halves of the photons say; nothing for frames that are not asked.

        Parameters
        ----------
        normalise
            From counts (H, W) to the normalised prediction.
        """
        rules = self._rules
        if not rules.witness_every or self._seq % rules.witness_every:
            return Testimony()
        if (refusal := no_photons(self._counts)) is not None:
            return Testimony(refused=refusal)
        first, second = (normalise(half) for half in split_photons(self._counts, self._seq))
        similarity = ssim_map(first, second, rules.bundle.ssim)
        witnessed = witnessed_support(self.support.classes, similarity, rules.bundle.ssim.window)
        return Testimony(ssim=float(similarity.mean()), witnessed=witnessed)

    def unsupported(self, testimony: Testimony) -> float:
        """Return the share of the predicted signal without support, for whoever was heard."""
        if testimony.witnessed is None:
            return self.support.unsupported
        return unsupported_share(self._normalised, testimony.witnessed)

    def _correlation(self, before: Float32, shift: Shift) -> float | None:
        return correlation_between(overview(before), overview(self._normalised), shift)

    def _aligned(self, before: Float32, adjacent: float) -> tuple[Shift | None, float | None]:
        settings = self._rules.bundle.ssim
        shift = shift_between(overview(before), overview(self._normalised))
        if shift == UNMOVED:
            return shift, adjacent
        old, new = overlap(before, self._normalised, shift)
        if min(old.shape) < settings.window:
            return None, None
        return shift, ssim(old, new, data_range=settings.data_range, window=settings.window)


def _saturated(counts: NDArray[Any]) -> float:
    at_maximum, near_maximum = shares_at_maximum(counts)
    return saturated_share(
        maximum=float(counts.max()),
        at_maximum=at_maximum,
        near_maximum=near_maximum,
        pixels=counts.size,
        ceiling=float(np.iinfo(counts.dtype).max) if counts.dtype.kind == "u" else None,
    )
