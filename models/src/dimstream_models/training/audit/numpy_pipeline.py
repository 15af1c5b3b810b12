"""Frames denoised and compared in plain numpy: the pipeline for `dimstream_models.judging` without the
server's fused graph."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dimstream_models.arithmetic import Array, Float32, as_counts, normalise_prediction
from dimstream_models.bundle import Bundle, apply_steps
from dimstream_models.judging import Agreement, Measures, RawFindings
from dimstream_models.quality import support_map as supporting
from dimstream_models.quality.alignment import Overview, Shift, overlap
from dimstream_models.quality.outliers import without_outliers
from dimstream_models.quality.saturation import shares_at_maximum
from dimstream_models.quality.structure import structure_score
from dimstream_models.ssim import ssim, ssim_map
from dimstream_models.training.errors import CannotEvaluate
from dimstream_models.training.prediction import Denoise

DELIVERED: Final = "uint16"


@dataclass(frozen=True, eq=False)
class NumpyPipeline:
    """A bundle's network, and the arithmetic around it."""

    bundle: Bundle
    denoise: Denoise

    def run(self, counts: NDArray[Any], before: Float32 | None, what: str) -> NumpyFrame:
        """Denoise and measure a frame (H, W) of counts.

        Parameters
        ----------
        before
            (H, W), the normalised prediction to compare with; None when there is none.
        what
            Name of the frame in messages.

        Raises
        ------
        CannotEvaluate
            When the prediction contains nan or infinity.
        """
        photons = without_outliers(counts)
        return NumpyFrame(self, counts, photons, self.predict(photons, what), before)

    def predict(self, counts: NDArray[Any], what: str) -> Float32:
        """Return the network's output for counts (H, W), (H, W) float32.

        Raises
        ------
        CannotEvaluate
            When it contains nan or infinity.
        """
        prediction = self.denoise(apply_steps(self.bundle.preprocessing, counts.astype(np.float32)))
        if not np.isfinite(prediction).all():
            raise CannotEvaluate(
                f"expected finite predictions, but {what} gave nan or infinity: the server would report "
                "that the frame failed"
            )
        return prediction

    def normalised(self, prediction: Float32) -> Float32:
        """Return a prediction (H, W), normalised by its own values."""
        return normalise_prediction(prediction, self.bundle.ssim.normalisation)


class NumpyFrame:
    """A denoised frame for `judging.assess`.

    Parameters
    ----------
    recorded : (H, W)
        Photon counts.
    photons : (H, W)
        The network's input.
    prediction : (H, W) float32
        The network's output, in its own unit.
    before : (H, W) float32, optional
        The normalised prediction of the frame before.
    """

    def __init__(
        self,
        pipeline: NumpyPipeline,
        recorded: NDArray[Any],
        photons: NDArray[Any],
        prediction: Float32,
        before: Float32 | None,
    ) -> None:
        self.recorded, self.photons, self.prediction = recorded, photons, prediction
        self.normalised = pipeline.normalised(prediction)
        self.overview = Overview.of(self.normalised)
        self._pipeline, self._before = pipeline, before

    @cached_property
    def denoised(self) -> Array:
        """The denoised frame as it is delivered, (H, W) counts."""
        return as_counts(apply_steps(self._pipeline.bundle.postprocessing, self.prediction), DELIVERED)

    @cached_property
    def raw_findings(self) -> RawFindings:
        """What its recorded photons show by themselves."""
        return RawFindings.of(self.recorded, None)

    @property
    def support(self) -> NDArray[np.uint8]:
        """The support map, (H, W) uint8, see `quality.support_map`."""
        return self._supported.classes

    @cached_property
    def measures(self) -> Measures:
        """The figures of the frame."""
        photons = self.photons
        background, uncertain, signal = self._shares()
        at_maximum, near_maximum = shares_at_maximum(photons)
        return Measures(
            ssim=float("nan") if self._before is None else self.ssim_shifted(self._before, (0, 0)),
            background=background,
            uncertain=uncertain,
            signal=signal,
            minimum=float(photons.min()),
            maximum=float(photons.max()),
            at_maximum=at_maximum,
            near_maximum=near_maximum,
            structure_score=structure_score(photons),
            unsupported_fraction=self._supported.unsupported_fraction,
            prediction_mean=float(self.prediction.mean()),
        )

    def ssim_shifted(self, before: Any, shift: Shift) -> float:
        """Return the SSIM with another prediction (H, W), of the part that both show when aligned by
        `shift`."""
        settings = self._pipeline.bundle.ssim
        old, new = overlap(before, self.normalised, shift)
        return ssim(old, new, data_range=settings.data_range, window=settings.window)

    def compare_halves(self, first: Array, second: Array) -> Agreement[NDArray[np.uint8]]:
        """Compare the predictions of both halves (H, W) of its photons."""
        settings, pipeline = self._pipeline.bundle.ssim, self._pipeline
        what = "half the photons of a frame"
        halves = [pipeline.normalised(pipeline.predict(half, what)) for half in (first, second)]
        similarity = ssim_map(*halves, data_range=settings.data_range, window=settings.window)
        marked = supporting.mark_disagreement(self.support, similarity, settings.window)
        share = supporting.unsupported_share(self.normalised, marked)
        return Agreement(float(similarity.mean()), share, marked)

    def _shares(self) -> list[float]:
        """Shares of background, uncertain and signal pixels."""
        classes = self.support & supporting.CLASS
        kinds = supporting.BACKGROUND, supporting.UNCERTAIN, supporting.SIGNAL
        return [float((classes == kind).mean()) for kind in kinds]

    @cached_property
    def _supported(self) -> supporting.Support:
        limits = self._pipeline.bundle.thresholds
        return supporting.support(
            self.photons, self.prediction, limits.window_px, limits.background_max, limits.signal_min
        )
