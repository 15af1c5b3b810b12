"""How figures were taken, in sentences, and what a reader must be warned of."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from dimstream_models.training.evaluation.figures import METRICS, Kind, Row, unit_of
from dimstream_models.training.evaluation.resolving import HALVES, RECORDINGS
from dimstream_models.training.evaluation.rivals import Rivals
from dimstream_models.training.evaluation.scoring import NO_SCALE, ScoringSettings
from dimstream_models.training.evaluation.summary import values_of

ONE_SCALE: Final = (0.8, 1.25)
"""Gains of the line between a prediction and its truth from which on their counts are not the same."""
FEW_PAIRS: Final = 5


def statements(
    rows: Sequence[Row], settings: ScoringSettings, rivals: Rivals | None = None
) -> dict[str, str]:
    """Return how each figure was taken, by the figure's name."""
    return {
        "Scale": _scale(rows),
        **_filter(rivals),
        "SSIM, PSNR": f"scikit-image's, data range {_data_range(rows, settings)}; SSIM's window is 7 px.",
        "MAE": "Mean absolute difference, in the truth's counts.",
        "Pearson correlation": "Of the pixels. A straight line changes nothing about it.",
        "LPIPS": "VGG16 with the published linear heads; the data range is shown as white, 0 as black.",
        "Noise floor": "What the light behind the truth would score. The light is not known: the truth,"
        " smoothed by the Gaussian of the smallest unbiased risk, stands in for it, and fresh photon noise on"
        " that for the truth. Only for truths whose variance is their mean, as photon counts' is.",
        "FRC, rolling FRC": "The detail in which two independent images of a field agree"
        f" ({_correlated(rows)}); for a prediction, what the bundle makes of both. Threshold 1/7. A half"
        " has half of the photons, so its figures are those of half the dose. What a network invents alike"
        " from both agrees, too: it need not be true.",
        "FRC, rolling FRC against the truth": "The detail in which image and truth agree. Threshold 1/7. As"
        " long as the truth was recorded on its own, nothing that is invented counts. Two noisy halves agree"
        " in less than a clean image and a noisy one: do not compare these figures with those above.",
        "Rolling FRC": f"Blocks of 64 px, a value for each {settings.skip} x {settings.skip} px. Left out is"
        f" what is not brighter than {settings.background:g} of 255, each image relative to its maximum.",
        "Decorrelation": "Of each image alone (Descloux et al. 2019). It sees sharpness, not truth.",
        "Tests": "Shapiro-Wilk for normality; Mann-Whitney U, two-sided, between kinds. Both kinds are of the"
        " same fields of view, which this test, the paper's, makes no use of.",
    }


def warnings(rows: Sequence[Row]) -> Iterator[str]:
    """Yield what a reader must know before believing the figures."""
    gain = _median_line(rows, "fitted")[0]
    if any(row.figures["mae"].reason == NO_SCALE for row in rows if row.kind == "prediction"):
        yield f"Kind `prediction` has no figures in counts: {NO_SCALE}."
    elif not ONE_SCALE[0] <= gain <= ONE_SCALE[1]:
        yield (
            "The predictions are not in the truths' counts: to come closest to its truth, the median one"
            f" wants a gain of {gain:.3g}. MAE, SSIM, PSNR and LPIPS of kind `prediction` measure that first"
            " of all; those of kind `fitted` do not."
        )
    yield from _too_regular(rows)
    if (pairs := number_of_pairs(rows)) < FEW_PAIRS:
        yield f"{pairs} {'pair is' if pairs == 1 else 'pairs are'} too few to speak of a distribution."


def _too_regular(rows: Sequence[Row]) -> Iterator[str]:
    """Warn of predictions that look sharper than the light that they were made of."""
    metric = next(each for each in METRICS if each.key == "rfrc_mean")
    prediction, truth = values_of(rows, metric, "prediction"), values_of(rows, metric, "truth")
    if prediction and truth and (finer := np.median(prediction)) < (coarser := np.median(truth)):
        unit = unit_of(metric, rows)
        yield (
            f"The predictions of two images agree in finer detail (rolling FRC, median {finer:.3g} {unit})"
            f" than two images of the truth do ({coarser:.3g} {unit}). That shows how regular the network's"
            " output is, not what it resolves: go by the agreement with the truth."
        )


def number_of_pairs(rows: Sequence[Row]) -> int:
    """Return how many pairs the rows are of."""
    return sum(row.kind == "truth" for row in rows)


def _filter(rivals: Rivals | None) -> dict[str, str]:
    if rivals is None:
        return {}
    return {
        "Best filter": "Of Gaussian, median, non-local means and total variation the one with the highest"
        f" PSNR, at the strength that gives it: {rivals}. Tuned on {rivals.tuned_on}."
    }


def _scale(rows: Sequence[Row]) -> str:
    gain, offset = _median_line(rows, "fitted")
    noisy_gain, noisy_offset = _median_line(rows, "noisy")
    return (
        "Kind `prediction` is what the service delivers: the bundle's own gain, offset and clipping,"
        " nothing fitted to these truths. Kinds `noisy` and `fitted` are on the straight line (gain and"
        " offset by least squares) that brings each image closest to its own truth, which flatters them."
        f" Median lines: noisy {noisy_gain:.4g} and {noisy_offset:.4g}; prediction {gain:.4g} and"
        f" {offset:.4g}, where 1 and 0 mean that the bundle's counts are the truth's."
    )


def _median_line(rows: Sequence[Row], kind: Kind) -> tuple[float, float]:
    gain, offset = np.median([row.line for row in rows if row.kind == kind and row.line is not None], axis=0)
    return float(gain), float(offset)


def _data_range(rows: Sequence[Row], settings: ScoringSettings) -> str:
    if settings.data_range is not None:
        return f"{settings.data_range:g} counts, as set"
    lowest, highest = min(row.data_range for row in rows), max(row.data_range for row in rows)
    return f"the largest minus the smallest value of each truth ({lowest:g} to {highest:g} counts)"


def _correlated(rows: Sequence[Row]) -> str:
    ways = sorted({row.correlated for row in rows} & {HALVES, RECORDINGS})
    return "here " + " or ".join(ways) if ways else "here there are none"
