"""The truth for restored images: a recorded one or, without one, photons that were not used.

For a movie without a truth there are three yardsticks. Each favours something different, so all are reported.
Each has photon noise of its own, which is a limit for every restoration. It is subtracted before two
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
"""Share of each pixel's photons in the input; the rest is the truth."""


@dataclass(frozen=True, eq=False)
class Yardstick:
    """Images to restore, and the truth of each.

    Parameters
    ----------
    name : str
        Name in figures.
    title : str
        Name for people.
    favours : str
        One sentence: for what it is fair, and what it rewards that is not quality.
    noisy, truth : (N, H, W) arrays
    noise : (N,) array or None
        Variance of each truth's own photon noise; None: no noise, or unknown.
    """

    name: str
    title: str
    favours: str
    noisy: NDArray[Any]
    truth: Stack
    noise: NDArray[np.float64] | None = None

    @property
    def floor_db(self) -> float | None:
        """PSNR of a perfect restoration, which the truth's own noise limits, dB."""
        if self.noise is None or not (self.noise > 0).all():
            return None
        return float(np.mean(10 * np.log10(self.truth.max() ** 2 / self.noise)))


@dataclass(frozen=True)
class Absent:
    """A yardstick that is impossible for a movie, and why."""

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
    favours = "It is fair if the truth was recorded separately and nothing moved in between"
    return Yardstick("truth", "the truth", favours, noisy, np.asarray(truth, np.float64))


def of_movie(movie: NDArray[Any], *, seed: int = 0) -> list[Yardstick | Absent]:
    """Return the three yardsticks of a movie (T, H, W) without a truth, the fairest first.

    Raises
    ------
    CannotEvaluate
        When there is only one frame, and its photons cannot be split.
    """
    photons, why = _photons(movie)
    found: list[Yardstick | Absent] = [
        _set_aside(movie, seed) if photons else Absent("set_aside", SET_ASIDE, why)
    ]
    if len(movie) > 1:
        found += [_next_frame(movie, photons=photons), _others(movie, photons=photons)]
    else:
        one = "there is only one frame"
        found += [Absent("next_frame", NEXT_FRAME, one), Absent("others", OTHERS, one)]
    if all(isinstance(each, Absent) for each in found):
        raise CannotEvaluate(
            f"expected a movie of at least two frames, or photon counts, got one image; {why}: give its truth"
        )
    return found


SET_ASIDE: Final = f"{1 - KEPT_SHARE:.0%} of the same frame's photons, set aside"
NEXT_FRAME: Final = "the next frame"
OTHERS: Final = "the mean of the other frames"


def mean_of_the_others(movie: NDArray[Any]) -> Stack:
    """Return for each frame of a movie the mean of all others, scaled to this frame's brightness, (T, H, W).

    Bleaching is corrected by the frames' means.

    Raises
    ------
    CannotEvaluate
        When there is only one frame.
    """
    if len(movie) < 2:
        raise CannotEvaluate("expected a movie of at least two frames, got one image: give its truth")
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
        "The truth shows the same instant, so neither blur nor sharpness is favoured. Its noise is large, "
        "so it needs many frames",
        np.stack([each.kept for each in parts]),
        np.stack([each.truth for each in parts]),
        np.array([each.noise for each in parts]),
    )


def _next_frame(movie: NDArray[Any], *, photons: bool) -> Yardstick:
    later = np.asarray(movie[1:], np.float64)
    return Yardstick(
        "next_frame",
        NEXT_FRAME,
        "Motion since then counts as error for every restoration, and blur over possible positions is "
        "rewarded a little",
        movie[:-1],
        later,
        later.mean(axis=(1, 2)) if photons else None,
    )


def _others(movie: NDArray[Any], *, photons: bool) -> Yardstick:
    truth = mean_of_the_others(movie)
    return Yardstick(
        "others",
        OTHERS,
        "Moving structures are blurred in this truth, so blur is rewarded and sharpness penalised; it is "
        "fair only for a sample that does not move",
        movie,
        truth,
        truth.mean(axis=(1, 2)) / (len(movie) - 1) if photons else None,  # Poisson: a mean of T - 1 frames
    )
