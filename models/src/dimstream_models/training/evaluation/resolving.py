"""Resolution: the detail to which two images of one field agree, and that of a single image.

Fourier ring correlation measures resolution only between images with independent noise. The program behind
the paper's rolling FRC correlates two recordings, or the predictions of two inputs (Zhao et al. 2022, doi
10.1101/2022.12.01.518675). Without a second recording, the photons of one recording are split into two. Two
images of every other pixel are not used: their agreement depends on the sampling of the sample, and that
program calls the method unstable.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dimstream_models.training.errors import CannotEvaluate, NotPhotonCounts
from dimstream_models.training.evaluation.metric_tables import Figure, absent, take
from dimstream_models.training.evaluation.restoring import Restore
from dimstream_models.training.metrics.decorrelation import decorrelation
from dimstream_models.training.metrics.frc import RollingFrc, frc_resolution_px, rolling_frc
from dimstream_models.training.metrics.images import WHY_NONE
from dimstream_models.training.pairs.photon_split import check_photon_counts, split_photons

Plane = NDArray[Any]  # (H, W)

AGREEMENT: Final = ("frc", "rfrc_mean", "rfrc_min")
HALVES: Final = "two halves of the photons"
RECORDINGS: Final = "two recordings"


@dataclass(frozen=True)
class Twins:
    """Two images of one field with independent noise."""

    first: Plane
    second: Plane
    how: str

    def restored(self, restore: Restore) -> Twins:
        """Return the predictions of both."""
        return Twins(restore(self.first), restore(self.second), f"the predictions of {self.how}")


def twins(counts: Plane, again: Plane | None, rng: np.random.Generator) -> Twins:
    """Return both recordings of a field, (H, W) counts or, if there is only one, two halves of its photons.

    Each photon goes to either half with probability 1/2. The halves of Poisson counts are independent Poisson
    counts with half the light.

    Raises
    ------
    NotPhotonCounts
        When there is only one recording, and it does not contain photon counts.
    """
    if again is not None:
        return Twins(counts, again, RECORDINGS)
    check_photon_counts([counts[None]])
    return Twins(*split_photons(np.rint(counts).astype(np.int64), 0.5, rng), HALVES)


@dataclass(frozen=True)
class Resolving:
    """How resolution is measured.

    Parameters
    ----------
    skip : int
        Side of the rolling FRC's squares that get one value, px.
    background : float
        The rolling FRC ignores blocks that are not brighter than this, of 255.
    """

    skip: int
    background: float

    def alone(self, image: Plane) -> dict[str, Figure]:
        """Return the resolution, px, of a single image, (H, W) counts."""
        found = take(lambda: decorrelation(image).resolution_px, otherwise=WHY_NONE["decorrelation"])
        return {"decorrelation": found}

    def of_twins(self, make: Callable[[], Twins]) -> tuple[dict[str, Figure], str]:
        """Return the detail to which twins agree, px, and their description; "" if there are none."""
        try:
            pair = make()
        except NotPhotonCounts as error:
            return absent(AGREEMENT, str(error)), ""
        return self.agreement(pair.first, pair.second), pair.how

    def agreement(self, first: Plane, second: Plane) -> dict[str, Figure]:
        """Return the detail, px, to which two images, (H, W) counts, agree."""
        try:
            mapped = self.map(first, second)
        except CannotEvaluate as error:
            return absent(AGREEMENT, str(error))
        return {
            "frc": take(lambda: frc_resolution_px(first, second), otherwise=WHY_NONE["frc"]),
            "rfrc_mean": take(lambda: mapped.mean_px, otherwise=WHY_NONE["rolling_frc"]),
            "rfrc_min": take(lambda: mapped.minimum_px, otherwise=WHY_NONE["rolling_frc"]),
        }

    def against(self, image: Plane, truth: Plane) -> dict[str, Figure]:
        """Return the detail, px, to which an image agrees with its truth, both (H, W), under other names."""
        return {f"truth_{key}": found for key, found in self.agreement(image, truth).items()}

    def map(self, first: Plane, second: Plane) -> RollingFrc:
        """Return the detail, px, to which two images, (H, W) counts, agree around each pixel."""
        return rolling_frc(first, second, skip=self.skip, background=self.background)
