"""What judges a restored image: its truth, or, where there is none, photons that it was not made of.

For a movie without a truth there are three, and each favours something else; so they stand side by side. Each
has photon noise of its own: a floor that no restoration gets below, and that is taken off before two
restorations are compared.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dimstream_models.training.errors import CannotEvaluate, NotPhotonCounts
from dimstream_models.training.evaluation.held_out_photons import set_aside
from dimstream_models.training.pairs.photon_split import check_photon_counts

Stack = NDArray[np.float64]  # (N, H, W)

KEPT_SHARE: Final = 0.9
"""Of each pixel's photons: what model and filters are shown where the rest judges."""


@dataclass(frozen=True, eq=False)
class Yardstick:
    """Images to restore, and what judges each of them.

    Parameters
    ----------
    name : str
        In figures.
    title : str
        For people.
    favours : str
        One sentence: what it is fair to, and what it rewards that is no quality.
    noisy, truth : (N, H, W) arrays
    noise : (N,) array or None
        Variance of each truth's own photon noise; None: it has none, or none that is known.
    """

    name: str
    title: str
    favours: str
    noisy: NDArray[Any]
    truth: Stack
    noise: NDArray[np.float64] | None = None

    @property
    def floor_db(self) -> float | None:
        """PSNR that a perfect restoration would reach: what the truth's own noise allows."""
        if self.noise is None or not (self.noise > 0).all():
            return None
        return float(np.mean(10 * np.log10(self.truth.max() ** 2 / self.noise)))


@dataclass(frozen=True)
class Absent:
    """A yardstick that a movie does not give, and why."""

    name: str
    title: str
    reason: str


def of_truth(noisy: NDArray[Any], truth: Stack) -> Yardstick:
    """Return the yardstick of images with a truth, both (T, H, W) photon counts.

    Raises
    ------
    CannotEvaluate
        When not every image has a truth of its size.
    """
    if noisy.shape != truth.shape:
        raise CannotEvaluate(
            f"expected a truth for each image, of its size; got noisy {noisy.shape}, truth {truth.shape}"
        )
    favours = "It is fair as long as the truth was recorded on its own and nothing moved in between"
    return Yardstick("truth", "the truth", favours, noisy, np.asarray(truth, np.float64))


def of_movie(movie: NDArray[Any], *, seed: int = 0) -> list[Yardstick | Absent]:
    """Return the three yardsticks of a movie (T, H, W) without a truth, the fairest first.

    Raises
    ------
    CannotEvaluate
        When there is one frame only, and its photons cannot be split.
    """
    photons, why = _photons(movie)
    found: list[Yardstick | Absent] = [
        _set_aside(movie, seed) if photons else Absent("set_aside", SET_ASIDE, why)
    ]
    if len(movie) > 1:
        found += [_next_frame(movie, photons=photons), _others(movie, photons=photons)]
    else:
        one = "there is one frame only"
        found += [Absent("next_frame", NEXT_FRAME, one), Absent("others", OTHERS, one)]
    if all(isinstance(each, Absent) for each in found):
        raise CannotEvaluate(
            f"expected a movie of two frames or more, or photon counts, got one image; {why}: give its truth"
        )
    return found


SET_ASIDE: Final = f"{1 - KEPT_SHARE:.0%} of the same frame's photons, set aside"
NEXT_FRAME: Final = "the next frame"
OTHERS: Final = "the mean of the other frames"


def mean_of_the_others(movie: NDArray[Any]) -> Stack:
    """Return, for each frame of a movie (T, H, W), the mean of all others, each at this frame's brightness.

    Bleaching is taken out by the frames' means.

    Raises
    ------
    CannotEvaluate
        When there is one frame only.
    """
    if len(movie) < 2:
        raise CannotEvaluate("expected a movie of two frames or more, got one image: give its truth")
    level = movie.mean(axis=(1, 2))
    levelled = movie / level[:, None, None]
    others = (levelled.sum(axis=0) - levelled) / (len(movie) - 1)
    return np.asarray(others * level[:, None, None])


def _photons(movie: NDArray[Any]) -> tuple[bool, str]:
    try:
        check_photon_counts([movie])
    except NotPhotonCounts as error:
        return False, str(error)
    return True, ""


def _set_aside(movie: NDArray[Any], seed: int) -> Yardstick:
    parts = [set_aside(frame, KEPT_SHARE, seed=seed + index) for index, frame in enumerate(movie)]
    return Yardstick(
        "set_aside",
        SET_ASIDE,
        "The same instant judges, and the same sample: neither blur over motion nor sharpness is favoured."
        " Its noise is large, so it wants many frames to be sure",
        np.stack([each.kept for each in parts]),
        np.stack([each.truth for each in parts]),
        np.array([each.noise for each in parts]),
    )


def _next_frame(movie: NDArray[Any], *, photons: bool) -> Yardstick:
    later = np.asarray(movie[1:], np.float64)
    return Yardstick(
        "next_frame",
        NEXT_FRAME,
        "What moved since counts against every restoration, and blur that covers where it may have gone is"
        " rewarded a little",
        movie[:-1],
        later,
        later.mean(axis=(1, 2)) if photons else None,
    )


def _others(movie: NDArray[Any], *, photons: bool) -> Yardstick:
    truth = mean_of_the_others(movie)
    return Yardstick(
        "others",
        OTHERS,
        "What moves is blurred in this truth, so blur is rewarded and sharpness counts against whoever has"
        " it; fair only to a sample that stands still",
        movie,
        truth,
        truth.mean(axis=(1, 2)) / (len(movie) - 1) if photons else None,  # Poisson: a mean of T - 1 frames
    )
