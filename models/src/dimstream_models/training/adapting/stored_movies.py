"""Movies for adaptation, stored once: training frames, held-out photons of these, and deciding frames.

A folder holds `movies.json` (the index, written last) and three files of uint16, (T, H, W), of each movie:
`000-shown.npy` (the photons for training), `000-held.npy` (held-out photons of the same frames, which choose
the best epoch) and `000-deciding.npy` (later frames, never used for training, which decide on acceptance).
They are memory-mapped, so memory does not grow with a movie.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray
from pydantic import Field, ValidationError
from tqdm import tqdm

from dimstream_client.files import ImageStack, TiffError, open_images
from dimstream_models.bundle.schema import Confined, Sha256
from dimstream_models.quality.structure import structure_score
from dimstream_models.training.adapting.frame_similarity import likeness
from dimstream_models.training.errors import CannotAdapt, InvalidPairs, NotPhotonCounts
from dimstream_models.training.pairs.counts import whole_counts
from dimstream_models.training.pairs.images import ImageFile
from dimstream_models.training.pairs.photon_split import check_photon_counts, split_photons
from dimstream_models.whole_files import write_whole

INDEX: Final = "movies.json"
MOST_FRAMES: Final = 240  # most frames of all movies together; of more, evenly spread runs of frames are used
RUN_FRAMES: Final = 8  # frames in such a run
FEWEST_FRAMES: Final = 15
TRAINING_SHARE: Final = 2 / 3  # share of a movie's frames for training, the first ones
HELD_SHARE: Final = 0.15  # share of the training frames' photons for training
FEWEST_PAIRS: Final = 3  # fewest pairs of neighbours that decide
CHECKED_FRAMES: Final = 16  # frames whose noise is measured
SMALLEST_SIDE: Final = 32
FIVE_ERRORS: Final = 5.0
"""Structure score at which a frame shows more than noise."""
RELATED: Final = 0.5
"""Likeness at which the next frame shows the same sample."""
STILL: Final = 0.98
"""Likeness of neighbours at which a sample does not move, so that the order of frames cannot be checked."""
FAR_FRAMES: Final = 5  # neighbours are more alike than frames this far apart

Counts = NDArray[np.uint16]


class StoredMovie(Confined):
    """One movie in the index."""

    name: str
    """Name of the file."""
    sha256: Sha256
    """Hash of the whole file."""
    frames: tuple[int, ...]
    """Numbers in the movie of the stored frames, rising."""
    training: int = Field(ge=1)
    """Number of these for training, the first ones; the others decide."""
    likeness: tuple[float, ...]
    """Likeness of each stored frame and the one stored before it; 0 if it is not the movie's next frame."""
    pixel_size_nm: float | None = Field(gt=0)


class StoredIndex(Confined):
    """`movies.json`."""

    seed: int
    """Seed of the held-out photons."""
    files: dict[str, Sha256]
    """Hashes of all stored files."""
    movies: tuple[StoredMovie, ...] = Field(min_length=1)


@dataclass(frozen=True)
class Stored:
    """Stored movies; images are read from disk when needed."""

    folder: Path
    index: StoredIndex

    @property
    def sha256(self) -> str:
        """One hash of all files."""
        return hashlib.sha256(self.index.model_dump_json().encode()).hexdigest()

    @property
    def pixel_size_nm(self) -> float | None:
        """Pixel size of the first movie that states it."""
        return next((movie.pixel_size_nm for movie in self.index.movies if movie.pixel_size_nm), None)

    def shown(self, number: int) -> Counts:
        """Return a movie's photons for training, (T, H, W), memory-mapped."""
        return self._open(number, "shown")

    def held(self, number: int) -> Counts:
        """Return the held-out photons of the same frames, (T, H, W), memory-mapped."""
        return self._open(number, "held")

    def deciding(self, number: int) -> Counts:
        """Return a movie's frames that are not used for training, (T, H, W), memory-mapped."""
        return self._open(number, "deciding")

    def related(self, number: int) -> NDArray[np.bool_]:
        """Return which stored frames of a movie show the same sample as the one stored before them, (T,)."""
        return np.array(self.index.movies[number].likeness) >= RELATED

    def _open(self, number: int, part: str) -> Counts:
        loaded: Counts = np.load(self.folder / _file(number, part), mmap_mode="r", allow_pickle=False)
        return loaded


def store_movies(paths: Sequence[Path], folder: Path, *, seed: int) -> Stored:
    """Store movies of photon counts in a folder, and check that they can be used for training.

    Raises
    ------
    CannotAdapt
        When a movie is too short, shows no sample, or its frames are not successive.
    NotPhotonCounts
        When its values are not photon counts; the message states what was measured.
    InvalidPairs
        When it cannot be read.
    """
    folder.mkdir(parents=True, exist_ok=True)
    most = max(FEWEST_FRAMES, MOST_FRAMES // len(paths))
    movies = [_store(path, folder, number, seed=seed, most=most) for number, path in enumerate(paths)]
    files = {path.name: ImageFile(path).sha256() for path in sorted(folder.glob("*.npy"))}
    index = StoredIndex(seed=seed, files=files, movies=tuple(movies))
    write_whole(folder / INDEX, index.model_dump_json(indent=1).encode())
    return Stored(folder, index)


def read_stored(folder: Path) -> Stored:
    """Return the movies that `store_movies` stored.

    Raises
    ------
    CannotAdapt
        When the folder is incomplete, or a file has changed.
    """
    try:
        index = StoredIndex.model_validate_json((folder / INDEX).read_bytes())
        changed = [
            name for name, sha256 in index.files.items() if ImageFile(folder / name).sha256() != sha256
        ]
    except (OSError, ValidationError) as error:
        raise CannotAdapt(f"expected stored movies in {folder}, got: {error}; start again") from error
    if changed:
        raise CannotAdapt(f"{folder}: {', '.join(changed)} changed since it was stored; start again")
    return Stored(folder, index)


def is_stored(path: Path) -> bool:
    """Return whether a file has a name of `store_movies`."""
    return bool(re.fullmatch(r"\d{3}-(shown|held|deciding)\.npy|movies\.json(\.partial)?", path.name))


def chosen_frames(number: int, most: int) -> list[int]:
    """Return the numbers of the frames to store: all, or evenly spread runs of neighbours."""
    if number <= most:
        return list(range(number))
    starts = np.linspace(0, number - RUN_FRAMES, max(1, most // RUN_FRAMES)).round().astype(int)
    return sorted({int(start) + place for start in starts for place in range(RUN_FRAMES)})


def _store(path: Path, folder: Path, number: int, *, seed: int, most: int) -> StoredMovie:
    if not path.is_file():
        raise InvalidPairs(f"{path}: expected a file, but there is none: check the path")
    try:
        with open_images(path) as stack:
            _check_shape(path, stack)
            frames = chosen_frames(len(stack), most)
            training = round(len(frames) * TRAINING_SHARE)
            pixel = stack.square_pixel_um
            alike = _write(path, stack, frames, training, folder, number, seed)
    except TiffError as error:
        raise InvalidPairs(f"{path}: {error.detail}") from error
    if (pairs := sum(each >= RELATED for each in alike[training + 1 :])) < FEWEST_PAIRS:
        raise CannotAdapt(
            f"{path}: expected at least {FEWEST_PAIRS} frames in the last third that are followed by a "
            f"frame of the same sample, because these decide, got {pairs}: give all frames of one field of "
            "view, in order"
        )
    return StoredMovie(
        name=path.name,
        sha256=ImageFile(path).sha256(),
        frames=tuple(frames),
        training=training,
        likeness=tuple(alike),
        pixel_size_nm=None if pixel is None else pixel * 1e3,
    )


def _check_shape(path: Path, stack: ImageStack) -> None:
    others = {
        axis: n for axis, n in zip(stack.axes[:-2], stack.shape[:-2], strict=True) if axis != "T" and n > 1
    }
    if others:
        raise CannotAdapt(
            f"{path}: expected a movie of one channel, plane and position, got axes {stack.axes} of"
            f" {stack.shape}: save the frames of one of them as a separate file"
        )
    if len(stack) < FEWEST_FRAMES:
        raise CannotAdapt(
            f"{path}: expected a movie of at least {FEWEST_FRAMES} frames, because a third of them must "
            f"decide whether it helped, got {len(stack)}"
        )
    if min(stack.frame_shape) < SMALLEST_SIDE:
        raise CannotAdapt(
            f"{path}: expected frames of at least {SMALLEST_SIDE} px a side, got {stack.frame_shape}"
        )


def _write(
    path: Path, stack: ImageStack, frames: Sequence[int], training: int, folder: Path, number: int, seed: int
) -> list[float]:
    """Write the files of one movie, and return the likeness of its neighbouring frames."""
    check_noise(path, [stack.read(n) for n in frames[:CHECKED_FRAMES]])
    rng = np.random.default_rng((seed, number))
    sides = stack.frame_shape

    def new(part: str, count: int) -> Any:
        return open_memmap(folder / _file(number, part), "w+", np.uint16, (count, *sides))

    shown, held = new("shown", training), new("held", training)
    deciding = new("deciding", len(frames) - training)
    meter = _Order(path)
    for place, n in enumerate(tqdm(frames, desc=f"reading {path.name}", unit="frame")):
        counts = whole_counts(stack.read(n), subtract=0, name=f"{path.name}, frame {n}")
        meter.add(n, counts)
        if place < training:
            held[place], shown[place] = split_photons(counts.astype(np.int64), HELD_SHARE, rng)
        else:
            deciding[place - training] = counts
    for written in (shown, held, deciding):
        written.flush()
    return meter.checked()


def check_noise(path: Path, frames: Sequence[NDArray[Any]]) -> None:
    """Refuse a movie whose values are not photon counts, given some frames (H, W) in order.

    Raises
    ------
    NotPhotonCounts
        The message states what was measured.
    """
    try:
        check_photon_counts([np.stack(frames)])
    except NotPhotonCounts as error:
        raise NotPhotonCounts(f"{path}: {error}") from error


class _Order:
    """Checks the frames of one movie: whether they show a sample, and whether each follows the last."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.before: list[tuple[int, NDArray[Any]]] = []
        self.scores: list[float] = []
        self.next: list[float] = []  # 0 where the frame before was not stored
        self.far: list[float] = []  # without a jump between them

    def add(self, n: int, counts: NDArray[Any]) -> None:
        """Add frame `n`, (H, W) counts."""
        self.scores.append(structure_score(counts))
        numbers = dict(self.before)
        self.next.append(likeness(numbers[n - 1], counts) if n - 1 in numbers else 0.0)
        if n - FAR_FRAMES in numbers and min(self.next[-FAR_FRAMES:]) >= RELATED:
            self.far.append(likeness(numbers[n - FAR_FRAMES], counts))
        self.before = [*self.before, (n, counts)][-FAR_FRAMES:]

    def checked(self) -> list[float]:
        """Return the likeness of each frame and the one before it, or refuse the movie.

        Raises
        ------
        CannotAdapt
            When most frames show only noise, most neighbours show different samples, or neighbours are no
            more alike than frames further apart.
        """
        score = float(np.median(self.scores))
        if score < FIVE_ERRORS:
            raise CannotAdapt(
                f"{self.path}: expected a sample in the frames, got only noise: structure scores of "
                f"{min(self.scores):.1f} to {max(self.scores):.1f}, expected at least {FIVE_ERRORS:g}. A "
                "network that is adapted to noise damages the images of every sample"
            )
        near, far = np.array([each for each in self.next if each]), np.array(self.far)
        if not len(near) or np.median(near) < RELATED:
            raise CannotAdapt(
                f"{self.path}: expected successive frames, got neighbours that show different samples "
                f"(likeness {_spread(near)}, expected at least {RELATED:g}, where 1 is the same): give all "
                "frames of one field of view, in order"
            )
        near = near[near >= RELATED]
        if not len(far):
            return self.next
        gap = float(near.mean() - far.mean())
        error = float(np.hypot(_error(near), _error(far)))
        if near.mean() < STILL and gap < 2 * error:
            raise CannotAdapt(
                f"{self.path}: expected neighbouring frames to be more alike than frames {FAR_FRAMES} apart,"
                f" got a likeness of {_spread(near)} and {_spread(far)}: the frames are not in order, or "
                "the sample moves too fast for the frame interval. Give all frames in order"
            )
        return self.next


def _error(values: NDArray[np.float64]) -> float:
    return float(values.std() / np.sqrt(max(len(values), 1)))


def _spread(values: NDArray[np.float64]) -> str:
    return f"{values.mean():.3f} \u00b1 {_error(values):.3f}" if len(values) else "none"


def _file(number: int, part: str) -> str:
    return f"{number:03}-{part}.npy"
