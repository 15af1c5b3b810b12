"""A chunk of frames, analysed in one process and stored in two files, so that a stopped analysis can
resume."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from dimstream_client.files import ImageStack
from dimstream_models.analysis.errors import InvalidMovie, InvalidResults
from dimstream_models.analysis.frame import FrameFindings, FrameSettings, adjacent_ssim, analyse_frame
from dimstream_models.analysis.labels import Labels, LabelValues
from dimstream_models.analysis.linking import Links, link_gaps, link_places
from dimstream_models.analysis.movies import FrameRecord, Movie, opened
from dimstream_models.analysis.segmentation import Segmenter
from dimstream_models.bundle.schema import Confined
from dimstream_models.whole_files import write_whole

CHUNK_FRAMES: Final = 16


class FrameResult(Confined):
    """What a chunk stores of one frame.

    Parameters
    ----------
    figures : dict of str to number or None
        In px, by the names of `er_figures.FIGURES`.
    junctions, gaps : tuple of (y, x, size)
        Positions in px; size is the degree, or the area in px.
    junction_links, gap_links : Links or None
        Links to the frame before; None where that was not analysed, or was not taken directly before.
    """

    number: int
    figures: dict[str, int | float | None]
    junctions: tuple[tuple[float, float, float], ...]
    gaps: tuple[tuple[float, float, float], ...]
    junction_links: Links | None
    gap_links: Links | None


class ChunkResult(Confined):
    """The analysed frames of a chunk."""

    start: int
    stop: int
    frames: tuple[FrameResult, ...]


@dataclass(frozen=True)
class Job:
    """What a process needs to analyse chunks of one movie.

    Parameters
    ----------
    labels : Path or None
        A movie of labels for every frame; None where the segmenter makes them.
    reach_px : float
        How far a junction may move from one frame to the next.
    """

    movie: Movie
    labels: Path | None
    label_values: LabelValues | None
    segmenter: Segmenter | None
    settings: FrameSettings
    reach_px: float
    folder: Path

    def paths(self, start: int) -> tuple[Path, Path]:
        """Return the files of the chunk that starts at a frame: figures, and labels."""
        return self.folder / f"{start:07}.json", self.folder / f"{start:07}.npz"


@dataclass(frozen=True)
class _Seen:
    """A frame and its findings."""

    image: NDArray[Any]
    found: FrameFindings
    places: NDArray[np.float64]  # of junctions, (n, 2)
    degrees: tuple[int, ...]


def chunk_starts(movie: Movie) -> list[int]:
    """Return the first frame of every chunk."""
    return list(range(0, len(movie), CHUNK_FRAMES))


def analyse_chunk(job: Job, start: int) -> int:
    """Analyse the selected frames of a chunk, write its two files, and return how many frames it has.

    The frame before the chunk is analysed again, for the changes from it to the first frame.

    Raises
    ------
    AnalysisError
    """
    stop = min(start + CHUNK_FRAMES, len(job.movie))
    results, kept = [], {}
    for record, seen, before in _pairs(job, start, stop):
        results.append(_result(job, record, seen, before))
        kept[str(record.number)] = seen.found.labels
    figures, labels = job.paths(start)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **kept)
    write_whole(labels, buffer.getvalue())
    chunk = ChunkResult(start=start, stop=stop, frames=tuple(results))
    write_whole(figures, chunk.model_dump_json().encode())
    return stop - start


def read_chunk(job: Job, start: int) -> ChunkResult | None:
    """Return the stored results of a chunk; None if it was not analysed yet.

    Raises
    ------
    InvalidResults
        When the file is damaged.
    """
    path, labels = job.paths(start)
    if not (path.is_file() and labels.is_file()):
        return None
    try:
        return ChunkResult.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise InvalidResults(
            f"{path}: expected figures of frames, got {error.error_count()} faults: delete the file, and "
            "its frames are analysed again"
        ) from error


def read_labels(job: Job, start: int) -> dict[int, Labels]:
    """Return the labels, (H, W) uint8, of the analysed frames of a chunk, by frame number."""
    with np.load(job.paths(start)[1], allow_pickle=False) as kept:
        return {int(name): kept[name] for name in kept.files}


def _pairs(job: Job, start: int, stop: int) -> Iterator[tuple[FrameRecord, _Seen, _Seen | None]]:
    """Yield each selected frame, with the frame directly before it if that is selected too."""
    before: _Seen | None = None
    records = job.movie.records
    with ExitStack() as stack:
        images = stack.enter_context(opened(job.movie.path))
        labels = None if job.labels is None else stack.enter_context(opened(job.labels))
        for record in records[max(start - 1, 0) : stop]:
            if not record.counts or (record.number < start and not records[start].follows):
                before = None
                continue
            seen = _look(job, images, labels, record.number)
            if record.number >= start:
                yield record, seen, before if record.follows else None
            before = seen


def _look(job: Job, images: ImageStack, given: ImageStack | None, number: int) -> _Seen:
    image = images.read(number)
    labels = _given_labels(job, given, number) if job.segmenter is None else job.segmenter.segment(image)
    if labels.shape != image.shape:
        raise InvalidMovie(f"frame {number}: expected labels of {image.shape}, got {labels.shape}")
    found = analyse_frame(labels, job.settings)
    nodes = [(node, degree) for node, degree in found.graph.degree() if degree > 2]
    places = np.array([found.graph.nodes[node]["place"] for node, _ in nodes]).reshape(-1, 2)
    return _Seen(image, found, places, tuple(degree for _, degree in nodes))


def _given_labels(job: Job, given: ImageStack | None, number: int) -> Labels:
    assert given is not None  # without a segmenter, labels are given
    assert job.label_values is not None
    if len(given) != len(job.movie):
        raise InvalidMovie(
            f"{job.labels}: expected labels of {len(job.movie)} frames, as the movie has, got {len(given)}"
        )
    return job.label_values.labels(given.read(number), f"{job.labels}, frame {number}")


def _result(job: Job, record: FrameRecord, seen: _Seen, before: _Seen | None) -> FrameResult:
    gaps = seen.found.gaps
    return FrameResult(
        number=record.number,
        figures={
            **seen.found.figures,
            "ssim": adjacent_ssim(before.image, seen.image) if before else None,
        },
        junctions=tuple((y, x, n) for (y, x), n in zip(seen.places.tolist(), seen.degrees, strict=True)),
        gaps=tuple((y, x, n) for (y, x), n in zip(gaps.middle.tolist(), gaps.area_px.tolist(), strict=True)),
        junction_links=link_places(before.places, seen.places, reach=job.reach_px) if before else None,
        gap_links=link_gaps(before.found.gaps, gaps) if before else None,
    )
