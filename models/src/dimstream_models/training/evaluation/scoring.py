"""All metrics of one pair, its pictures for the report, and the best metrics that are possible.

A truth of photon counts has noise of its own, so even a perfect restoration does not have perfect metrics.
The light behind a truth is unknown, so it is replaced by a stand-in: the truth itself, smoothed by the
Gaussian that comes closest to the light. The stand-in with new photon noise relates to the stand-in as the
truth relates to its light. So metrics between the two are the limit.

The stand-in has the truth's mean, and the variance of photon noise is the mean. So the mean square error, and
PSNR, is right for any smoothing; SSIM, MAE and Pearson depend on how well the stand-in fits.
`docs/evaluate.md` says how accurate they are. Nothing here depends on the bundle.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from dimstream_models.training.errors import CannotEvaluate, NotPhotonCounts
from dimstream_models.training.evaluation.filters import Rivals, fit_gain_and_offset, straight_line
from dimstream_models.training.evaluation.metric_tables import Figure, Kind, Row, absent, take
from dimstream_models.training.evaluation.pictures import Point, Shown, line_through_structure
from dimstream_models.training.evaluation.resolving import Resolving, Twins, twins
from dimstream_models.training.evaluation.restoring import Restore
from dimstream_models.training.metrics.images import WHY_NONE
from dimstream_models.training.metrics.pixelwise import mae, pearson, psnr, ssim
from dimstream_models.training.metrics.profiles import line_profile, normalise_together
from dimstream_models.training.pairs.pair_reader import Pair
from dimstream_models.training.pairs.photon_split import check_photon_counts

SIGMAS_PX = (0.0, *np.geomspace(0.3, 8.0, 20).tolist())

Floats = NDArray[np.float64]


def light_behind(counts: NDArray[Any]) -> Floats:
    """Return an estimate (H, W) of the light behind a frame of photon counts (H, W), with the same mean.

    It is the frame after a Gaussian whose width minimises the unbiased estimate of the error: for a linear
    filter S of Poisson counts T of light λ, E‖S T - λ‖² = E[‖S T - T‖² + 2 s₀ ΣT - ΣT], with s₀ the filter's
    central weight (Chen 1975, doi 10.1214/aop/1176996359; Hudson 1978, doi 10.1214/aos/1176344065).
    """
    truth = np.asarray(counts, np.float64)

    def risk(sigma: float) -> float:
        error = float(np.square(gaussian_filter(truth, sigma) - truth).mean())
        return error + 2 * _central_weight(sigma) * float(truth.mean())

    smoothed = gaussian_filter(truth, min(SIGMAS_PX, key=risk))
    return np.asarray(smoothed * (truth.mean() / max(float(smoothed.mean()), np.finfo(float).tiny)))


def with_photon_noise(light: Floats, rng: np.random.Generator) -> Floats:
    """Return photon counts (H, W) drawn from the light."""
    return rng.poisson(light).astype(np.float64)


def _central_weight(sigma: float) -> float:
    point = np.zeros(129)
    point[64] = 1
    return float(gaussian_filter(point, sigma)[64] ** 2)  # separable: rows times columns


CLOSENESS: Final = ("ssim", "mae", "pearson", "psnr", "lpips")


class Perceptual(Protocol):
    """The protocol of `Lpips`, so that this module does not need its weights."""

    def __call__(self, prediction: NDArray[Any], truth: NDArray[Any], *, data_range: float) -> float:
        """Return the distance of two images (H, W), in which the data range is white."""
        ...


def closeness(
    image: Floats, truth: Floats, *, data_range: float, lpips: Perceptual | None
) -> dict[str, Figure]:
    """Return all metrics that compare an image with a truth, pixel by pixel or by a network.

    Parameters
    ----------
    image, truth : (H, W) float64
        In the same counts.
    data_range : float
        Data range of SSIM, PSNR and LPIPS.
    lpips : Perceptual or None
        None: no weights were given.
    """

    def perceived() -> float | None:
        return None if lpips is None else lpips(image, truth, data_range=data_range)

    return {
        "ssim": take(lambda: ssim(image, truth, data_range=data_range)),
        "mae": take(lambda: mae(image, truth)),
        "pearson": take(lambda: pearson(image, truth), otherwise=WHY_NONE["pearson"]),
        "psnr": take(lambda: psnr(image, truth, data_range=data_range), otherwise=WHY_NONE["psnr"]),
        "lpips": take(perceived, otherwise=WHY_NONE["lpips"]),
    }


def floor(
    truth: Floats, *, data_range: float, lpips: Perceptual | None, rng: np.random.Generator
) -> dict[str, Figure]:
    """Return the metrics of a perfect restoration for a truth, (H, W) counts."""
    try:
        check_photon_counts([truth[None]])
    except NotPhotonCounts as error:
        return absent(CLOSENESS, str(error))
    light = light_behind(truth)
    return closeness(light, with_photon_noise(light, rng), data_range=data_range, lpips=lpips)


Line = tuple[float, float]  # gain and offset
Figures = dict[str, Figure]

NO_SCALE: Final = "the bundle has no gain and offset: run `dimstream-train calibrate` on training pairs"
AGAINST_TRUTH: Final = "the prediction and the truth"
LOW, HIGH, FLOOR = range(3)  # streams of random numbers of a pair


@dataclass(frozen=True)
class ScoringSettings:
    """How metrics are calculated.

    Parameters
    ----------
    background : float
        The rolling FRC ignores blocks that are not brighter than this, of 255 (paper: 20).
    skip : int
        Side of the rolling FRC's squares that get one value, px.
    data_range : float or None
        Data range of SSIM and PSNR; None: largest minus smallest value of each truth.
    pixel_size_nm : float or None
        Pixel size; None: as the pairs state it.
    line : pair of points (y, x) or None
        Line of the profiles; None: where each truth changes most.
    seed : int
        Seed of the splitting of photons and of the limit's noise.
    """

    background: float = 20.0
    skip: int = 4
    data_range: float | None = None
    pixel_size_nm: float | None = None
    line: tuple[Point, Point] | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if not (1 <= self.skip <= 32 and 0 <= self.background < 255 and self.seed >= 0):
            raise CannotEvaluate(
                "expected a skip from 1 to 32 px, a background from 0 to 255 and a seed from 0 on, got"
                f" {self.skip}, {self.background:g} and {self.seed}"
            )


@dataclass(frozen=True)
class Recorded:
    """A pair and, if it exists, a second recording of the same field."""

    index: int  # number of the pair, part of the seed
    pair: Pair
    again: Pair | None = None


@dataclass(frozen=True)
class Images:
    """A pair and its prediction, and the straight-line fits to the truth."""

    low: Floats
    truth: Floats
    prediction: Floats
    noisy_line: Line
    line: Line

    @property
    def noisy(self) -> Floats:
        """The noisy image on the truth's scale, (H, W) float64."""
        return self.noisy_line[0] * self.low + self.noisy_line[1]

    @property
    def fitted(self) -> Floats:
        """The prediction on the truth's scale, (H, W) float64."""
        return self.line[0] * self.prediction + self.line[1]


@dataclass(frozen=True)
class Scorer:
    """Calculates the metrics of pairs, one by one.

    Parameters
    ----------
    restore : Restore
        The bundle, from `restorer`.
    own_scale : bool
        Whether its predictions are in counts.
    settings : ScoringSettings
    lpips : Perceptual or None
        None: no weights were given, so there is no LPIPS.
    rivals : Rivals or None
        The best tuned filter for each pair; None: there is none.
    """

    restore: Restore
    own_scale: bool
    settings: ScoringSettings
    lpips: Perceptual | None = None
    rivals: Rivals | None = None

    def rows(self, recorded: Recorded) -> list[Row]:
        """Return all metrics of a pair, one row for each kind of image.

        Raises
        ------
        CannotEvaluate
            When the pair has no usable truth, or the bundle predicts nan or infinity.
        """
        images = self._images(recorded.pair)
        return [
            self._row(recorded.pair, images, "noisy", *self._of_noisy(recorded, images)),
            self._row(recorded.pair, images, "prediction", *self._of_prediction(recorded, images)),
            self._row(recorded.pair, images, "fitted", self._near(images.fitted, images.truth)),
            self._row(recorded.pair, images, "truth", *self._of_truth(recorded, images)),
            self._row(recorded.pair, images, "floor", self._of_floor(recorded, images)),
            *self._of_filter(recorded, images),
        ]

    def shown(self, recorded: Recorded) -> Shown:
        """Return a pair's images and curves for the report.

        Raises
        ------
        CannotEvaluate
            As `rows`; also when the line is not inside the image.
        """
        images = self._images(recorded.pair)
        line = self.settings.line or line_through_structure(images.truth)
        compared = {"truth": images.truth, "noisy": images.noisy, "prediction": images.fitted}
        profiles = {kind: line_profile(image, *line) for kind, image in compared.items()}
        mapped = self._mapped(recorded, images)
        return Shown(
            name=recorded.pair.name,
            pixel_size_nm=self._pixel_size_nm(recorded.pair),
            truth=images.truth,
            noisy=images.low,
            prediction=images.fitted,
            resolution_px=self._resolution(mapped),
            correlated=mapped.how,
            line=line,
            profiles=normalise_together(profiles),
        )

    @property
    def _resolving(self) -> Resolving:
        return Resolving(self.settings.skip, self.settings.background)

    def _images(self, pair: Pair) -> Images:
        if pair.high is None:
            raise CannotEvaluate("expected a pair with a truth at high dose, got only low dose")
        if np.ptp(pair.high) == 0:
            raise CannotEvaluate(
                f"expected a truth with structure, got a constant image of {pair.high[0, 0]:g}"
            )
        low, truth = pair.low.astype(np.float64), pair.high.astype(np.float64)
        if self.settings.line is not None:
            line_profile(
                truth, *self.settings.line
            )  # a line outside is refused now, not later when it is drawn
        prediction = self.restore(pair.low).astype(np.float64)
        if not np.isfinite(prediction).all():
            raise CannotEvaluate("the bundle's prediction holds nan or infinity: train or import it again")
        return Images(low, truth, prediction, straight_line(low, truth), straight_line(prediction, truth))

    def _row(self, pair: Pair, images: Images, kind: Kind, figures: Figures, correlated: str = "") -> Row:
        line = {"noisy": images.noisy_line, "fitted": images.line}.get(kind)
        data_range, pixel_size_nm = self._data_range(images.truth), self._pixel_size_nm(pair)
        return Row(pair.name, pair.day, kind, figures, data_range, pixel_size_nm, line, correlated)

    def _of_noisy(self, recorded: Recorded, images: Images) -> tuple[Figures, str]:
        agreed, how = self._resolving.of_twins(lambda: self._low_twins(recorded))
        near = self._near(images.noisy, images.truth)
        return near | self._detail(images.low, images.truth) | agreed, how

    def _of_filter(self, recorded: Recorded, images: Images) -> list[Row]:
        """Return the row of the best tuned filter, after a straight-line fit to the truth."""
        if self.rivals is None:
            return []
        filtered = self.rivals.of(recorded.index)(images.low)
        fitted = fit_gain_and_offset(filtered, images.truth)
        row = self._row(recorded.pair, images, "filter", self._near(fitted, images.truth))
        return [replace(row, line=straight_line(filtered, images.truth))]

    def _of_prediction(self, recorded: Recorded, images: Images) -> tuple[Figures, str]:
        agreed, how = self._resolving.of_twins(lambda: self._low_twins(recorded).restored(self.restore))
        near = self._near(images.prediction, images.truth)
        if not self.own_scale:
            near |= absent(near.keys() - {"pearson"}, NO_SCALE)
        return near | self._detail(images.prediction, images.truth) | agreed, how

    def _of_truth(self, recorded: Recorded, images: Images) -> tuple[Figures, str]:
        agreed, how = self._resolving.of_twins(lambda: self._high_twins(recorded))
        return self._resolving.alone(images.truth) | agreed, how

    def _of_floor(self, recorded: Recorded, images: Images) -> Figures:
        data_range = self._data_range(images.truth)
        return floor(images.truth, data_range=data_range, lpips=self.lpips, rng=self._rng(recorded, FLOOR))

    def _near(self, image: Floats, truth: Floats) -> Figures:
        return closeness(image, truth, data_range=self._data_range(truth), lpips=self.lpips)

    def _detail(self, image: Floats, truth: Floats) -> Figures:
        return self._resolving.alone(image) | self._resolving.against(image, truth)

    def _low_twins(self, recorded: Recorded) -> Twins:
        again = None if recorded.again is None else recorded.again.low
        return twins(recorded.pair.low, again, self._rng(recorded, LOW))

    def _high_twins(self, recorded: Recorded) -> Twins:
        again = None if recorded.again is None else recorded.again.high
        assert recorded.pair.high is not None  # otherwise, `_images` has refused the pair
        return twins(recorded.pair.high, again, self._rng(recorded, HIGH))

    def _mapped(self, recorded: Recorded, images: Images) -> Twins:
        """Return the two images whose agreement is mapped for the prediction."""
        try:
            return self._low_twins(recorded).restored(self.restore)
        except NotPhotonCounts:
            return Twins(images.prediction, images.truth, AGAINST_TRUTH)

    def _resolution(self, mapped: Twins) -> Floats:
        try:
            return self._resolving.map(mapped.first, mapped.second).resolution_px.astype(np.float64)
        except CannotEvaluate:  # the table states why
            return np.full(mapped.first.shape, np.nan)

    def _rng(self, recorded: Recorded, stream: int) -> np.random.Generator:
        return np.random.default_rng([self.settings.seed, recorded.index, stream])

    def _data_range(self, truth: Floats) -> float:
        return self.settings.data_range or float(np.ptp(truth))

    def _pixel_size_nm(self, pair: Pair) -> float | None:
        return self.settings.pixel_size_nm or pair.pixel_size_nm
