"""From the chunks of a movie to its tables, labels and persistence maps, in one pass."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import tifffile
from numpy.typing import NDArray

from dimstream_models.analysis.chunks import FrameResult, Job, chunk_starts, read_chunk, read_labels
from dimstream_models.analysis.errors import InvalidResults
from dimstream_models.analysis.labels import Structure
from dimstream_models.analysis.linking import Links
from dimstream_models.analysis.movies import FrameRecord, Movie
from dimstream_models.analysis.tables import TableWriter
from dimstream_models.analysis.tracks import Follower, Track
from dimstream_models.er_figures import FIGURES, scaled

FRAMES: Final = "frames"
LABELS: Final = "labels.tif"
PERSISTENCE: Final = "persistence.tif"
THINGS: Final = ("junctions", "gaps")
EVENTS: Final = ("born", "split", "lost", "merged")
LEFT_OUT: Final = 255
"""Value in `labels.tif` of all pixels of a frame that was not analysed."""


@dataclass
class Persistence:
    """Number of frames in which each pixel was tubule, and sheet.

    Parameters
    ----------
    tubule, sheet : (H, W) int64
    frames : int
    """

    tubule: NDArray[np.int64]
    sheet: NDArray[np.int64]
    frames: int = 0

    def add(self, labels: NDArray[np.uint8]) -> None:
        """Count one frame's labels, (H, W)."""
        self.tubule += labels == Structure.TUBULE
        self.sheet += labels == Structure.SHEET
        self.frames += 1

    def shares(self) -> NDArray[np.float32]:
        """Return the shares of frames in which pixels were ER, tubule and sheet, (3, H, W)."""
        both = np.stack([self.tubule + self.sheet, self.tubule, self.sheet])
        return np.asarray(both / max(self.frames, 1), np.float32)


@dataclass
class Collated:
    """The results of one pass; `tracks` are counted by how they began and ended."""

    persistence: Persistence
    flags: Counter[str] = field(default_factory=Counter)


def collate(job: Job, folder: Path, about: Mapping[str, str]) -> Collated:
    """Write `frames`, `junctions` and `gaps` as CSV and Parquet, `labels.tif` and `persistence.tif`.

    Raises
    ------
    InvalidResults
        When a chunk is missing or damaged.
    """
    movie = job.movie
    done = Collated(Persistence(np.zeros(movie.shape, np.int64), np.zeros(movie.shape, np.int64)))
    with ExitStack() as stack:
        frames = stack.enter_context(TableWriter(folder / FRAMES, frame_columns(movie), about))
        tracks = {
            name: stack.enter_context(TableWriter(folder / name, track_columns(movie, name), about))
            for name in THINGS
        }
        followers = {name: Follower() for name in THINGS}
        images = stack.enter_context(tifffile.TiffWriter(folder / LABELS, bigtiff=True))
        for start in chunk_starts(movie):
            chunk = read_chunk(job, start)
            if chunk is None:
                raise InvalidResults(
                    f"{job.paths(start)[0]}: the results of frames from {start} on are missing; run the "
                    "analysis again"
                )
            results = {frame.number: frame for frame in chunk.frames}
            records = movie.records[chunk.start : chunk.stop]
            frames.write(_row(movie, record, results.get(record.number)) for record in records)
            for name, follower in followers.items():
                ended = [track for result in chunk.frames for track in _follow(name, follower, result)]
                tracks[name].write(_track_row(movie, name, track) for track in ended)
            done.flags.update(record.flag for record in records)
            _write_labels(images, job, start, records, done.persistence)
        for name, follower in followers.items():
            tracks[name].write(_track_row(movie, name, track) for track in follower.end())
    _write_persistence(folder / PERSISTENCE, done.persistence, movie)
    return done


def frame_columns(movie: Movie) -> dict[str, Any]:
    """Return names and types of the columns of `frames`."""
    known = movie.pixel_um is not None
    return {
        "frame": pa.int64(),
        "time_s": pa.float64(),
        "flag": pa.string(),
        "analysed": pa.bool_(),
        "interval_s": pa.float64(),
        **{
            figure.column(scaled=known): pa.int64() if figure.counted else pa.float64()
            for figure in FIGURES.values()
        },
        **{f"{name}_{event}": pa.int64() for name in THINGS for event in EVENTS},
    }


def track_columns(movie: Movie, name: str) -> dict[str, Any]:
    """Return names and types of the columns of `junctions` or `gaps`."""
    unit = "px" if movie.pixel_um is None else "um"
    return {
        "track": pa.int64(),
        "first_frame": pa.int64(),
        "last_frame": pa.int64(),
        "first_s": pa.float64(),
        "last_s": pa.float64(),
        "beginning": pa.string(),
        "ending": pa.string(),
        f"y_{unit}": pa.float64(),
        f"x_{unit}": pa.float64(),
        "degree" if name == "junctions" else f"area_{unit}2": pa.float64(),
    }


def _row(movie: Movie, record: FrameRecord, result: FrameResult | None) -> dict[str, Any]:
    row: dict[str, Any] = {
        "frame": record.number,
        "time_s": record.time_s,
        "flag": record.flag or None,
        "analysed": result is not None,
    }
    if result is None:
        return row
    row |= scaled(result.figures, movie.pixel_um)
    for name, links, seen in (
        ("junctions", result.junction_links, len(result.junctions)),
        ("gaps", result.gap_links, len(result.gaps)),
    ):
        if links is not None:
            row["interval_s"] = _interval(movie, record)
            row |= {f"{name}_{event}": n for event, n in _events(links, seen).items()}
    return row


def _interval(movie: Movie, record: FrameRecord) -> float | None:
    before = movie.records[record.number - 1].time_s
    return None if record.time_s is None or before is None else record.time_s - before


def _events(links: Links, seen: int) -> dict[str, int]:
    new = seen - len(links.same)
    split, merged = len(links.split), len(links.merged)
    return {"born": new - split, "split": split, "lost": links.lost, "merged": merged}


def _follow(name: str, follower: Follower, result: FrameResult) -> Iterator[Track]:
    if name == "junctions":
        return follower.add(result.number, result.junctions, result.junction_links)
    return follower.add(result.number, result.gaps, result.gap_links)


def _track_row(movie: Movie, name: str, track: Track) -> dict[str, Any]:
    side = 1.0 if movie.pixel_um is None else movie.pixel_um
    size = track.size if name == "junctions" else track.size * side**2
    values = (
        track.number,
        track.first,
        track.last,
        movie.records[track.first].time_s,
        movie.records[track.last].time_s,
        track.beginning,
        track.ending,
        track.y_px * side,
        track.x_px * side,
        size,
    )
    return dict(zip(track_columns(movie, name), values, strict=True))


def _write_labels(
    images: tifffile.TiffWriter,
    job: Job,
    start: int,
    records: tuple[FrameRecord, ...],
    persistence: Persistence,
) -> None:
    kept = read_labels(job, start)
    for record in records:
        labels = kept.get(record.number)
        if labels is None:
            labels = np.full(job.movie.shape, LEFT_OUT, np.uint8)
        else:
            persistence.add(labels)
        images.write(
            labels, compression="zlib", photometric="minisblack", metadata=None, **_resolution(job.movie)
        )


def _resolution(movie: Movie) -> dict[str, Any]:
    """Return the size of pixels as TIFF tags; an empty dict where it is unknown."""
    if movie.pixel_um is None:
        return {}
    return {"resolution": (1e4 / movie.pixel_um,) * 2, "resolutionunit": "CENTIMETER"}


def _write_persistence(path: Path, persistence: Persistence, movie: Movie) -> None:
    scale: dict[str, Any] = {}
    if movie.pixel_um is not None:
        scale = {f"PhysicalSize{axis}": movie.pixel_um for axis in "XY"}
        scale |= {f"PhysicalSize{axis}Unit": "µm" for axis in "XY"}
    names = {"Name": ["ER", "tubules", "sheets"]}
    tifffile.imwrite(
        path,
        persistence.shares(),
        ome=True,
        photometric="minisblack",
        metadata={"axes": "CYX", "Channel": names, **scale},
    )
