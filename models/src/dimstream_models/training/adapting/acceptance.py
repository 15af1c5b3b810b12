"""Whether an adapted network may be used: decided by frames and photons that were not used for training.

There are two measures, because neither is enough alone. Photons set aside of the same frame show blur and
invention, but their noise is large. The next frame has many photons, but does not show blur. A network is
accepted if the first measure is not worse and the second is better, each by twice its standard error over the
frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from dimstream_models.training.adapting.stored_movies import Counts, Stored
from dimstream_models.training.errors import NotBetter
from dimstream_models.training.evaluation.filters import evenly, fit_gain_and_offset
from dimstream_models.training.evaluation.gains import SURE, Margin, margin
from dimstream_models.training.evaluation.held_out_photons import set_aside
from dimstream_models.training.evaluation.references import KEPT_SHARE, mean_of_the_others
from dimstream_models.training.prediction import Denoise

TIMES: Final = 4  # number of times that photons of each frame are set aside, to reduce their noise
MOST_FRAMES: Final = 24  # frames of each movie that are judged
JUDGED_PX: Final = 256  # side of the central part of each frame that is judged
TITLES: Final = {
    "set_aside": f"{1 - KEPT_SHARE:.0%} of the same frame's photons, set aside",
    "next_frame": "the next frame",
    "others": "the mean of the other frames (does not decide: it rewards blur)",
}

Errors = NDArray[np.float64]  # (N,): mean square error of each frame
Target = tuple[NDArray[Any], NDArray[np.float64], float]
"""The frame to restore (H, W), its truth (H, W), and the variance of the truth's own noise."""


@dataclass(frozen=True)
class Judged:
    """Result of one measure on some frames.

    Parameters
    ----------
    gain : Margin
        Gain of the adapted network over the initial one.
    z : float
        Mean difference of their errors over the frames, in standard errors; below 0, the adapted one is
        better.
    """

    gain: Margin
    z: float

    def __str__(self) -> str:
        change = (
            "no figure, because the error is at the noise"
            if self.gain.db is None
            else f"{self.gain.db:+.2f} dB"
        )
        return f"{change}, z {self.z:+.1f}"


@dataclass(frozen=True)
class Decision:
    """Results of the acceptance test.

    Parameters
    ----------
    movies : dict of str to (dict of str to Judged)
        By movie, then by measure.
    together : dict of str to Judged
        For all frames of all movies.
    """

    movies: dict[str, dict[str, Judged]]
    together: dict[str, Judged]

    @property
    def reasons(self) -> list[str]:
        """Return the reasons to refuse it, one sentence each; empty if it is accepted."""
        found = []
        for name, judged in {**self.movies, "all frames together": self.together}.items():
            for kind in ("set_aside", "next_frame"):
                if judged[kind].z > SURE:
                    found.append(f"on {name} it is worse by {TITLES[kind]} ({judged[kind]})")
        if not found and not self.together["next_frame"].z <= -SURE:
            found.append(
                f"it is not better by {TITLES['next_frame']} ({self.together['next_frame']}, expected z of "
                f"at most {-SURE:g})"
            )
        return found

    @property
    def figures(self) -> dict[str, float]:
        """Return the figures that are stored in a bundle."""
        found: dict[str, float] = {}
        for kind, judged in self.together.items():
            found |= judged.gain.figures(f"adapted_{kind}_gain") | {f"adapted_{kind}_z": round(judged.z, 2)}
        return found

    def lines(self) -> list[str]:
        """Return a line for each movie and measure."""
        rows = {**self.movies, **({"all frames": self.together} if len(self.movies) > 1 else {})}
        return [
            f"  {name}, by {TITLES[kind]}: {each}"
            for name, judged in rows.items()
            for kind, each in judged.items()
        ]

    def require(self) -> None:
        """Refuse a network that is not better.

        Raises
        ------
        NotBetter
            With all figures.
        """
        if self.reasons:
            figures = "\n".join(self.lines())
            raise NotBetter(
                f"the adapted network is refused: {'; '.join(self.reasons)}. Compared with the initial "
                f"bundle, on frames and photons that were not used for training:\n{figures}\nNothing was "
                "written: keep the present bundle, or give more frames of the same sample"
            )


def judge(before: Denoise, after: Denoise, stored: Stored, *, seed: int) -> Decision:
    """Compare two networks on frames that were not used for training.

    Parameters
    ----------
    before, after : callable
        From counts to predictions on any linear scale: a straight line is fitted to the truth.
    seed : int
        Seed of the photons that are set aside.
    """
    movies: dict[str, dict[str, Judged]] = {}
    pooled: dict[str, list[tuple[Errors, Errors, Errors]]] = {}
    for number, movie in enumerate(stored.index.movies):
        targets = _targets(stored.deciding(number), stored.related(number)[movie.training :], seed)
        judged = {}
        for kind, each in targets.items():
            errors = (
                _errors(before, each, f"{movie.name}, before"),
                _errors(after, each, f"{movie.name}, after"),
            )
            noise = np.array([[noise for _, _, noise in times] for times in each]).mean(axis=1)
            judged[kind] = _judged([(*errors, noise)])
            pooled.setdefault(kind, []).append((*errors, noise))
        movies[f"{movie.name} ({number + 1})" if movie.name in movies else movie.name] = judged
    return Decision(movies, {kind: _judged(each) for kind, each in pooled.items()})


def _targets(frames: Counts, related: NDArray[np.bool_], seed: int) -> dict[str, list[list[Target]]]:
    """Return the targets of each judged frame, one or several, by measure."""
    seen = frames[:, _middle(frames.shape[1]), _middle(frames.shape[2])]
    chosen = evenly(len(seen), MOST_FRAMES)
    pairs = [place for place in range(len(seen) - 1) if related[place + 1]]
    others = mean_of_the_others(seen)
    aside = [
        [set_aside(seen[place], KEPT_SHARE, seed=seed + TIMES * place + time) for time in range(TIMES)]
        for place in chosen
    ]
    later = [(place, seen[place + 1].astype(np.float64)) for place in pairs]
    return {
        "set_aside": [[(each.kept, each.truth, each.noise) for each in times] for times in aside],
        "next_frame": [
            [(seen[place], frame, float(frame.mean()))]
            for place, frame in (later[index] for index in evenly(len(later), MOST_FRAMES))
        ],
        "others": [
            [(seen[place], others[place], float(others[place].mean()) / (len(seen) - 1))] for place in chosen
        ],
    }


def _middle(side: int) -> slice:
    start = max(0, (side - JUDGED_PX) // 2)
    return slice(start, start + JUDGED_PX)


def _errors(denoise: Denoise, targets: Sequence[Sequence[Target]], title: str) -> Errors:
    """Return each frame's mean square error, after fitting one straight line for all frames."""
    shown = tqdm(targets, desc=f"judging {title}", unit="frame", leave=False)
    restored = np.stack([[denoise(counts) for counts, _, _ in times] for times in shown]).astype(np.float64)
    truth = np.stack([[truth for _, truth, _ in times] for times in targets])
    errors = np.square(fit_gain_and_offset(restored, truth) - truth)
    return np.asarray(errors.mean(axis=(1, 2, 3)))


def _judged(movies: Sequence[tuple[Errors, Errors, Errors]]) -> Judged:
    """Return the result over all frames; errors are in units of each movie's noise, so that all have equal
    weight."""
    units = [max(float(noise.mean()), 1e-12) for _, _, noise in movies]
    before, after, noise = (
        np.concatenate([movie[part] / unit for movie, unit in zip(movies, units, strict=True)])
        for part in range(3)
    )
    differences = after - before
    spread = float(differences.std(ddof=1)) / np.sqrt(len(differences)) if len(differences) > 1 else 0.0
    z = float(differences.mean()) / spread if spread else 0.0
    return Judged(margin(after.tolist(), before.tolist(), noise=noise.tolist()), z)
