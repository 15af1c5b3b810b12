"""A recording that the server is writing, read beside it.

The server writes a frame's page, then its line in `frames.jsonl` (`docs/recording.md`). So a page whose line
is whole is whole, too, and nothing has to be locked: who writes never waits for who reads.
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
    """What a server writes; a newer one may write more, which is passed over."""

    model_config = ConfigDict(frozen=True, extra="ignore", protected_namespaces=())


class WrittenModel(_Written):
    """A model that was in force."""

    id: str
    sha256: str


class InForceFrom(_Written):
    """What frames from `from_seq` on were denoised with and judged by."""

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
    """Where a frame lies, and when it was taken, s; None: its sender did not say."""

    page: int
    plane: Plane
    t_acq: float | None


@dataclass(frozen=True, kw_only=True)
class FirstFrames:
    """How many frames of a stream are taken: the first minutes, and no more than `most`."""

    minutes: float = 3.0
    most: int = MOST_FRAMES

    def of(self, frames: list[RecordedFrame]) -> list[RecordedFrame] | None:
        """Return those that are taken; None while they have not all come.

        Frames without a time count by their number alone. Fewer than an adaptation needs are never taken.
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
        Of the recording.
    stream : str
        Whose recording is expected there.

    Raises
    ------
    CannotAdapt
        When it is none, another stream's, or holds no photon counts in a form that is read here.
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
        """Side of a pixel; None when its sender did not say."""
        return self._description.pixel_size_um

    @property
    def is_final(self) -> bool:
        """Whether the stream has ended, and its files with it."""
        return (self.folder / SUMS).exists()

    def nbytes(self, frames: int) -> int:
        """Bytes of the raw pixels of so many frames."""
        return frames * math.prod(self._description.shape) * np.dtype(self._description.in_dtype).itemsize

    def require_photons(self) -> None:
        """Refuse what no photons can be taken from.

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
                f" {detector.offset:g}, gain {detector.gain:g}): photons are split to train, and such values"
                " cannot be. Adapt to a stream of a photon-counting detector"
            )

    def frames(self) -> list[RecordedFrame]:
        """Return the frames that are recorded so far, in order.

        Raises
        ------
        CannotAdapt
            When they are of several planes, or lines are none of ours.
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
        """Return what was in force, from the first frame on, in order.

        Raises
        ------
        CannotAdapt
            When lines are none of ours.
        """
        first = InForceFrom(
            from_seq=0, model=self._description.model, thresholds=self._description.thresholds
        )
        return [first, *self._lines(InForceFrom, event="update")]

    def write_movie(self, frames: list[RecordedFrame], path: Path) -> None:
        """Write the raw pixels of these frames into an OME-TIFF of their own, whole or not at all.

        Raises
        ------
        CannotAdapt
            When a page is not what its line says.
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
        """Whole lines; half a line is being written."""
        with (self.folder / LINES).open("rb") as file:
            for number, text in enumerate(file, start=1):
                if not text.endswith(b"\n"):
                    return
                try:
                    if event is None or _Line.model_validate_json(text).event == event:
                        yield kind.model_validate_json(text)
                except ValidationError as error:
                    raise CannotAdapt(
                        f"{self.folder / LINES}: line {number} is none of a recording: {complaints(error)}"
                    ) from error


_Kind = TypeVar("_Kind", bound=_Written)


def _description(folder: Path) -> _Description:
    try:
        return _Description.model_validate_json((folder / DESCRIPTION).read_bytes())
    except OSError as error:
        raise CannotAdapt(
            f"expected a recording in {folder}, got: {error.strerror}. Run this on the server's machine, with"
            " --recordings as its setting recording.folder names it"
        ) from error
    except ValidationError as error:
        raise CannotAdapt(f"{folder / DESCRIPTION} is not of this version: {complaints(error)}") from error


def _scale(pixel_size_um: float) -> dict[str, Any]:
    size = {f"PhysicalSize{axis}": pixel_size_um for axis in "XY"}
    return {**size, **{f"PhysicalSize{axis}Unit": "µm" for axis in "XY"}}
