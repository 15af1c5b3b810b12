"""From a movie to an MP4 file, one frame at a time."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from dimstream_models.analysis.errors import InvalidMovie
from dimstream_models.analysis.graph import GraphSettings
from dimstream_models.analysis.movies import Movie
from dimstream_models.analysis.reports.cell import AnalysedCell
from dimstream_models.analysis.video.drawing import Layout, draw_pictures
from dimstream_models.analysis.video.encoder import VideoFile
from dimstream_models.analysis.video.sources import Contrast, Sources


@dataclass(frozen=True)
class VideoWritten:
    """Properties of the written movie.

    Parameters
    ----------
    frames : int
    size : (int, int)
        Width and height of the pictures.
    contrasts : dict of str to Contrast
    """

    frames: int
    size: tuple[int, int]
    contrasts: dict[str, Contrast]


def write_video(
    movie: Movie,
    path: Path,
    *,
    raw: Path | None = None,
    cell: AnalysedCell | None = None,
    frames_per_s: float = 15.0,
    every: int = 1,
) -> VideoWritten:
    """Write a movie as MP4: raw, denoised, and the findings, side by side; progress is shown.

    Parameters
    ----------
    raw : Path, optional
        The raw movie.
    cell : AnalysedCell, optional
        The movie's analysis.
    frames_per_s : float
        Playback speed.
    every : int
        Show every n-th frame.

    Raises
    ------
    InvalidMovie, CannotEncode
    """
    if path.suffix.lower() != ".mp4":
        raise InvalidMovie(f"{path}: expected a name that ends in .mp4, got {path.suffix or 'none'}")
    if every < 1 or not 0 < frames_per_s <= 240:
        raise InvalidMovie(
            f"expected --every from 1 on and 1 to 240 frames per second, got {every} and {frames_per_s:g}"
        )
    numbers = range(0, len(movie), every)
    with Sources(movie, raw=raw, cell=None if cell is None else cell.folder) as sources:
        graph = GraphSettings() if cell is None else cell.graph
        layout = Layout(movie.shape, sources.kinds, movie.pixel_um, sources.contrasts(numbers), graph)
        path.parent.mkdir(parents=True, exist_ok=True)
        with VideoFile(path, frames_per_s=frames_per_s) as video:
            for number in tqdm(numbers, desc="frames", unit="frame"):
                video.add(draw_pictures(sources.read(number), layout))
    return VideoWritten(len(numbers), layout.size, dict(layout.contrasts))
