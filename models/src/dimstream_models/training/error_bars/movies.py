"""Error bars on recorded movies without a truth: half of a frame's photons measures the error on the other
half.

Both halves of a Poisson count are independent. Take the squared distance between a bundle's output for one
half and the other half, and subtract the photons of the latter (its own variance). Its mean is the squared
error. One pixel says almost nothing; sums over many pixels are accurate.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from tqdm import tqdm

from dimstream_models.bundle import apply_steps
from dimstream_models.training.error_bars.samples import Judged
from dimstream_models.training.errors import NotPhotonCounts
from dimstream_models.training.pairs.images import ImageFile, read_planes
from dimstream_models.training.pairs.noise import check_photon_counts
from dimstream_models.training.pairs.photon_split import split_photons

FRAMES: Final = 40  # frames of a movie, evenly chosen
SHARE: Final = 0.5  # share of the photons in the bundle's input
_SMOOTH_PX: Final = 4.0  # Gaussian by which a frame is divided into a brighter and a darker half
PARTS: Final = ("whole", "darker half", "brighter half")
_DRAWS: Final = 60  # random draws of the other half, for the shares


@dataclass(frozen=True, eq=False)
class HalfFrame:
    """A frame of half of the photons, the bundle's output for it, and the other half, each (H, W)."""

    counts: NDArray[np.float32]
    prediction: NDArray[np.float32]
    denoised: NDArray[np.float32]
    other: NDArray[np.float32]


@dataclass(frozen=True)
class MovieRow:
    """Results of photons set aside for one part of a movie.

    Parameters
    ----------
    variance_ratio, ratio_error : float
        Mean square error divided by mean square error bar, and its standard error over frames; 1 is correct.
    within_one, within_two : float
        Share of pixels whose other half is within the central 68 and 95 % of the distribution that
        prediction, error bar and photon noise predict.
    without_one, without_two : float
        The same if the prediction had no error, which shows how sensitive these shares are.
    """

    movie: str
    part: str
    frames: int
    photons: float
    variance_ratio: float
    ratio_error: float
    within_one: float
    within_two: float
    without_one: float
    without_two: float


def read_movie(path: Path) -> NDArray[np.int64]:
    """Return evenly chosen frames of a movie, (N, H, W) photon counts.

    Raises
    ------
    InvalidPairs
        When the file cannot be read.
    NotPhotonCounts
        When its values are not photon counts.
    """
    planes = read_planes(ImageFile(path)).values
    chosen = planes[np.unique(np.linspace(0, len(planes) - 1, min(FRAMES, len(planes))).astype(int))]
    if chosen.dtype.kind == "f" and (chosen != np.rint(chosen)).any():
        raise NotPhotonCounts(f"{path}: expected photon counts, got fractions")
    counts: NDArray[np.int64] = chosen.astype(np.int64)
    check_photon_counts([counts])
    return counts


def half_frames(judged: Judged, path: Path, *, seed: int) -> Iterator[HalfFrame]:
    """Yield frames of a movie whose photons are split.

    Raises
    ------
    InvalidPairs, NotPhotonCounts
        As `read_movie`.
    """
    rng = np.random.default_rng(seed)
    for frame in tqdm(read_movie(path), desc=path.name, unit="frame"):
        shown, other = split_photons(frame, SHARE, rng)
        prediction = judged.denoise(apply_steps(judged.bundle.preprocessing, shown.astype(np.float32)))
        yield HalfFrame(
            shown.astype(np.float32), prediction, judged.denoised(prediction), other.astype(np.float32)
        )


def judge_movie(judged: Judged, deviation: Any, path: Path, *, seed: int) -> list[MovieRow]:
    """Return the results of photons set aside in a movie: for whole frames, and for both halves by
    brightness.

    Parameters
    ----------
    deviation : callable
        An `adding.Deviation`.
    """
    rng = np.random.default_rng((seed, 1))
    found = [_judge(judged, deviation, half, rng) for half in half_frames(judged, path, seed=seed)]
    return [_row(path.stem, place, [frame[place] for frame in found]) for place in range(len(PARTS))]


def _judge(judged: Judged, deviation: Any, half: HalfFrame, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return for each part: pixels, photons, squared error, squared bar, four numbers of pixels inside; (3,
    8)."""
    expected = half.denoised / judged.counts_per_photon  # photons
    sd = deviation(half.counts, half.prediction) / judged.counts_per_photon
    squared = (expected - half.other) ** 2 - half.other
    smooth = ndimage.gaussian_filter(half.counts, _SMOOTH_PX)
    bright = smooth > np.median(smooth)
    ranks = _rank(expected, sd, half.other, rng), _rank(expected, 0 * sd, half.other, rng)
    inside = [abs(rank - 0.5) <= level / 2 for rank in ranks for level in (0.6827, 0.9545)]
    values = np.stack([np.ones_like(sd), half.other, squared, sd**2, *inside]).astype(float)
    return np.stack([values[:, mask].sum(axis=1) for mask in (np.ones_like(bright), ~bright, bright)])


def _rank(
    expected: NDArray[np.float32],
    sd: NDArray[np.float32],
    other: NDArray[np.float32],
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """Return the rank of the other half among random draws of it, 0 to 1; ties are broken at random."""
    below = np.zeros(other.shape)
    for _ in range(_DRAWS):
        light = np.maximum(expected + sd * rng.standard_normal(sd.shape), 0)
        drawn = rng.poisson(light)
        below += (drawn < other) + (drawn == other) * rng.random(other.shape)
    return below / _DRAWS


def _row(movie: str, place: int, frames: Sequence[NDArray[np.float64]]) -> MovieRow:
    sums = np.array(frames)
    pixels, photons, squared, bars, *inside = sums.sum(axis=0)
    ratio = squared / bars
    residual = sums[:, 2] - ratio * sums[:, 3]
    error = np.sqrt(len(sums) / max(len(sums) - 1, 1) * (residual**2).sum()) / bars
    shares = [float(number / pixels) for number in inside]
    return MovieRow(
        movie, PARTS[place], len(sums), float(photons / pixels), float(ratio), float(error), *shares
    )


def as_text(rows: Sequence[MovieRow]) -> str:
    """Return the rows as a Markdown table."""
    lines = [
        "| movie | part | frames | photons shown per pixel | squared error / squared bar"
        " | within 68 %, % | within 95 %, % | the same without error bars, % |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row.movie} | {row.part} | {row.frames} | {row.photons:.2f}"
        f" | {row.variance_ratio:.2f} ± {row.ratio_error:.2f} | {100 * row.within_one:.1f}"
        f" | {100 * row.within_two:.1f} | {100 * row.without_one:.1f}, {100 * row.without_two:.1f} |"
        for row in rows
    ]
    return "\n".join(lines)
