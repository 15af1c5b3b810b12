"""Reads a recording while the server writes it.

The server writes a frame's page, then its line in `frames.jsonl` (`docs/recording.md`). So when a line is
complete, its page is complete too. No lock is needed: the server never waits for a reader.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

import numpy as np
import tifffile
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dimstream_models.training.adapting.stored_movies import FEWEST_FRAMES, MOST_FRAMES
from dimstream_models.training.errors import CannotAdapt
from dimstream_models.training.settings.complaints import complaints

DESCRIPTION: Final = "recording.json"
LINES: Final = "frames.jsonl"
RAW: Final = "raw.ome.tif"
SUMS: Final = "SHA256SUMS"

Plane = tuple[int, int, int]


class _Written(BaseModel):
    """Data that a server writes; unknown keys of a newer server are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore", protected_namespaces=())


class WrittenModel(_Written):
    """A model that was in use."""

    id: str
    sha256: str


class InForceFrom(_Written):
    """The model and thresholds for frames from `from_seq` on."""

    from_seq: int
    model: WrittenModel
    thresholds: dict[str, float | None]


class _Detector(_Written):
    offset: float
    gain: float


class _Description(_Written):
    dimstream_recording: Literal[1]
    stream: str
    shape: tuple[int, int]
    in_dtype: str
    format: str
    pixel_size_um: float | None = Field(gt=0)
    detector: _Detector | None = None
    model: WrittenModel
    thresholds: dict[str, float | None]


class _Index(_Written):
    c: int
    z: int
    p: int


class _Line(_Written):
    event: str | None = None
    seq: int | None = None
    page: int | None = None
    index: _Index | None = None
    t_acq: float | None = None


@dataclass(frozen=True)
class RecordedFrame:
    """The page of a frame, and its acquisition time, s; None if the sender did not state it."""

    page: int
    plane: Plane
    t_acq: float | None


@dataclass(frozen=True, kw_only=True)
class FirstFrames:
    """The part of a stream that is used: the first minutes, and at most `most` frames."""

    minutes: float = 3.0
    most: int = MOST_FRAMES

    def of(self, frames: list[RecordedFrame]) -> list[RecordedFrame] | None:
        """Return the frames of that part; None until all of them have arrived.

        Frames without times are counted only. There are never fewer frames than an adaptation needs.
        """
        for number, frame in enumerate(frames, start=1):
            if number >= self.most or (number >= FEWEST_FRAMES and self._is_over(frames[0], frame)):
                return frames[:number]
        return None

    def _is_over(self, first: RecordedFrame, last: RecordedFrame) -> bool:
        if first.t_acq is None or last.t_acq is None:
            return False
        return last.t_acq - first.t_acq >= 60 * self.minutes


class GrowingRecording:
    """The recording of one stream.

    Parameters
    ----------
    folder : Path
        Folder of the recording.
    stream : str
        Id of the stream whose recording is expected there.

    Raises
    ------
    CannotAdapt
        When it is not a recording, is that of another stream, or does not hold photon counts in a readable
        format.
    """

    def __init__(self, folder: Path, stream: str) -> None:
        self.folder = folder
        self._description = _description(folder)
        if self._description.stream != stream:
            raise CannotAdapt(
                f"{folder}: expected the recording of stream {stream}, got that of"
                f" {self._description.stream}: give the folder that this server records to (recording.folder)"
            )

    @property
    def pixel_size_um(self) -> float | None:
        """Side of a pixel; None if the sender did not state it."""
        return self._description.pixel_size_um

    @property
    def is_final(self) -> bool:
        """Whether the stream has ended, so that its files are complete."""
        return (self.folder / SUMS).exists()

    def nbytes(self, frames: int) -> int:
        """Bytes of the raw pixels of this number of frames."""
        return frames * math.prod(self._description.shape) * np.dtype(self._description.in_dtype).itemsize

    def require_photons(self) -> None:
        """Refuse a recording from which no photon counts can be read.

        Raises
        ------
        CannotAdapt
        """
        if self._description.format != "tiff":
            raise CannotAdapt(
                f"{self.folder}: expected a recording as TIFF, got {self._description.format}: set"
                ' recording.format = "tiff" for the next stream'
            )
        if (detector := self._description.detector) is not None:
            raise CannotAdapt(
                f"{self.folder}: expected photon counts, got values of a detector (offset"
                f" {detector.offset:g}, gain {detector.gain:g}): training splits photons, which is "
                "impossible with such values. Adapt to a stream of a photon-counting detector"
            )

    def frames(self) -> list[RecordedFrame]:
        """Return the frames recorded so far, in order.

        Raises
        ------
        CannotAdapt
            When there are several planes, or unknown lines.
        """
        found = [
            RecordedFrame(line.page, (line.index.c, line.index.z, line.index.p), line.t_acq)
            for line in self._lines(_Line)
            if line.event is None and line.page is not None and line.index is not None
        ]
        if planes := sorted({frame.plane for frame in found})[1:]:
            raise CannotAdapt(
                f"{self.folder}: expected a movie of one channel, plane and position, got frames of"
                f" {len(planes) + 1}, also c={planes[0][0]}, z={planes[0][1]}, p={planes[0][2]}: adapt to a"
                " stream of one of them"
            )
        return found

    def in_force(self) -> list[InForceFrom]:
        """Return the models and thresholds in use since the first frame, in order.

        Raises
        ------
        CannotAdapt
            When there are unknown lines.
        """
        first = InForceFrom(
            from_seq=0, model=self._description.model, thresholds=self._description.thresholds
        )
        return [first, *self._lines(InForceFrom, event="update")]

    def write_movie(self, frames: list[RecordedFrame], path: Path) -> None:
        """Write the raw pixels of these frames into a separate OME-TIFF, completely or not at all.

        Raises
        ------
        CannotAdapt
            When a page differs from its line.
        OSError
        """
        partial = path.with_name(f"{path.name}.partial")
        size = self.pixel_size_um
        scale = {} if size is None else _scale(size)
        tifffile.imwrite(
            partial,
            self._pages(frames),
            shape=(len(frames), *self._description.shape),
            dtype=self._description.in_dtype,
            ome=True,
            photometric="minisblack",
            metadata={"axes": "TYX", **scale},
        )
        partial.replace(path)

    def _pages(self, frames: list[RecordedFrame]) -> Iterator[NDArray[Any]]:
        with tifffile.TiffFile(self.folder / RAW, is_ome=False) as file:
            for frame in frames:
                pixels: NDArray[Any] = file.pages[frame.page].asarray()
                if pixels.shape != self._description.shape or pixels.dtype != self._description.in_dtype:
                    raise CannotAdapt(
                        f"{self.folder / RAW}: expected page {frame.page} of {self._description.shape}"
                        f" {self._description.in_dtype}, got {pixels.shape} {pixels.dtype}"
                    )
                yield pixels

    def _lines(self, kind: type[_Kind], *, event: str | None = None) -> Iterator[_Kind]:
        """Yield complete lines; an incomplete line is still being written."""
        with (self.folder / LINES).open("rb") as file:
            for number, text in enumerate(file, start=1):
                if not text.endswith(b"\n"):
                    return
                try:
                    if event is None or _Line.model_validate_json(text).event == event:
                        yield kind.model_validate_json(text)
                except ValidationError as error:
                    raise CannotAdapt(
                        f"{self.folder / LINES}: line {number} is not a line of a recording: "
                        f"{complaints(error)}"
                    ) from error


_Kind = TypeVar("_Kind", bound=_Written)


def _description(folder: Path) -> _Description:
    try:
        return _Description.model_validate_json((folder / DESCRIPTION).read_bytes())
    except OSError as error:
        raise CannotAdapt(
            f"expected a recording in {folder}, got: {error.strerror}. Run this on the server's machine, "
            "and give its setting recording.folder as --recordings"
        ) from error
    except ValidationError as error:
        raise CannotAdapt(f"{folder / DESCRIPTION} is not of this version: {complaints(error)}") from error


def _scale(pixel_size_um: float) -> dict[str, Any]:
    size = {f"PhysicalSize{axis}": pixel_size_um for axis in "XY"}
    return {**size, **{f"PhysicalSize{axis}Unit": "µm" for axis in "XY"}}
