"""A folder of prepared pairs: registered pairs as whole counts, and their index.

A prepared folder holds `prepared.json` (the index), `fields/00000.npy`, … (uint16, low dose and high dose of
one field, or low dose alone) and `report.html`. The index is written last: a folder without an index is not
complete.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError

from dimstream_models.bundle.schema import Confined, Sha256
from dimstream_models.npy import read_header
from dimstream_models.training.errors import InvalidPrepared

FORMAT_VERSION: Final = 1
INDEX, REPORT, FIELDS = "prepared.json", "report.html", "fields"

Role = Literal["training", "validation", "test"]
Dose = Literal["low", "high"]
Counts: TypeAlias = NDArray[np.uint16]
Side = Annotated[int, Field(ge=1)]
ShiftPx = tuple[float, float]
FieldsOfView = Literal["measured", "files", "planes"]


class SourceImage(Confined):
    """Source of a plane."""

    path: str
    stack: str | None = None
    """Name of the stack in an Imspector file."""
    plane: int = Field(ge=0)
    sha256: Sha256
    """Hash of the whole file."""


class PreparedField(Confined):
    """One field of view at low dose and, if it exists, at high dose."""

    name: str
    day: str
    """Measurement day."""
    field_of_view: str
    """Images with the same value show the same place, such as the frames of a movie, and have the same
    role."""
    role: Role
    file: str = Field(pattern=r"^fields/\d{5,}\.npy$")
    """Relative to the folder: (2, H, W) uint16, low and high dose, or (1, H, W), low dose alone."""
    shape: tuple[Side, Side]
    """Height and width, px, after cropping."""
    has_high: bool
    shift_px: ShiftPx | None = None
    """Measured shift of the high-dose image, (y, x); None: not registered."""
    shift_error_px: ShiftPx | None = None
    """Standard error of both."""
    moved: bool = False
    """Whether it was moved by this shift; a shift within its error is not corrected."""
    correlation: float | None = None
    """Correlation of both stored images, smoothed."""
    mean_low: float = Field(ge=0)
    mean_high: float | None = Field(default=None, ge=0)
    """Mean counts per pixel, as stored."""
    sha256: Sha256
    """Hash of the file."""
    sources: tuple[SourceImage, ...] = Field(min_length=1, max_length=2)


class LeftOut(Confined):
    """A pair that was refused."""

    name: str
    reason: str


class PrepareSettings(Confined):
    """How images are made into prepared pairs."""

    registered: bool = Field(True, description="high dose registered to low dose")
    max_shift_px: float = Field(10.0, gt=0, description="pairs further apart are refused")
    leave_out_refused: bool = Field(False, description="leave refused pairs out, and report them")
    subtract_low: int = Field(0, description="the camera's offset at low dose, counts/px")
    subtract_high: int = Field(0, description="the camera's offset at high dose, counts/px")
    multiply_high: float | None = Field(
        None,
        gt=0,
        description=(
            "factor by which the stored high dose is multiplied; null: 1, and for averages the power of ten "
            "that keeps their fractions"
        ),
    )
    pixel_size_nm: float | None = Field(None, gt=0, description="pixel size; null: as the files state it")
    fields_of_view: FieldsOfView = Field(
        "measured",
        description=(
            "which images show the same field of view. measured: images that look alike, such as the frames "
            "of a movie; files: the planes of a file; planes: none. A list's column `field` always decides"
        ),
    )
    validation_days: tuple[str, ...] = Field((), description="measurement days for validation")
    test_days: tuple[str, ...] = Field(
        (), description="measurement days for the final test, not used for any choice"
    )
    validation_share: float | None = Field(
        None,
        ge=0,
        lt=1,
        description="share of the fields of view of all other days; null: 0.1 unless days are named",
    )
    test_share: float | None = Field(None, ge=0, lt=1, description="likewise")
    seed: int = Field(0, ge=0, description="seed of the random choice of fields of view")


class PreparedIndex(Confined):
    """`prepared.json`."""

    format_version: Literal[1] = FORMAT_VERSION
    settings: PrepareSettings
    pixel_size_nm: float | None = Field(gt=0)
    high_factor: float = Field(1.0, gt=0)
    """Factor by which the stored high dose was multiplied: 1 for counts, more for averages, to keep
    fractions."""
    notes: tuple[str, ...] = ()
    """Warnings for people who train on these pairs, one sentence each."""
    roles: str
    """One sentence: how the roles were assigned."""
    matched_by_order: tuple[str, ...]
    """Measurement days whose low and high files have different names and were matched by order."""
    left_out: tuple[LeftOut, ...]
    fields: tuple[PreparedField, ...] = Field(min_length=1)


@dataclass(frozen=True)
class Prepared:
    """Prepared fields of view; the images stay on disk until they are opened."""

    folder: Path
    index: PreparedIndex
    sha256: str  # hash of all images and their roles

    @property
    def fields(self) -> tuple[PreparedField, ...]:
        """All fields, of every role."""
        return self.index.fields

    @property
    def pixel_size_nm(self) -> float | None:
        """Side of a pixel, nm; None if it is unknown."""
        return self.index.pixel_size_nm

    def of(self, role: Role) -> tuple[PreparedField, ...]:
        """Return the fields of one role."""
        return tuple(field for field in self.fields if field.role == role)

    def open(self, field: PreparedField) -> tuple[Counts, Counts | None]:
        """Return low dose and high dose of a field, each (H, W) uint16, memory-mapped."""
        path, shape = self.folder / field.file, _shape(field)
        values_at = path.stat().st_size - 2 * math.prod(
            shape
        )  # `read_prepared` has checked the header; np.load is slower
        planes = np.asarray(np.memmap(path, np.uint16, "r", values_at, shape))
        return planes[0], planes[1] if field.has_high else None

    def dose_ratio(self, role: Role = "training") -> float:
        """Return the ratio of mean counts at high dose to those at low dose.

        Raises
        ------
        InvalidPrepared
            When there is no high dose, or no count at low dose.
        """
        fields = self.of(role)
        low = sum(field.mean_low * _area(field) for field in fields)
        high = sum((field.mean_high or 0.0) * _area(field) for field in fields)
        if not low or not high:
            raise InvalidPrepared(
                f"expected counts at low and at high dose in the {role} fields of {self.folder}, got none:"
                " prepare again with images of both"
            )
        return high / low

    def check(self, fields: Iterable[PreparedField]) -> None:
        """Compare the files of some fields with their hashes.

        Raises
        ------
        InvalidPrepared
            When a file is not the one that was prepared.
        """
        for field in fields:
            with (self.folder / field.file).open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != field.sha256:
                    raise _changed(self.folder, f"{field.file} has changed")


def read_prepared(folder: Path) -> Prepared:
    """Return a folder of `prepare`; this checks the size of files, `Prepared.check` their hashes.

    Raises
    ------
    InvalidPrepared
        When `prepare` did not finish the folder, or a file is missing or has another shape.
    """
    try:
        index = PreparedIndex.model_validate_json((folder / INDEX).read_bytes())
    except OSError as error:
        raise InvalidPrepared(
            f"expected a folder that `dimstream-train prepare` finished, got {folder}: {error}"
        ) from error
    except ValidationError as error:
        raise InvalidPrepared(f"{folder / INDEX} is not a file of `prepare`: {error}") from error
    for field in index.fields:
        _check_shape(folder, field)
    return Prepared(folder, index, identity(index.fields))


def identity(fields: Iterable[PreparedField]) -> str:
    """Return one hash of all images and their roles, independent of their order."""
    text = json.dumps(sorted((field.name, field.role, field.sha256) for field in fields))
    return hashlib.sha256(text.encode()).hexdigest()


def is_prepared(path: Path) -> bool:
    """Return whether the folder has the index that `prepare` writes."""
    return (path / INDEX).is_file()


def _check_shape(folder: Path, field: PreparedField) -> None:
    path, expected = folder / field.file, _shape(field)
    try:
        with path.open("rb") as file:
            header, values_at = read_header(file), file.tell()
    except (OSError, ValueError) as error:
        raise _changed(folder, f"{field.file} cannot be read ({error})") from error
    whole = values_at + 2 * math.prod(expected) == path.stat().st_size
    if header != (expected, False, np.dtype("<u2")) or not whole:
        raise _changed(
            folder, f"expected {expected} uint16 in {field.file}, got {header.shape} {header.dtype}"
        )


def _shape(field: PreparedField) -> tuple[int, int, int]:
    return 2 if field.has_high else 1, *field.shape


def _area(field: PreparedField) -> int:
    return field.shape[0] * field.shape[1]


def _changed(folder: Path, what: str) -> InvalidPrepared:
    return InvalidPrepared(
        f"{folder} has changed since it was prepared: {what}; run `dimstream-train prepare` again"
    )
