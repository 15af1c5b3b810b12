"""All figures of the stress test, for a model and for a Gaussian that is tuned on other fields."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from tqdm import tqdm

from dimstream_models.training.evaluation.restoring import Restore
from dimstream_models.training.stress.cases import (
    DARK,
    PUNCTA_DARK,
    Case,
    Kind,
    full_cases,
    short_cases,
    spots,
    tubules,
)
from dimstream_models.training.stress.scenes import SIGMA_NM, Draw, Scene

FALSE_A_FIELD: Final = 3.0
NEAR_PX: Final = 3.0  # largest distance of a maximum that counts as detection of a punctum
SIGMAS: Final[tuple[float, ...]] = tuple(np.round(np.geomspace(0.5, 5, 12), 2).tolist())  # widths to try, px
GROUPS: Final = 12  # groups of the jackknife
PUNCTA_PHOTONS: Final = (3.0, 5.0, 10.0)
TOTAL_DOSES: Final = (0.1, 0.3, 1.0, 3.0, 10.0)
BACKGROUNDS: Final = (0.0, 1.0, 3.0)
BACKGROUND_DOSE: Final = 1.0

Image = NDArray[np.float64]
Shown = tuple[Scene, NDArray[np.uint16]]


@dataclass(frozen=True)
class Row:
    """One figure for the truth, the model and the tuned Gaussian."""

    kind: Kind
    size_nm: float | None
    photons: float
    truth: float
    model: float
    model_error: float | None
    gaussian: float
    gaussian_error: float | None
    sigma_px: float | None
    """Width of the tuned Gaussian, px."""
    ideal: float | None = None
    """Share that the likelihood ratio finds, which is given shape, brightness and background."""


@dataclass(frozen=True)
class Plan:
    """The number of measurements."""

    cases: tuple[Case, ...]
    pixel_nm: float
    fields: int  # fields of each case
    puncta: tuple[float, ...]
    puncta_fields: int
    totals: tuple[float, ...]
    total_fields: int


def full_plan(pixel_nm: float) -> Plan:
    """Return the plan of the whole table: about 250 fields of 256 x 256 px through the model."""
    return Plan(tuple(full_cases(pixel_nm)), pixel_nm, 2, PUNCTA_PHOTONS, 6, TOTAL_DOSES, 2)


def short_plan(pixel_nm: float) -> Plan:
    """Return the plan of a model card: the figures with goals, about 30 fields."""
    return Plan(tuple(short_cases(pixel_nm)), pixel_nm, 2, (5.0,), 3, (0.1, 0.3, 1.0, 10.0), 2)


def measure(restore: Restore, plan: Plan, *, seed: int, quiet: bool = False) -> list[Row]:
    """Return all rows of a plan; the same seed and model give the same rows."""
    jobs: list[Callable[[int], Iterator[Row]]] = [
        *(_triplets(restore, case, plan.fields) for case in plan.cases),
        *(_puncta(restore, photons, plan) for photons in plan.puncta),
        _totals(restore, plan),
        _contrasts(restore, plan),
    ]
    rows: list[Row] = []
    for index, job in enumerate(tqdm(jobs, desc="stress", unit="case", disable=quiet)):
        rows.extend(job(seed * 1_000_003 + index))
    return rows


def _triplets(restore: Restore, case: Case, fields: int) -> Callable[[int], Iterator[Row]]:
    def run(seed: int) -> Iterator[Row]:
        judged = _shown(case.draw, seed, 0, fields, case.dose, DARK)
        sigma = _tuned(_shown(case.draw, seed, 1, fields, case.dose, DARK), case.dose)
        truth = np.concatenate([scene.read(scene.light) for scene, _ in judged])
        model = np.concatenate([scene.read(restore(counts)) for scene, counts in judged])
        gaussian = np.concatenate([scene.read(filtered(counts, sigma)) for scene, counts in judged])
        yield Row(
            case.kind,
            case.size_nm,
            case.dose,
            case.score(truth),
            case.score(model),
            _jackknife(case.score, model),
            case.score(gaussian),
            _jackknife(case.score, gaussian),
            sigma,
        )

    return run


def _puncta(restore: Restore, photons: float, plan: Plan) -> Callable[[int], Iterator[Row]]:
    def run(seed: int) -> Iterator[Row]:
        draw, number = spots(plan.pixel_nm), plan.puncta_fields
        tuning = _shown(draw, seed, 1, number, photons, PUNCTA_DARK)
        judged = _shown(draw, seed, 0, number, photons, PUNCTA_DARK)

        def found(image: Callable[[NDArray[np.uint16]], NDArray[Any]]) -> NDArray[np.float64]:
            threshold = _threshold([(scene, image(counts)) for scene, counts in tuning])
            return np.concatenate([_found(scene, image(counts), threshold) for scene, counts in judged])

        def share(sigma: float) -> float:
            smoothed = [(scene, filtered(counts, sigma)) for scene, counts in tuning]
            threshold = _threshold(smoothed)
            return float(np.mean([_found(scene, image, threshold).mean() for scene, image in smoothed]))

        sigma = max(SIGMAS, key=share)
        ideal = found(lambda counts: likelihood_ratio(counts, photons, SIGMA_NM / plan.pixel_nm))
        model, gaussian = found(restore), found(lambda counts: filtered(counts, sigma))
        errors = [
            float(np.sqrt(max(v.mean() * (1 - v.mean()), 1 / v.size) / v.size)) for v in (model, gaussian)
        ]
        yield Row(
            "puncta",
            None,
            photons,
            1.0,
            float(model.mean()),
            errors[0],
            float(gaussian.mean()),
            errors[1],
            sigma,
            float(ideal.mean()),
        )

    return run


def _totals(restore: Restore, plan: Plan) -> Callable[[int], Iterator[Row]]:
    def run(seed: int) -> Iterator[Row]:
        def ratio(dose: float) -> float:
            fields = _shown(tubules(plan.pixel_nm), seed, 0, plan.total_fields, dose, 0.0)
            made = sum(float(np.sum(restore(counts), dtype=np.float64)) for _, counts in fields)
            return made / sum(float(counts.sum()) for _, counts in fields)

        ratios = {dose: ratio(dose) for dose in plan.totals}
        highest = max(ratios[max(plan.totals)], 1e-9)
        for dose, found in ratios.items():  # a Gaussian preserves the total
            yield Row("total", None, dose, 1.0, found / highest, None, 1.0, None, None)

    return run


def _contrasts(restore: Restore, plan: Plan) -> Callable[[int], Iterator[Row]]:
    def run(seed: int) -> Iterator[Row]:
        draw, number = tubules(plan.pixel_nm), plan.total_fields
        sigma = _tuned(
            _shown(draw, seed, 1, number, BACKGROUND_DOSE, BACKGROUNDS[-1] + DARK), BACKGROUND_DOSE
        )

        def slopes(background: float) -> tuple[float, float]:
            fields = _shown(draw, seed, 0, number, BACKGROUND_DOSE, background + DARK)
            light = np.stack([scene.light for scene, _ in fields])
            return (
                _slope(light, np.stack([restore(counts) for _, counts in fields])),
                _slope(light, np.stack([filtered(counts, sigma) for _, counts in fields])),
            )

        found = {background: slopes(background) for background in BACKGROUNDS}
        model, gaussian = (max(slope, 1e-9) for slope in found[0.0])
        for background in BACKGROUNDS[1:]:
            shares = found[background][0] / model, found[background][1] / gaussian
            yield Row("contrast", None, background, 1.0, shares[0], None, shares[1], None, sigma)

    return run


def _slope(light: Image, made: NDArray[Any]) -> float:
    return float(np.cov(light.ravel(), made.ravel().astype(np.float64))[0, 1] / light.var(ddof=1))


def _shown(draw: Draw, seed: int, part: int, number: int, dose: float, background: float) -> list[Shown]:
    """Return fields and their counts; part 0 is for the evaluation, part 1 for tuning."""
    rng = np.random.default_rng((seed, part, round(1000 * dose)))
    scenes = [draw(rng) for _ in range(number)]
    return [(scene, scene.exposed(rng, dose, background)) for scene in scenes]


def filtered(counts: NDArray[Any], sigma: float) -> Image:
    """Return counts (H, W) smoothed by a Gaussian of `sigma` px."""
    return np.asarray(ndimage.gaussian_filter(counts.astype(np.float64), sigma))


def likelihood_ratio(counts: NDArray[Any], photons: float, sigma: float) -> Image:
    """Return for each pixel of counts (H, W) the likelihood ratio of a punctum there and background alone.

    It is the logarithm, minus a constant, for a punctum of `photons` and a point spread function of `sigma`
    px, on `PUNCTA_DARK` counts. At a known position, no other test finds more at the same rate of false
    detections (Neyman and Pearson 1933, doi 10.1098/rsta.1933.0009).
    """
    reach = int(np.ceil(5 * sigma))
    y, x = np.indices((2 * reach + 1, 2 * reach + 1)) - reach
    light = photons * np.exp(-(x**2 + y**2) / (2 * sigma**2)) / (2 * np.pi * sigma**2)
    weight = np.log1p(light / PUNCTA_DARK)
    return np.asarray(ndimage.correlate(counts.astype(np.float64), weight, mode="constant"))


def _tuned(fields: Sequence[Shown], dose: float) -> float:
    """Return the width, px, whose image is closest to the truth after a straight-line fit."""

    def error(sigma: float) -> float:
        image = np.stack([filtered(counts, sigma) for _, counts in fields]).ravel()
        truth = dose * np.stack([scene.light for scene, _ in fields]).ravel()
        covariance: Image = np.cov(image, truth)
        return float(covariance[1, 1] - covariance[0, 1] ** 2 / max(float(covariance[0, 0]), 1e-12))

    return min(SIGMAS, key=error)


def _jackknife(score: Callable[[Image], float], values: Image) -> float:
    """Return the standard error of a score over the structures, (n, k), by a jackknife over groups."""
    groups = np.arange(len(values)) % GROUPS
    left = np.array([score(values[groups != group]) for group in range(GROUPS)])
    return float(np.sqrt((GROUPS - 1) / GROUPS * np.square(left - left.mean()).sum()))


def _maxima(image: NDArray[Any]) -> tuple[Image, Image]:
    """Return positions (m, 2) and values (m,) of an image's local maxima within 5 x 5 px."""
    image = np.asarray(image, np.float64)
    top = (image == ndimage.maximum_filter(image, 5)) & (image > image.min())
    return np.argwhere(top).astype(np.float64), image[top]


def _distances(scene: Scene, places: Image) -> Image:  # (m, n)
    return np.asarray(np.linalg.norm(places[:, None] - scene.places[None, :, 0], axis=-1), np.float64)


def _threshold(fields: Sequence[tuple[Scene, NDArray[Any]]]) -> float:
    """Return the height that, in each field, three maxima away from puncta exceed."""
    false: list[float] = []
    for scene, image in fields:
        places, values = _maxima(image)
        if len(values):
            false.extend(values[_distances(scene, places).min(axis=1) > NEAR_PX + 1].tolist())
    allowed = int(FALSE_A_FIELD * len(fields))
    return float(sorted(false, reverse=True)[allowed]) if len(false) > allowed else 0.0


def _found(scene: Scene, image: NDArray[Any], threshold: float) -> NDArray[np.float64]:
    """Return which puncta have a maximum above the threshold near them, (n,), 0 or 1."""
    places, values = _maxima(image)
    near = _distances(scene, places[values > threshold]) <= NEAR_PX  # (m, n)
    return np.asarray(near.any(axis=0), dtype=np.float64)
