"""The analysis of a movie: chunks on every core, resumable, then tables and a summary."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import tifffile
from tqdm import tqdm

from dimstream_models.analysis.chunks import CHUNK_FRAMES, Job, analyse_chunk, chunk_starts, read_chunk
from dimstream_models.analysis.collating import FRAMES, PERSISTENCE, collate
from dimstream_models.analysis.errors import InvalidMovie, InvalidResults
from dimstream_models.analysis.frame import FrameSettings
from dimstream_models.analysis.labels import LabelValues
from dimstream_models.analysis.movies import Movie
from dimstream_models.analysis.pictures import draw_movie
from dimstream_models.analysis.segmentation import Segmenter
from dimstream_models.analysis.summary import SUMMARY, Summary, summarise, write_summary
from dimstream_models.analysis.tables import read_columns
from dimstream_models.whole_files import write_whole
from dimstream_models.worker_processes import worker_pool

CHUNKS: Final = "chunks"
WHAT: Final = "analysis.json"
PICTURE: Final = "figures.png"
REACH_UM: Final = 0.2
REACH_PX: Final = 10.0


@dataclass(frozen=True)
class AnalysisSettings:
    """How a movie is analysed.

    Parameters
    ----------
    frame : FrameSettings
    reach_um : float
        How far a junction may move from one frame to the next.
    reach_px : float
        The same, px, where the size of pixels is unknown.
    """

    frame: FrameSettings = field(default_factory=FrameSettings)
    reach_um: float = REACH_UM
    reach_px: float = REACH_PX


@dataclass(frozen=True)
class GivenLabels:
    """Labels of every frame from another program: a movie of values, and their meaning."""

    path: Path
    values: LabelValues


def analyse_movie(
    movie: Movie,
    source: Segmenter | GivenLabels,
    folder: Path,
    *,
    settings: AnalysisSettings | None = None,
    workers: int | None = None,
) -> Summary:
    """Analyse a movie into a folder, and return its summary.

    If the folder holds part of the same analysis, the rest is done. If the analysis is finished, only the
    summary is made again.

    Parameters
    ----------
    source : Segmenter or GivenLabels
    folder : Path
        A new one, or that of the same analysis.
    workers : int, optional
        Number of processes; by default one per core.

    Raises
    ------
    InvalidMovie
        When there is no frame to analyse, or one cannot be read.
    InvalidLabels, InvalidImage InvalidResults
        When the folder holds something else, or results of another movie or with other settings.
    """
    settings = settings or AnalysisSettings()
    if not any(record.counts for record in movie.records):
        raise InvalidMovie(
            f"{movie.path}: expected frames to analyse, got none of {len(movie)} with a flag of --take: "
            "name other flags (--take)"
        )
    about = _about(movie, source, settings)
    _check_folder(folder, about)
    job = _job(movie, source, settings, folder / CHUNKS)
    if not (folder / SUMMARY).is_file():
        (folder / CHUNKS).mkdir(exist_ok=True)
        _analyse_chunks(job, workers)
        plain = {key: json.dumps(value) for key, value in about.items()}
        collate(job, folder, plain)
    summary = summarise(movie, folder)
    frames = read_columns(folder / f"{FRAMES}.parquet")
    shares = tifffile.imread(folder / PERSISTENCE)  # (3, H, W)
    write_whole(folder / PICTURE, draw_movie(frames, shares[0]))
    write_summary(summary, folder, {**about, **_for_people(movie, source)})
    shutil.rmtree(folder / CHUNKS, ignore_errors=True)
    return summary


def _job(movie: Movie, source: Segmenter | GivenLabels, settings: AnalysisSettings, chunks: Path) -> Job:
    given = source if isinstance(source, GivenLabels) else None
    reach = settings.reach_px if movie.pixel_um is None else settings.reach_um / movie.pixel_um
    return Job(
        movie=movie,
        labels=given.path if given else None,
        label_values=given.values if given else None,
        segmenter=None if isinstance(source, GivenLabels) else source,
        settings=settings.frame,
        reach_px=reach,
        folder=chunks,
    )


def _about(movie: Movie, source: Segmenter | GivenLabels, settings: AnalysisSettings) -> dict[str, Any]:
    """Return everything on which the results depend; analyses with different values are different ones."""
    labels = source if isinstance(source, GivenLabels) else None
    return {
        "movie": _file(movie.path),
        "labels": None if labels is None else {**_file(labels.path), "values": str(labels.values)},
        "segmenter": None if labels is not None else repr(source),
        "frames": len(movie),
        "taken": "".join("1" if record.counts else "0" for record in movie.records),
        "pixel_um": movie.pixel_um,
        "settings": asdict(settings),
        "dimstream": version("dimstream-models"),
    }


def _for_people(movie: Movie, source: Segmenter | GivenLabels) -> dict[str, Any]:
    """Return the movie's path and how it was labelled; the results do not depend on these."""
    labels = (
        f"labels of another program, {source.path.name}" if isinstance(source, GivenLabels) else str(source)
    )
    return {"movie_path": str(movie.path.resolve()), "labelled_by": labels}


def _file(path: Path) -> dict[str, Any]:
    status = path.stat()
    return {"name": path.name, "bytes": status.st_size, "modified_ns": status.st_mtime_ns}


def _check_folder(folder: Path, about: dict[str, Any]) -> None:
    """Create the folder, or refuse one that holds anything other than part of this analysis."""
    what = folder / WHAT
    if what.is_file():
        try:
            same = json.loads(what.read_text()) == about
        except ValueError:
            same = False
        if not same:
            raise InvalidResults(
                f"{folder}: expected a part of this analysis, got one of another movie, or with other"
                " settings: choose another --out"
            )
        return
    if folder.is_dir() and any(folder.iterdir()):
        raise InvalidResults(f"{folder}: expected a new or an empty folder, got files: choose another --out")
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(what, (json.dumps(about, indent=1) + "\n").encode())


def _analyse_chunks(job: Job, workers: int | None) -> None:
    """Analyse the chunks that are missing; a progress bar counts frames."""
    starts = chunk_starts(job.movie)
    missing = [start for start in starts if read_chunk(job, start) is None]
    done = len(job.movie) - sum(min(CHUNK_FRAMES, len(job.movie) - start) for start in missing)
    with tqdm(total=len(job.movie), initial=done, desc="frames", unit="frame") as bar:
        if len(missing) < 2 or workers == 1:
            for start in missing:
                bar.update(analyse_chunk(job, start))
            return
        with worker_pool(workers) as pool:
            for count in _in_turn(pool, job, missing):
                bar.update(count)


def _in_turn(pool: ProcessPoolExecutor, job: Job, starts: list[int]) -> Iterator[int]:
    """Yield the number of frames of each finished chunk; after an error, no further chunk is begun."""
    running: set[Future[int]] = {pool.submit(analyse_chunk, job, start) for start in starts}
    try:
        while running:
            finished, running = wait(running, return_when=FIRST_COMPLETED)
            for future in finished:
                yield future.result()
    finally:
        for future in running:
            future.cancel()
